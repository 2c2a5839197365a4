"""What answers without a look at the image score: always NV, and chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from salus_studies.frame.markdown import Record, done
from salus_studies.skin_lesion import published
from salus_studies.skin_lesion.measured import confusion

#: The constant answer: the commonest class.
ALWAYS = "NV"

NAMES = {"always": f"always {ALWAYS}", "chance": "chance, all classes as likely"}


def class_counts(results: Record, network: str) -> Mapping[str, int] | None:
    """Count the test images of each class; None where nothing is stored that tells."""
    meta = results.get("meta") or {}
    counts = (meta.get("counts") or {}).get("test")
    if counts:
        told: Mapping[str, int] = counts
        return told
    for record in results.get("cells") or ():
        if record["network"] == network and record["attack"] == "none" and done(record):
            rows = confusion(record)
            if rows and meta.get("classes"):
                return {name: sum(row) for name, row in zip(meta["classes"], rows, strict=True)}
    return None


def scores(counts: Mapping[str, int], name: str, figure: str, health_map: str = "thesis") -> float | None:
    """Compute a figure of a baseline, as a fraction.

    Args:
        counts: test images of each class.
        name: a key of ``NAMES``.
        figure: as in :mod:`salus_studies.skin_lesion.measured`.
        health_map: a key of ``published.POSITIVE``.
    """
    present = [label for label, count in counts.items() if count]
    total, classes = sum(counts.values()), len(counts)
    positive = published.POSITIVE[health_map]
    ill = sum(count for label, count in counts.items() if label in positive) / total
    called = _called_ill(counts, name, positive)
    if figure in ("accuracy", "fooling"):
        right = counts.get(ALWAYS, 0) / total if name == "always" else 1 / classes
        return right if figure == "accuracy" else 1 - right
    if figure == "recall":
        return 1 / len(present) if name == "always" else 1 / classes
    if figure == "specificity":
        return (len(present) - 1) / len(present) if name == "always" else (classes - 1) / classes
    if figure == "health_accuracy":
        return ill * called + (1 - ill) * (1 - called)
    if figure == "health_sensitivity":
        return called
    if figure == "fnr":
        return 1 - called
    if figure == "npv":
        return None if called == 1 else 1 - ill
    return None


def _called_ill(counts: Mapping[str, int], name: str, positive: Sequence[str]) -> float:
    if name == "always":
        return float(ALWAYS in positive)
    return sum(label in positive for label in counts) / len(counts)
