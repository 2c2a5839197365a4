"""A ranking as a page: one file that opens anywhere, with links to the reports beside it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any
from urllib.parse import quote

from salus.atomic import write_text
from salus.metrics import Commonest, Rate
from salus.report import words
from salus.report.figures.standings import MOST, Mark, standings_figure
from salus.report.leaderboard.audits import Audit
from salus.report.leaderboard.board import Board, Leaderboard
from salus.report.leaderboard.standing import SeedFigures, Standing, attack_words
from salus.report.tables import Glossary, Table, TableCell, always, head, heads, text
from salus.report.template import stylesheet, template

#: Seeds that a row names one by one.
_MOST_SEEDS = 6


def write_leaderboard(path: Path, leaderboard: Leaderboard, *, command: str = "") -> Path:
    """Write a ranking as a page; the same results give the same bytes.

    Args:
        path: of the page.
        leaderboard: what is ranked.
        command: how to repeat it.

    Raises:
        StoreError: the page cannot be written.
    """
    count = sum(len(board.standings) for board in leaderboard.boards[:1])
    content = {
        "title": f"Salus leaderboard of {leaderboard.data}",
        "headline": leaderboard.boards[0].verdict[0] if len(leaderboard.boards) == 1 else
        f"{count} ranked on {leaderboard.data}, at {len(leaderboard.boards)} sizes of change",
        "lead": list(leaderboard.boards[0].verdict[1:]) if len(leaderboard.boards) == 1 else [],
        "members": None,
        "groups": [group(leaderboard, Glossary(), path.parent, key="g0", headline=len(leaderboard.boards) == 1)],
        "command": command,
    }  # fmt: skip
    return write_page(path, content)


def write_page(path: Path, content: dict[str, Any]) -> Path:
    """Fill the template and write the page."""
    write_text(path, template("leaderboard.html.j2").render(css=stylesheet(), **content))
    return path


def group(
    leaderboard: Leaderboard, glossary: Glossary, beside: Path, *, key: str, headline: bool = False
) -> dict[str, Any]:
    """Give what the template shows of audits that are ranked together.

    Args:
        leaderboard: the ranking.
        glossary: explains each column where it comes first.
        beside: the folder of the page, from which links lead to reports.
        key: begins the ids of its sections and figures.
        headline: the page's head says the first board's verdict already.
    """
    many = len(leaderboard.boards) > 1
    return {
        "key": key,
        "data": leaderboard.data,
        "notes": list(leaderboard.notes),
        "boards": [
            {
                "key": f"{key}-{place}",
                "title": board.title,
                "knows": board.level.summary,
                "verdict": [] if headline and not many else list(board.verdict),
                "remarks": list(board.remarks),
                "figure": _figure(board, f"{key}f{place}"),
                "shown": min(MOST, len(board.standings)),
                "count": len(board.standings),
                "table": _table(board, glossary, beside),
            }
            for place, board in enumerate(leaderboard.boards)
        ],
        "audits": _audits(leaderboard.audits, beside),
    }


def report_link(folder: Path, beside: Path) -> str:
    """Say how a page's folder leads to the report in an audit's; empty where there is none."""
    report = folder / "report.html"
    return quote(Path(os.path.relpath(report, beside)).as_posix()) if report.exists() else ""


def _figure(board: Board, key: str) -> Any:
    marks = [
        Mark(
            each.name,
            each.clean.value or 0.0,
            (each.value, each.robust.low or 0.0, 1.0 if each.robust.high is None else each.robust.high),
            tuple(seed.robust.value or 0.0 for seed in each.seeds) if len(each.seeds) > 1 else (),
        )
        for each in board.standings
    ]
    constant = _constant(board)
    return standings_figure(
        marks,
        None if constant is None else constant.share,
        key=key,
        alt=f"Robust accuracy at {board.title}, from the most robust to the least",
    )


def _constant(board: Board) -> Commonest | None:
    """The answer that is always the same; over several draws of samples their mean, with no label where they differ."""
    known = [constant for each in board.standings for seed in each.seeds if (constant := seed.audit.run.constant)]
    if not known:
        return None
    labels = {constant.label for constant in known}
    share = fmean({(constant.label, constant.share, constant.n): constant.share for constant in known}.values())
    return Commonest(labels.pop() if len(labels) == 1 else "", share, known[0].n)


def _table(board: Board, glossary: Glossary, beside: Path) -> Table:
    seeded = any(len(each.seeds) > 1 for each in board.standings)
    guarded = any(each.rejected is not None for each in board.standings)
    by_guard = len({each.contender for each in board.standings}) == 1 and len(board.standings) > 1
    by_audit = len({each.guard for each in board.standings}) == 1
    columns = [
        *(["guard"] if by_guard else ["contender"] if by_audit else ["contender", "guard"]), "place",
        "clean_accuracy", "robust_accuracy", *(["each_seed"] if seeded else []),
        *(["rejected_clean"] if guarded else []), "worst", "queries", "spent",
    ]  # fmt: skip
    makers: dict[str, Callable[[Standing], TableCell]] = {
        "contender": lambda each: replace(head(each.contender.name), link=_report(each, beside)),
        "guard": lambda each: (
            replace(head(words.guard(each.guard)), link=_report(each, beside)) if by_guard else
            text(words.guard(each.guard))
        ),
        "place": lambda each: TableCell(_places(each)),
        "clean_accuracy": lambda each: _rate(each.clean),
        "robust_accuracy": lambda each: replace(_rate(each.robust), mark=_weaker(each)),
        "each_seed": _each_seed,
        "rejected_clean": lambda each: _rate(each.rejected),
        "worst": _worst,
        "queries": lambda each: TableCell(words.number(each.forward), f"{words.number(each.backward)} backward"),
        "spent": lambda each: TableCell(words.number(each.seconds), "; ".join(each.devices)),
    }  # fmt: skip
    rows = [tuple(makers[name](each) for name in columns) for each in board.standings]
    details = [_details(each) for each in board.standings]
    constant = _constant(board)
    place = 0 if constant is None else sum(each.value >= constant.share for each in board.standings)
    if constant is not None:
        (row,) = always(constant, columns)
        rows.insert(place, row if constant.label else (head("always the commonest class"), *row[1:]))
        details.insert(place, ())
    return Table(
        f"At {board.title}, from the most robust to the least",
        heads(columns),
        tuple(rows),
        glossary.notes([*columns, "passes"]),
        style="standings",
        details=tuple(details) if seeded else (),
    )


def _one(standing: Standing) -> bool:
    return len(standing.seeds) == 1


def _report(standing: Standing, beside: Path) -> str:
    """Say how the page leads to the report of an audit with one seed; those of several stand in the list of audits."""
    return report_link(standing.seeds[0].audit.folder, beside) if _one(standing) else ""


def _places(standing: Standing) -> str:
    return str(standing.best) if standing.best == standing.last else f"{standing.best}–{standing.last}"


def _rate(rate: Rate | None) -> TableCell:
    return TableCell("–") if rate is None else TableCell(words.percent(rate.value), words.interval(rate.low, rate.high))


def _weaker(standing: Standing) -> str:
    """Say that another attacker leaves less; empty where none does."""
    cells = [seed.weaker for seed in standing.seeds if seed.weaker is not None]
    if not cells:
        return ""
    return f"another attacker ({cells[0]['threat_model']}) leaves {words.percent(cells[0]['robust_accuracy'])}"


def _each_seed(standing: Standing) -> TableCell:
    if standing.spread is None:
        return TableCell("–", kind="text")
    values = [seed.robust.value or 0.0 for seed in standing.seeds]
    deviation = f"deviation {words.percent(standing.spread)}"
    if len(values) > _MOST_SEEDS:
        return text(
            f"{words.percent(min(values))} to {words.percent(max(values))}", f"{len(values)} seeds, {deviation}"
        )
    seeds = ", ".join(str(seed.audit.seed) for seed in standing.seeds)
    return text(" · ".join(f"{100 * value:.1f}" for value in values), f"seeds {seeds}, {deviation}")


def _worst(standing: Standing) -> TableCell:
    names = list(dict.fromkeys(attack_words(seed.worst) for seed in standing.seeds))
    return text(
        "; ".join(names), f"of {len(standing.attacks)} tried" if len(standing.attacks) > 1 else "no other tried"
    )


def _details(standing: Standing) -> tuple[tuple[str, str], ...]:
    """Say what each seed came to; nothing of one alone, whose figures stand in the row."""
    return () if _one(standing) else tuple((f"Seed {seed.audit.seed}", _seed(seed)) for seed in standing.seeds)


def _seed(seed: SeedFigures) -> str:
    robust = f"{words.percent(seed.robust.value)} ({words.interval(seed.robust.low, seed.robust.high)})"
    clean = f"{words.percent(seed.clean.value)} ({words.interval(seed.clean.low, seed.clean.high)})"
    turned = "" if seed.rejected is None else f", {words.percent(seed.rejected.value)} of clean inputs turned away"
    return f"robust {robust}, clean {clean}{turned}; worst {attack_words(seed.worst)}; {words.number(seed.seconds)} s"


def _audits(audits: Sequence[Audit], beside: Path) -> Table:
    """List the audits with the way to their reports."""
    rows = []
    for audit in audits:
        meta = audit.run.meta
        model = meta["model"]
        fingerprint = str(model.get("fingerprint") or "")[:12]
        rows.append(
            (
                replace(head(audit.name), link=report_link(audit.folder, beside)),
                text(str(model["name"]), f"fingerprint {fingerprint}" if fingerprint else ""),
                TableCell(str(audit.seed)),
                TableCell(words.number(audit.trial.samples)),
                text(audit.data, f"test part {audit.trial.fingerprint[:12]}"),
                text(str(meta.get("created", ""))[:16].replace("T", " "), f"Salus {meta.get('salus')}"),
            )
        )
    return Table("The audits", ("Audit", "Model", "Seed", "Samples", "Data", "Made"), tuple(rows))
