"""What attacks mean for patients: disease missed, and what a negative answer is worth."""

from __future__ import annotations

from typing import Any

from salus.report import words
from salus.report.run_folder import Run
from salus.report.sections.classes import matrix
from salus.report.tables import Glossary, Table, TableCell, head, heads, rate, text

_WAYS = {"left_out": "left out", "to_human": "sent to a human"}


def health(run: Run, glossary: Glossary) -> dict[str, Any] | None:
    """List health figures, clean and under the strongest attack; None where no class means disease."""
    rows: list[tuple[TableCell, ...]] = []
    matrices = []
    for guard in run.guards:
        for cell in (run.clean(guard), run.strongest(guard)):
            if cell is None or not cell.get("health"):
                continue
            ways = _WAYS if guard != "none" else {"left_out": "none rejected"}
            for way, meaning in ways.items():
                figures = cell["health"].get(way) or {}
                rows.append(
                    (
                        head(words.guard(guard)),
                        text(words.title(cell, run.kind)),
                        text(meaning),
                        TableCell(words.number(figures.get("n"))),
                        rate(figures, "accuracy"),
                        rate(figures, "sensitivity"),
                        rate(figures, "fnr"),
                        rate(figures, "npv"),
                    )
                )
            confusion = cell["health"]["left_out"].get("confusion")
            if confusion:
                title = f"{words.guard(guard)}, {words.title(cell, run.kind)}"
                matrices.append(matrix(title, confusion, ("ill", "healthy"), rejects=guard != "none"))
    if not rows:
        return None
    rows = [*_constant(run), *rows]
    columns = ["guard", "inputs", "rejections", "n", "health_accuracy", "sensitivity", "fnr", "npv"]
    table = Table("Health figures", heads(columns), tuple(rows), glossary.notes(columns))
    return {"table": table, "matrices": matrices, "positive": list(run.meta["data"].get("positive") or [])}


def _constant(run: Run) -> list[tuple[TableCell, ...]]:
    """Make the row of always giving the commoner of both answers; none where nobody counted them."""
    clean = run.clean("none") or run.clean(run.guards[0])
    counts = ((clean or {}).get("health") or {}).get("left_out", {}).get("confusion")
    if counts is None:
        return []
    ill, healthy = (sum(row) + out for row, out in zip(counts["matrix"], counts["rejected"], strict=True))
    always_ill, n = ill > healthy, ill + healthy
    return [
        (
            head(f"always {'ill' if always_ill else 'healthy'}", "the commoner"),
            text("any inputs"),
            text(""),
            TableCell(words.number(n)),
            TableCell(words.percent(max(ill, healthy) / n)),
            TableCell(words.percent(float(always_ill) if ill else None)),
            TableCell(words.percent(float(not always_ill) if ill else None)),
            TableCell(words.percent(None if always_ill else healthy / n)),
        )
    ]
