"""Every cell of the audit in one table, and those that failed."""

from __future__ import annotations

from typing import Any

from salus.attacks.editions import split_ids
from salus.report import words
from salus.report.run_folder import Record, Run
from salus.report.tables import (
    Glossary,
    Table,
    TableCell,
    always,
    area,
    columns_with_values,
    head,
    heads,
    passing_area,
    rate,
    text,
)

#: What stands in the row, where any cell has it, and what is folded away below it.
_RATES = ("clean_accuracy", "robust_accuracy", "attack_success_rate", "rejected_clean", "rejected_adversarial")
_AREAS = ("detection_auc", "detection_auc_driven")
_MORE_RATES = ("fallen_all", "robust_accuracy_accepted", "rejected_noise")
_COSTS = (
    "successes",
    "distance_median",
    "cost_median",
    "cost_median_fallen",
    "queries",
    "passes",
    "queries_driven",
    "seconds",
)


def cells(run: Run, glossary: Glossary) -> dict[str, Any] | None:
    """List all cells with all their figures, grouped by what judged them; the lesser figures are folded away.

    Columns in which nothing was measured are left out.
    """
    if not run.cells:
        return None
    guarded = any(cell["guard"] != "none" for cell in run.cells)
    rates = [name for name in columns_with_values(run.cells, _RATES) if guarded or not _of_a_guard(name)]
    areas = columns_with_values(run.cells, _AREAS)
    columns = ["attack", "threat_model", "eps", *rates, *areas]
    rows = always(run.constant, columns)
    groups = [""] * len(rows)
    details: list[tuple[tuple[str, str], ...]] = [()] * len(rows)
    for guard in run.guards:
        group = words.guard(guard)
        for cell in (cell for cell in run.cells if cell["guard"] == guard):
            rows.append(
                (
                    head(words.attack(cell["attack"]), words.option_text(words.options(cell)), _mark(cell)),
                    text(words.attacker(cell), cell.get("nist_id") or ""),
                    TableCell(words.epsilon(cell["eps"], run.kind), words.norm(cell["norm"]) if cell["norm"] else ""),
                    *(rate(None if _empty(cell, name) else cell, name) for name in rates),
                    *(passing_area(cell) if name == "detection_auc" else area(cell, name) for name in areas),
                )
            )
            groups.append(group)
            details.append(_details(run, cell))
            group = ""
    explained = [
        *columns,
        *columns_with_values(run.cells, ("movable", "n", *_MORE_RATES, "detection_auc_all", *_COSTS, "worst_label")),
    ]
    table = Table(
        "Every cell of the audit, one row each",
        heads(columns),
        tuple(rows),
        glossary.notes([name for name in explained if guarded or not _of_a_guard(name)]),
        style="cells",
        groups=tuple(groups),
        details=tuple(details),
    )
    return {"table": table, "failed": failures(run)}


def _details(run: Run, cell: Record) -> tuple[tuple[str, str], ...]:
    """Say what a cell has beside its row, as far as it was measured."""
    pairs = [("n", words.number(cell.get("n")))]
    for name in _MORE_RATES:
        if cell.get(name) is not None and not _empty(cell, name):
            shown = rate(cell, name)
            pairs.append((name, f"{shown.text} ({shown.small})" if shown.small else shown.text))
    if cell.get("detection_auc_all") is not None:
        shown = area(cell, "detection_auc_all")
        pairs.append(("detection_auc_all", f"{shown.text} ({shown.small})" if shown.small else shown.text))
    if cell.get("movable") is not None:
        pairs.append(("movable", words.percent(cell["movable"])))
    pairs += [(name, words.number(cell[name])) for name in _COSTS if cell.get(name) is not None]
    if cell.get("worst_label") is not None:
        pairs.append(("worst_label", cell["worst_label"]))
    named = [(heads([name])[0], value) for name, value in pairs]
    return (*named, *_codes(run, cell))


def _codes(run: Run, cell: Record) -> list[tuple[str, str]]:
    """Place an attack in NIST AI 100-2 and in MITRE ATLAS, ids with their names; nothing for what is no attack."""
    if not cell.get("nist"):
        return []
    named = run.codes
    lines: dict[str, list[str]] = {}
    for key in (*split_ids(cell.get("nist_id") or ""), *split_ids(cell.get("atlas") or "")):
        edition, name = named.get(key, ("MITRE ATLAS" if key.startswith("AML.") else "NIST AI 100-2", ""))
        lines.setdefault(edition, []).append(f"{key} {name}".strip())
    return [("Kind", cell["nist"]), *((edition, "; ".join(names)) for edition, names in lines.items())]


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
