"""What the numbers of ECG-ATK-GAN come to, in sentences computed from stored results."""

from __future__ import annotations

from salus_studies.ecg_atk_gan.sentences_honest import attacked_honestly, between_patients, head_alone
from salus_studies.ecg_atk_gan.sentences_published import explained, order, reached, splits_of
from salus_studies.frame.markdown import NOT_STORED, Record


def summary(results: Record) -> list[str]:
    """Say what the numbers come to."""
    lines = []
    scale = (results.get("meta") or {}).get("scale")
    if scale != "full":
        lines.append(
            f"This is the scale “{scale or NOT_STORED}”, not the papers' settings (see the table of settings)."
        )
    for split in splits_of(results):
        lines += reached(results, split)
        lines += order(results, split)
        lines.append(explained(results, split, short=True))
    lines += attacked_honestly(results)
    lines += between_patients(results)
    lines += head_alone(results, short=True)
    return lines
