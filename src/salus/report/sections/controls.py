"""Harmless changes: what they do to the answers, and how many of them a guard turns away."""

from __future__ import annotations

from typing import Any

from salus.report import words
from salus.report.run_folder import Run
from salus.report.tables import Cell, Glossary, Table, head, heads, rate, text


def controls(run: Run, glossary: Glossary) -> dict[str, Any] | None:
    """List what each control did, bare and guarded; None when none was tried."""
    rows = []
    for cell in run.controls:
        bare = cell["guard"] == "none"
        rows.append(
            (
                head(words.guard(cell["guard"])),
                text(words.attack(cell["attack"]), words.option_text(words.options(cell))),
                Cell(words.number(cell.get("distance_median")), words.norm(cell["norm"])),
                rate(cell, "clean_accuracy"),
                rate(cell, "robust_accuracy_accepted"),
                rate(None if bare else cell, "rejected_clean"),
                rate(None if bare else cell, "rejected_adversarial"),
            )
        )
    if not rows:
        return None
    columns = [
        "guard", "control", "distance_median", "clean_accuracy", "still_right", "rejected_clean", "rejected_changed",
    ]  # fmt: skip
    return {"table": Table("Harmless changes", heads(columns), tuple(rows), glossary.notes(columns))}
