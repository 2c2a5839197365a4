"""What the numbers of ECG-ATK-GAN come to, in sentences computed from stored results."""

from __future__ import annotations

from salus_studies.ecg_atk_gan.sentences_honest import attacked_honestly, between_patients, head_alone
from salus_studies.ecg_atk_gan.sentences_published import explained, order, reached, seeds_in_short, splits_of
from salus_studies.frame.markdown import NOT_STORED, Record


def summary(results: Record) -> list[str]:
    """Say what the numbers come to."""
    lines = []
    scale = (results.get("meta") or {}).get("scale")
    if scale != "full":
        lines.append(
            f"This is the scale “{scale or NOT_STORED}”, not the papers' settings (see the table of settings)."
        )
    lines.append(
        "A run before this one, scaled by the beat and with one preset for both papers, had all 28 places of Table 1 "
        "and attacks at full strength: what it found stands at the end of this page."
    )
    for split in splits_of(results):
        lines += reached(results, split)
        lines += order(results, split)
        lines.append(explained(results, split, short=True))
    lines += seeds_in_short(results)
    lines += attacked_honestly(results)
    lines += between_patients(results)
    lines += head_alone(results, short=True)
    return lines
