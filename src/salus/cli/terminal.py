"""What commands print for people: tables as wide as the terminal, and lines about data."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from salus.metrics.wording import estimate, percent

if TYPE_CHECKING:
    from salus.data import Splits
    from salus.data.load import CatalogueEntry
    from salus.detectors.multimagnet_grid import Calibration
    from salus.generative import Repository
    from salus.metrics import Commonest
    from salus.report.leaderboard.board import Board, Leaderboard


def print_cells(cells: Sequence[dict[str, Any]], constant: Commonest) -> None:
    """Print the records of an audit, one a row, below the answer that is always the same.

    Args:
        cells: the records.
        constant: always the commonest class of the samples, which no attack changes.
    """

    def attacker(cell: dict[str, Any]) -> str:
        watched = f", watched by {cell['monitor']}" if cell.get("monitor") else ""
        return f"{cell['threat_model'] or ''}{watched}"

    def rate(cell: dict[str, Any], name: str) -> str:
        return "" if cell[name] is None else percent(cell[name])

    table = _table("guard", "attack")
    table.add_column("eps", justify="right")
    table.add_column("attacker")
    harmful = any(cell["harm"] is not None for cell in cells)
    driven = any(cell.get("detection_auc_driven") is not None for cell in cells)
    labelled = any(cell.get("worst_label") is not None for cell in cells)
    more = [*(["AUC, driven"] if driven else []), *(["harm"] if harmful else [])]
    more += ["worst label"] if labelled else []
    for column in ("accuracy %", "robust %", "fooled %", "rejected %", "AUC", *more):
        table.add_column(column, justify="right")
    share = percent(constant.share)
    table.add_row(f"always {constant.label!r}", "", "", "", share, share, percent(0.0), "", "", *[""] * len(more))
    for cell in cells:
        if cell["error"] is not None:
            table.add_row(
                cell["guard"],
                cell["attack"] or "",
                "" if cell["eps"] is None else f"{cell['eps']:g}",
                attacker(cell),
                "failed",
            )
            continue
        clean = cell["attack"] is None
        table.add_row(
            cell["guard"],
            "(clean)" if clean else cell["attack"],
            "" if cell["eps"] is None else f"{cell['eps']:.3g}",
            attacker(cell),
            rate(cell, "clean_accuracy"),
            rate(cell, "robust_accuracy"),
            rate(cell, "attack_success_rate"),
            "" if cell["guard"] == "none" else rate(cell, "rejected_clean" if clean else "rejected_adversarial"),
            _area(cell, "detection_auc") + ("*" if _only_passes(cell) else ""),
            *([_area(cell, "detection_auc_driven")] if driven else []),
            *([f"{cell['harm']:.3g}"] if harmful else []),
            *([cell.get("worst_label") or ""] if labelled else []),
        )
    _print(table)
    if any(_only_passes(cell) for cell in cells):
        print("* of an attacker who only has to pass this threshold, not to score low.")
    _print_watched([cell for cell in cells if cell.get("monitor") and cell["error"] is None])


def _print_watched(cells: Sequence[dict[str, Any]]) -> None:
    """Print what monitors of callers came to, one attack a row; nothing where nobody watched."""
    if not cells:
        return
    table = _table("watched by", "guard", "attack")
    columns = (
        "eps",
        "accounts",
        "queries",
        "noticed %",
        "first notice",
        "fooled %",
        "honest refused %",
        "honest alarms",
    )
    for column in columns:
        table.add_column(column, justify="right")
    for cell in cells:
        notice, honest = cell["first_notice"], cell["honest"]
        table.add_row(
            cell["monitor"],
            cell["guard"],
            cell["attack"],
            "" if cell["eps"] is None else f"{cell['eps']:.3g}",
            str(cell["accounts"]),
            f"{cell['queries']:,.0f}",
            percent(cell["noticed"]),
            "never" if notice is None else f"{notice:g}",
            percent(cell["attack_success_rate"]),
            percent(cell["honest_refused"]),
            f"{honest['alarmed']} of {honest['callers']}",
        )
    print("Under watch, where who raises the alarm is refused, honest callers of the test part too:")
    _print(table)


def _area(cell: dict[str, Any], name: str) -> str:
    return "" if cell.get(name) is None else f"{cell[name]:.3f}"


def _only_passes(cell: dict[str, Any]) -> bool:
    """Tell whether a cell has an AUC, and an attacker who is content with passing the threshold."""
    from salus.threats import threat_named

    return cell["detection_auc"] is not None and threat_named(cell["threat_model"]).stops_at_threshold


def print_ranking(ranking: Leaderboard) -> None:
    """Print audits ranked side by side, and what is to be said of the rankings."""
    for board in ranking.boards:
        _print_board(board, ranking.data)
        for sentence in (*board.verdict, *(f"Warning: {remark}" for remark in board.remarks), ""):
            print(sentence)
    for note in ranking.notes:
        print(f"Note: {note}")


def _print_board(board: Board, data: str) -> None:
    """Print a ranking, one a row, with 95% intervals; ``data`` names the data."""
    from salus.metrics.wording import estimate
    from salus.report import words
    from salus.report.leaderboard.standing import attack_words

    table = _table()
    for column in ("audit", "place", "judged by"):
        table.add_column(column, overflow="fold")
    for column in ("clean %", "robust %", "seeds", "alarms %"):
        table.add_column(column, justify="right")
    table.add_column("worst attack", overflow="fold")
    table.add_column("seconds", justify="right")
    print(f"{data}, attacked with {board.title} by one who {board.level.summary}:")
    for each in board.standings:
        rejected = each.rejected
        table.add_row(
            each.contender.name,
            str(each.best) if each.best == each.last else f"{each.best}–{each.last}",
            words.guard(each.guard),
            percent(each.clean.value),
            estimate(each.robust.value, each.robust.low, each.robust.high),
            "1" if each.spread is None else f"{len(each.seeds)} ±{percent(each.spread)}",
            "" if rejected is None else percent(rejected.value),
            "; ".join(dict.fromkeys(attack_words(seed.worst) for seed in each.seeds)),
            words.number(each.seconds),
        )
    _print(table)


def print_members(repository: Repository) -> None:
    """Print the autoencoders of a repository, one a row."""
    table = _table("member", "encoder", "activation")
    for column in ("noise", "loss", "weights", "mean squared error"):
        table.add_column(column, justify="right")
    for member in repository.members:
        spec = member.spec
        table.add_row(
            spec.name,
            " ".join(map(str, spec.structure)),
            spec.activation,
            f"{spec.noise:g}",
            spec.loss,
            f"{sum(weight.numel() for weight in member.module.parameters()):,}",
            f"{member.error:.2g}",
        )
    _print(table)


def print_calibration(calibration: Calibration, against: str, most: int) -> None:
    """Print the best combination of MultiMagNet's grid, and after it the most accurate ones against attacked inputs."""
    table = _table("n", "metric", "T", "drop rate", "approach")
    for column in ("accuracy", "clean accepted", f"{against} rejected"):
        table.add_column(column, justify="right")
    others = sorted(calibration.grid, key=lambda row: -row.outcome.accuracy)
    for row in [calibration.best, *(one for one in others if one != calibration.best)][:most]:
        chosen, outcome = row.combination, row.outcome
        temperature = "" if chosen.temperature is None else f"{chosen.temperature:g}"
        table.add_row(
            str(chosen.n),
            chosen.metric,
            temperature,
            f"{chosen.drop_rate:g}",
            chosen.approach,
            *(f"{share:.1%}" for share in (outcome.accuracy, outcome.ppv, outcome.npv)),
        )
    _print(table)


def print_settings(grid: dict[str, Any]) -> None:
    """Print the settings that a sweep compared, one a row, and what was chosen among them by which samples.

    Args:
        grid: what ``grid.json`` holds.
    """
    rows, constant = grid["settings"], grid["commonest"]
    table = _table("setting")
    for column in ("trainings", "clean %", "robust %", "lowest to highest", "behind the chosen"):
        table.add_column(column, justify="right")
    share = percent(constant["share"])
    table.add_row(f"always {constant['label']!r}", "", share, share, "", "")
    for row in rows:
        several = len(row["runs"]) > 1
        table.add_row(
            row["setting"],
            str(len(row["runs"])),
            estimate(row["clean_accuracy"], row["clean_accuracy_low"], row["clean_accuracy_high"]),
            estimate(row["robust_accuracy"], row["robust_accuracy_low"], row["robust_accuracy_high"]),
            f"{percent(row['lowest_run'])}–{percent(row['highest_run'])}" if several else "",
            "chosen" if row["chosen"] else f"{percent(row['behind_low'])} to {percent(row['behind_high'])}",
        )
    _print(table)
    chosen = next(row for row in rows if row["chosen"])
    alike = sum(row["told_apart"] is False for row in rows)
    print(f"Judged on {grid['judged_on']} ({chosen['n']} samples) under {grid['judge']['title']}.")
    if len(rows) > 1:
        print(f"Chosen: {chosen['spec']}.", _alike(alike))
    if chosen["robust_accuracy"] <= constant["share"]:
        print(f"WARNING: no setting is right more often under attack than always answering {constant['label']!r}.")


def _alike(count: int) -> str:
    """Say how many settings may be as good as the chosen one."""
    if not count:
        return "These samples tell all others apart from it."
    others = "another setting" if count == 1 else f"{count} other settings"
    return f"These samples cannot tell it apart from {others}, whose interval of the difference holds 0."


def print_catalogue(entries: Sequence[CatalogueEntry]) -> None:
    """Print the known data sets, one a row."""
    table = _table("name", "kind", "at hand", "what", "licence")
    for entry in entries:
        table.add_row(entry.name, entry.kind, "yes" if entry.at_hand else "no", entry.summary, entry.licence)
    Console(highlight=False).print(table)


def print_data(splits: Splits) -> None:
    """Print what a data set holds and where it came from."""
    from salus.metrics import commonest

    facts = splits.describe()
    print(f"{facts['name']}: {facts['kind']}s of shape {facts['shape']}, values in {tuple(facts['bounds'])}")
    for part, counts in facts["counts"].items():
        groups = f", {facts['groups'][part]} {facts['group_word']}s" if part in facts["groups"] else ""
        each = ", ".join(f"{name} {count}" for name, count in counts.items())
        print(f"  {part}: {sum(counts.values())} samples ({each}{groups})")
    constant = commonest(splits.test.y, splits.test.classes)
    print(f"  always answering {constant.label!r} is right on {constant.share:.1%} of the test part")
    if facts["positive"]:
        print(f"  disease: {', '.join(facts['positive'])}")
    origin = facts["provenance"]
    source = " ".join(filter(None, (origin["source"], origin["version"])))
    print(f"  source: {source}, {origin['licence']}".rstrip(", "))
    print(f"  split: {origin['split']}")
    if facts["preprocessor"] is not None:
        print(f"  prepared: {facts['preprocessor']['text']}")
    for drop in origin["dropped"]:
        print(f"  dropped: {drop['count']} {drop['what']}: {drop['reason']}")
    for note in origin["notes"]:
        print(f"  note: {note}")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column)
    return table


def _print(table: Table) -> None:
    Console(highlight=False, width=None if sys.stdout.isatty() else 110).print(table)
