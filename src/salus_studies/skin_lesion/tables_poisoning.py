"""The table of Experiment 1: labels flipped on frozen features and in whole networks, with the spread over draws."""

from __future__ import annotations

from collections.abc import Sequence

from salus.metrics.wording import NOTHING, percent
from salus_studies.frame.markdown import Cells, Record, done, markdown, not_run
from salus_studies.skin_lesion.measured import title
from salus_studies.skin_lesion.published import NETWORKS

WEIGHTINGS = {
    "none": "unweighted",
    "weights": "weighted by the labels",
    "clean-weights": "weighted by the right labels",
}
LABELS = {"right": "right", "poisoned": "flipped", "cleaned": "cleaned"}
WAYS = {"features": "last layer", "network": "whole network"}

_FIGURES = ("accuracy", "macro_recall", "macro_specificity", "fnr", "aim")


def rows_of(results: Record, **values: object) -> list[Record]:
    """List the measured rows with these values."""
    rows = results.get("poisoning") or ()
    return [row for row in rows if done(row) and all(row.get(name) == value for name, value in values.items())]


def mean(rows: Sequence[Record], figure: str) -> float | None:
    """Mean of a figure over draws; None where there is none."""
    values = [row[figure] for row in rows if row.get(figure) is not None]
    return sum(values) / len(values) if values else None


def spread(rows: Sequence[Record], figure: str) -> str:
    """Write the mean over draws, and the lowest and highest where there are several."""
    values = [row[figure] for row in rows if row.get(figure) is not None]
    if not values:
        return NOTHING
    middle = percent(sum(values) / len(values))
    return middle if len(values) == 1 else f"{middle} ({percent(min(values))} to {percent(max(values))})"


def poisoning_table(results: Record) -> str:
    """Figures on clean test images against the share of NV labelled BKL."""
    lines: list[Cells] = []
    stored = list(results.get("poisoning") or ())
    for network in NETWORKS:
        own = [row for row in stored if row["network"] == network]
        for way, way_words in WAYS.items():
            shares = sorted({row["share"] for row in own if row.get("way") == way})
            for share in shares:
                for labels, label_words in LABELS.items():
                    for weighting, words in WEIGHTINGS.items():
                        look = {"way": way, "share": share, "labels": labels, "weighting": weighting}
                        rows = [row for row in own if all(row.get(name) == value for name, value in look.items())]
                        if rows:
                            name = [title(results, network), way_words, f"{share:.0%}", label_words, words]
                            lines.append([*name, *_told(rows)])
    if not lines:
        lines = [["", not_run(None), *[""] * 12]]
    header = [
        "network",
        "trained",
        "share",
        "labels",
        "classes",
        "draws",
        "accuracy",
        "recall",
        "specificity",
        "malignant missed",
        "NV answered BKL",
        "flips found",
        "finds that are flips",
        "dropped",
    ]
    return markdown(header, lines, 5)


def _told(rows: Sequence[Record]) -> list[str]:
    measured = [row for row in rows if done(row)]
    if not measured:
        return [not_run(rows[0]), *[""] * 8]
    found = [spread(measured, name) if any(name in row for row in measured) else "" for name in ("found", "precision")]
    counts = [str(row["dropped"]) for row in measured if "dropped" in row]
    return [str(len(measured)), *(spread(measured, figure) for figure in _FIGURES), *found, ", ".join(counts)]
