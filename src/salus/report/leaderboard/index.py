"""The first page of a fleet: its audits, with the way to their reports, ranked where they can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from salus.errors import BundleError
from salus.report import words
from salus.report.fleet_folder import FleetFolder, FleetMember, read_fleet
from salus.report.leaderboard.audits import Audit, read_audits
from salus.report.leaderboard.board import Leaderboard, compare
from salus.report.leaderboard.page import group, report_link, write_page
from salus.report.tables import Glossary, Table, TableCell, head, text


def write_index(out: Path) -> Path:
    """Write ``index.html`` into a fleet's folder, from stored results alone.

    Audits of the same data are ranked side by side; what cannot be compared is left out, and said.

    Args:
        out: the folder (``--out``) of a fleet.

    Returns:
        Where the page is.

    Raises:
        BundleError: what the fleet stored is missing or damaged.
        StoreError: the page cannot be written.
    """
    fleet = read_fleet(Path(out))
    audits, damaged = _ended(fleet)
    leaderboards = _ranked(list(audits.values()))
    ended = sum(member.name in audits for member in fleet.members)
    glossary = Glossary()
    content = {
        "title": "Salus fleet",
        "headline": _headline(fleet, ended, leaderboards),
        "lead": [],
        "members": {
            "table": _members(fleet, audits),
            "failed": [
                *(f"{member.name}: {member.error}" for member in fleet.members if member.error is not None),
                *damaged,
            ],
        },
        "groups": [
            group(leaderboard, glossary, fleet.folder, key=f"g{place}")
            for place, leaderboard in enumerate(leaderboards)
        ],
        "command": fleet.command,
    }
    return write_page(fleet.folder / "index.html", content)


def rank_fleet(out: Path) -> list[Leaderboard]:
    """Rank a fleet's audits of the same data side by side; what cannot be compared is set aside in their notes.

    Args:
        out: the folder (``--out``) of a fleet.

    Raises:
        BundleError: what the fleet stored is missing or damaged.
    """
    return _ranked(list(_ended(read_fleet(Path(out)))[0].values()))


def _ranked(audits: Sequence[Audit]) -> list[Leaderboard]:
    by_data: dict[str, list[Audit]] = {}
    for audit in audits:
        by_data.setdefault(audit.data, []).append(audit)
    return [compare(each, strict=False) for each in by_data.values()]


def _ended(fleet: FleetFolder) -> tuple[dict[str, Audit], list[str]]:
    """Read the audits that ended, by their names, and say which cannot be read."""
    audits, damaged = {}, []
    for member in fleet.members:
        folder = fleet.folder / member.name
        if not (folder / "results.json").exists() or member.error is not None:
            continue
        try:
            (audit,) = read_audits([folder])
        except BundleError as error:
            damaged.append(f"{member.name}: {error}")
            continue
        audits[member.name] = replace(audit, name=member.name)
    return audits, damaged


def _headline(fleet: FleetFolder, ended: int, leaderboards: Sequence[Leaderboard]) -> str:
    boards = [board for leaderboard in leaderboards for board in leaderboard.boards]
    count = len(fleet.members)
    if len(boards) == 1 and ended == count:
        return boards[0].verdict[0]
    failed = sum(member.error is not None for member in fleet.members)
    rest = "" if ended == count else f", {failed} failed" if failed == count - ended else f", {count - ended} did not"
    return f"{ended} of {count} audits ended{rest}; {_rankings(len(boards))}"


def _rankings(count: int) -> str:
    return "nothing can be ranked" if count == 0 else "one ranking" if count == 1 else f"{count} rankings"


def _members(fleet: FleetFolder, audits: dict[str, Audit]) -> Table:
    rows = [_member(fleet, member, audits.get(member.name)) for member in fleet.members]
    titles = ("Audit", "How it ended", "Data", "Model", "Seed", "Samples", "Seconds", "What was found")
    return Table("Each audit, in the plan's order", titles, tuple(rows))


def _member(fleet: FleetFolder, member: FleetMember, audit: Audit | None) -> tuple[TableCell, ...]:
    link = "" if audit is None else report_link(audit.folder, fleet.folder)
    name = replace(head(member.name), link=link)
    if audit is None:
        state = "failed" if member.error is not None else "not yet"
        return (name, text(state), *[TableCell("–", kind="text")] * 2, *[TableCell("–")] * 3, text(""))
    meta: dict[str, Any] = audit.run.meta
    failed = sum(cell["error"] is not None for cell in audit.run.cells)
    state = f"{failed} cells failed" if failed else "whole"
    verdict = [str(sentence) for sentence in meta.get("verdict") or [""]]
    return (
        name,
        text(state, f"{len(audit.run.cells)} cells"),
        text(audit.data),
        text(str(meta["model"]["name"])),
        TableCell(str(audit.seed)),
        TableCell(words.number(audit.trial.samples)),
        TableCell(words.number(sum(cell.get("seconds") or 0.0 for cell in audit.run.cells)), str(meta.get("device"))),
        text(_first_clause(verdict[0])),
    )


def _first_clause(sentence: str) -> str:
    """Give a verdict's first clause, which says how easily the classifier is fooled."""
    return sentence.split(":")[0].rstrip(".")
