"""Attackers whom a monitor of callers watches: how far they get, and what it costs who is honest."""

from __future__ import annotations

from typing import Any

from salus.audit.watched_words import unwatched
from salus.report import words
from salus.report.run_folder import Record, Run
from salus.report.tables import Glossary, Table, TableCell, head, heads, rate, text

_COLUMNS = (
    "guard",
    "monitor",
    "attack",
    "eps",
    "accounts",
    "queries",
    "noticed",
    "first_notice",
    "watched_success",
    "unwatched_success",
    "honest_refused",
    "honest_alarmed",
)


def watched(run: Run, glossary: Glossary) -> dict[str, Any] | None:
    """List the watched attacks with what their monitor costs; None where nobody watched."""
    if not run.watched:
        return None
    rows = tuple(_row(run, cell) for cell in run.watched)
    return {"table": Table("Watched attacks", heads(_COLUMNS), rows, glossary.notes(_COLUMNS), wide=True)}


def _row(run: Run, cell: Record) -> tuple[TableCell, ...]:
    notice, honest = cell["first_notice"], cell["honest"]
    return (
        head(words.guard(cell["guard"])),
        text(cell["monitor"]),
        text(words.attack(cell["attack"]), words.option_text(words.options(cell))),
        TableCell(words.epsilon(cell["eps"], run.kind), words.norm(cell["norm"])),
        TableCell(words.number(cell["accounts"])),
        TableCell(words.number(cell["queries"])),
        rate(cell, "noticed"),
        TableCell("never" if notice is None else words.number(notice)),
        rate(cell, "attack_success_rate"),
        rate(unwatched(run.cells, cell), "attack_success_rate"),
        rate(cell, "honest_refused"),
        TableCell(f"{honest['alarmed']} of {honest['callers']}", f"{honest['sent']:,} inputs"),
    )
