"""Which attack reached which sample."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from salus.report import words
from salus.report.figures.reach import LEGEND, REACHED, REJECTED, STANDS, WRONG_BEFORE, reach_grid
from salus.report.run_folder import Run
from salus.report.tables import Glossary, Table, TableCell, head, heads

_MOST_ROWS = 30


def reach(run: Run, glossary: Glossary) -> dict[str, Any] | None:
    """Draw samples against attacks, each at its largest eps, and count; None when nothing was stored."""
    panels = [panel for guard in run.guards if (panel := _panel(run, guard, glossary)) is not None]
    guarded = any(panel["guarded"] for panel in panels)
    legend = [entry for entry in LEGEND if guarded or entry[0] != "rejected"]
    if not guarded:
        legend = [(name, meaning.replace(" or rejected", "")) for name, meaning in legend]
    return {"panels": panels, "legend": legend} if panels else None


def _panel(run: Run, guard: str, glossary: Glossary) -> dict[str, Any] | None:
    y, clean = run.samples.get("y"), run.clean(guard)
    before = run.arrays(clean).get("label") if clean is not None else None
    names: list[str] = []
    rows: list[NDArray[Any]] = []
    for line in run.lines(guard)[:_MOST_ROWS]:
        cell = line.cells[-1]
        arrays = run.arrays(cell)
        if not {"reached", "accepted"} <= arrays.keys() or (rows and len(arrays["reached"]) != len(rows[0])):
            continue
        states = np.full(len(arrays["reached"]), STANDS)
        states[~arrays["accepted"].astype(bool)] = REJECTED
        states[arrays["reached"].astype(bool)] = REACHED
        if y is not None and before is not None and len(before) == len(states):
            states[before != y] = WRONG_BEFORE
        rows.append(states)
        attack, _, threat = line.name.removesuffix(", white-box").partition(",")
        bound = f" {words.epsilon(cell['eps'], run.kind)}" if cell["eps"] is not None else ""
        names.append(f"{attack}{bound}{',' if threat else ''}{threat}")
    if not rows or not len(rows[0]):
        return None
    grid = np.stack(rows)
    good = int((~(grid == WRONG_BEFORE).any(0)).sum())
    by = (grid == REACHED).sum(0)
    everyone, nobody = int((by == len(grid)).sum()), int(((by == 0) & ~(grid == WRONG_BEFORE).any(0)).sum())
    lines = tuple(
        (
            head(name),
            TableCell(words.number(int((row == REACHED).sum())), words.percent((row == REACHED).sum() / good)),
        )
        if good
        else (head(name), TableCell("–"))
        for name, row in zip(names, grid, strict=True)
    )
    summary = f"Of {good:,} samples that were right before, {everyone:,} are reached by all and {nobody:,} by none"
    return {
        "title": words.guard(guard),
        "told": f"{summary} of these {len(grid)} attacks." if len(grid) > 1 else "",
        "guarded": guard != "none",
        "figure": reach_grid(grid, names, key=f"reach{run.guards.index(guard)}", alt=f"{summary}."),
        "table": Table(
            f"Samples reached, {words.guard(guard)}",
            heads(["attack", "reached"]),
            lines,
            glossary.notes(["attack", "reached"]),
        ),
    }
