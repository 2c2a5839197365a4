"""What wrong answers cost, by the weights that were asked for."""

from __future__ import annotations

from typing import Any

from salus.report import words
from salus.report.run_folder import Record, Run
from salus.report.tables import Glossary, Table, TableCell, head, heads, text


def harm(run: Run, glossary: Glossary) -> dict[str, Any] | None:
    """List the mean harm of clean inputs, of the strongest and of the most harmful attack; None where none is asked."""
    weights = run.meta.get("harm")
    if not weights:
        return None
    columns = ["guard", "inputs", "n", "harm"]
    rows = tuple(
        (
            head(words.guard(guard)),
            text(words.title(cell, run.kind)),
            TableCell(words.number(cell.get("n"))),
            _cost(cell),
        )
        for guard in run.guards
        for cell in _shown(run, guard)
    )
    return {
        "asked": weights["asked"],
        "table": Table("Mean harm of an input", heads(columns), rows, glossary.notes(columns)),
        "weights": _weights(run, weights),
    }


def _shown(run: Run, guard: str) -> list[Record]:
    """The clean inputs and the attacks that leave the least right and do the most harm, which may be one."""
    attacked = [cell for cell in run.attacked if cell["guard"] == guard and cell.get("harm") is not None]
    worst = max(attacked, key=lambda cell: float(cell["harm"]), default=None)
    cells: list[Record] = []
    for cell in (run.clean(guard), run.strongest(guard), worst):
        if cell is not None and cell not in cells:
            cells.append(cell)
    return cells


def _cost(cell: Record) -> TableCell:
    value, low, high = (cell.get(f"harm{end}") for end in ("", "_low", "_high"))
    return TableCell("–" if value is None else f"{value:.3g}", "" if low is None else f"{low:.3g}–{high:.3g}")


def _weights(run: Run, weights: Record) -> Table:
    rows = tuple(
        (head(name), *(TableCell(f"{cost:g}") for cost in (*costs, rejected)))
        for name, costs, rejected in zip(run.classes, weights["matrix"], weights["rejected"], strict=True)
    )
    return Table("What each answer costs", ("true ↓ answer\N{NO-BREAK SPACE}→", *run.classes, "rejected"), rows)
