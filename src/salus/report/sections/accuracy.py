"""Accuracy against eps, bare and guarded: the figure and its table."""

from __future__ import annotations

from typing import Any

from salus.report import words
from salus.report.figures.curves import accuracy_curves
from salus.report.run_folder import Line, Run
from salus.report.tables import COLUMNS, Glossary, Table, TableCell, always, head, rate, text


def accuracy(run: Run, glossary: Glossary) -> dict[str, Any] | None:
    """Draw a panel for each guard and norm, and list the same numbers; None when nothing was attacked."""
    lines = {guard: _drawable(run.lines(guard)) for guard in run.guards}
    if not any(lines.values()):
        return None
    panels: list[dict[str, Any]] = []
    for norm in dict.fromkeys(line.norm for of_guard in lines.values() for line in of_guard):
        here = {guard: [line for line in curves if line.norm == norm] for guard, curves in lines.items()}
        highest = max(cell["eps"] for curves in here.values() for line in curves for cell in line.cells)
        for guard, curves in here.items():
            if curves:
                figure = accuracy_curves(
                    curves,
                    run.clean(guard),
                    run.constant,
                    key=f"curve{len(panels)}",
                    kind=run.kind,
                    highest=highest,
                )
                panels.append({"title": f"{words.guard(guard)}, {words.norm(norm or None)}", "figure": figure})
    tables = []
    for guard, curves in lines.items():
        for norm in dict.fromkeys(line.norm for line in curves):
            tables.append(_table(run, guard, [line for line in curves if line.norm == norm], glossary))
    return {"panels": panels, "tables": tables}


def _drawable(lines: list[Line]) -> list[Line]:
    """Keep the cells that have an eps above 0 and an accuracy."""
    curves = []
    for line in lines:
        cells = tuple(c for c in line.cells if c["eps"] and c.get("robust_accuracy") is not None)
        if cells:
            curves.append(Line(line.guard, line.name, line.threat, line.norm, cells))
    return curves


def _table(run: Run, guard: str, lines: list[Line], glossary: Glossary) -> Table:
    radii = sorted({cell["eps"] for line in lines for cell in line.cells})
    clean = run.clean(guard)
    columns = ["attack", "threat_model", "clean_accuracy", *["robust_accuracy"] * len(radii)]
    rows = always(run.constant, columns)
    for line in lines:
        at = {cell["eps"]: cell for cell in line.cells}
        rows.append(
            (
                head(line.name.rsplit(f", {line.threat}", 1)[0] if line.threat else line.name),
                text(line.threat),
                rate(clean, "clean_accuracy"),
                *(rate(at[value], "robust_accuracy") if value in at else TableCell("–") for value in radii),
            )
        )
    names = [COLUMNS[name][0] for name in ("attack", "threat_model", "clean_accuracy")]
    return Table(
        f"Robust accuracy, {words.guard(guard)} ({words.norm(lines[0].norm or None)})",
        (*names, *(f"eps {words.epsilon(value, run.kind)}" for value in radii)),
        tuple(rows),
        glossary.notes(["attack", "threat_model", "eps", "clean_accuracy", "robust_accuracy"]),
    )
