"""Harmless changes: what they do to the answers, and how many of them a guard turns away."""

from __future__ import annotations

from typing import Any

from salus.report import words
from salus.report.run_folder import Run
from salus.report.tables import Glossary, Table, TableCell, always, head, heads, rate, text


def controls(run: Run, glossary: Glossary) -> dict[str, Any] | None:
    """List what each control did, bare and guarded; None when none was tried."""
    rows = []
    noisy = any(cell.get("snr_median") is not None for cell in run.controls)
    for cell in run.controls:
        bare = cell["guard"] == "none"
        rows.append(
            (
                head(words.guard(cell["guard"])),
                text(words.attack(cell["attack"]), words.option_text(words.options(cell))),
                TableCell(words.number(cell.get("distance_median")), words.norm(cell["norm"])),
                *([TableCell(_decibels(cell.get("snr_median")))] if noisy else []),
                rate(cell, "clean_accuracy"),
                rate(cell, "robust_accuracy_accepted"),
                rate(None if bare else cell, "rejected_clean"),
                rate(None if bare else cell, "rejected_adversarial"),
            )
        )
    if not rows:
        return None
    columns = [
        "guard",
        "control",
        "distance_median",
        *(["snr_median"] if noisy else []),
        "clean_accuracy",
        "still_right",
        "rejected_clean",
        "rejected_changed",
    ]
    rows = [*always(run.constant, columns), *rows]
    return {"table": Table("Harmless changes", heads(columns), tuple(rows), glossary.notes(columns))}


def _decibels(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.1f} dB"
