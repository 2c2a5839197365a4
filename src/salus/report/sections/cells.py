"""Every cell of the audit in one table, and those that failed."""

from __future__ import annotations

from typing import Any

from salus.report import words
from salus.report.run_folder import Record, Run
from salus.report.tables import Glossary, Table, TableCell, area, columns_with_values, head, heads, rate, text

_RATES = (
    "clean_accuracy",
    "robust_accuracy",
    "attack_success_rate",
    "fallen_all",
    "robust_accuracy_accepted",
    "rejected_clean",
    "rejected_adversarial",
    "rejected_noise",
)
_AREAS = ("detection_auc", "detection_auc_all")
_COSTS = ("successes", "distance_median", "queries", "passes", "seconds")


def cells(run: Run, glossary: Glossary) -> dict[str, Any] | None:
    """List all cells with all their figures; columns in which nothing was measured are left out."""
    if not run.cells:
        return None
    guarded = [cell for cell in run.cells if cell["guard"] != "none"]
    rates = [name for name in columns_with_values(run.cells, _RATES) if guarded or not _of_a_guard(name)]
    areas, costs = columns_with_values(run.cells, _AREAS), columns_with_values(run.cells, _COSTS)
    placed = any(words.taxonomy(cell)[0] for cell in run.cells)
    room = [cell["movable"] for cell in run.cells if cell.get("movable") is not None]
    held = ["movable"] if room and min(room) < 1 else []
    columns = ["guard", "attack", "threat_model", "eps", *held, "n", *rates, *areas, *costs]
    columns += ["taxonomy"] if placed else []
    rows = []
    for cell in run.cells:
        row = [
            head(words.guard(cell["guard"])),
            text(words.attack(cell["attack"]), words.option_text(words.options(cell)), _mark(cell)),
            text(cell["threat_model"] or "–"),
            TableCell(words.epsilon(cell["eps"], run.kind), words.norm(cell["norm"]) if cell["norm"] else ""),
            *(TableCell(words.percent(cell.get(name))) for name in held),
            TableCell(words.number(cell.get("n"))),
            *(rate(None if _empty(cell, name) else cell, name) for name in rates),
            *(area(cell, name) for name in areas),
            *(TableCell(words.number(cell.get(name))) for name in costs),
        ]
        if placed:
            nist, atlas = words.taxonomy(cell)
            row.append(text(nist or "–", atlas))
        rows.append(tuple(row))
    table = Table(
        "Every cell of the audit, one row each",
        heads(columns),
        tuple(rows),
        glossary.notes(columns),
        wide=True,
    )
    return {"table": table, "failed": failures(run)}


def failures(run: Run) -> list[str]:
    """Say which cells failed, and why."""
    return [
        f"{words.title(cell, run.kind)} on the {words.BARE}: {cell['error']}"
        if cell["guard"] == "none"
        else f"{words.title(cell, run.kind)} on guard {cell['guard']}: {cell['error']}"
        for cell in run.cells
        if cell["error"] is not None
    ]


def _of_a_guard(name: str) -> bool:
    return name.startswith("rejected") or name == "robust_accuracy_accepted"


def _empty(cell: Record, name: str) -> bool:
    """Tell whether a rate says nothing: bare, everything is accepted."""
    return cell["guard"] == "none" and _of_a_guard(name)


def _mark(cell: Record) -> str:
    return "failed" if cell["error"] is not None else ""
