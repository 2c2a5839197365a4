"""What commands print for people: tables as wide as the terminal, and lines about data."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from salus.metrics.wording import percent

if TYPE_CHECKING:
    from salus.data import Splits
    from salus.data.load import CatalogueEntry
    from salus.detectors.multimagnet_grid import Calibration
    from salus.generative import Repository
    from salus.metrics import Commonest


def print_cells(cells: Sequence[dict[str, Any]], constant: Commonest) -> None:
    """Print the records of an audit, one a row, below the answer that is always the same.

    Args:
        cells: the records.
        constant: always the commonest class of the samples, which no attack changes.
    """

    def rate(cell: dict[str, Any], name: str) -> str:
        return "" if cell[name] is None else percent(cell[name])

    table = _table("guard", "attack")
    table.add_column("eps", justify="right")
    table.add_column("attacker")
    harmful = any(cell["harm"] is not None for cell in cells)
    driven = any(cell.get("detection_auc_driven") is not None for cell in cells)
    more = [*(["AUC, driven"] if driven else []), *(["harm"] if harmful else [])]
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
                cell["threat_model"] or "",
                "failed",
            )
            continue
        clean = cell["attack"] is None
        table.add_row(
            cell["guard"],
            "(clean)" if clean else cell["attack"],
            "" if cell["eps"] is None else f"{cell['eps']:.3g}",
            cell["threat_model"] or "",
            rate(cell, "clean_accuracy"),
            rate(cell, "robust_accuracy"),
            rate(cell, "attack_success_rate"),
            "" if cell["guard"] == "none" else rate(cell, "rejected_clean" if clean else "rejected_adversarial"),
            _area(cell, "detection_auc") + ("*" if _only_passes(cell) else ""),
            *([_area(cell, "detection_auc_driven")] if driven else []),
            *([f"{cell['harm']:.3g}"] if harmful else []),
        )
    _print(table)
    if any(_only_passes(cell) for cell in cells):
        print("* of an attacker who only has to pass this threshold, not to score low.")


def _area(cell: dict[str, Any], name: str) -> str:
    return "" if cell.get(name) is None else f"{cell[name]:.3f}"


def _only_passes(cell: dict[str, Any]) -> bool:
    """Tell whether a cell has an AUC, and an attacker who is content with passing the threshold."""
    from salus.threats import threat_named

    return cell["detection_auc"] is not None and threat_named(cell["threat_model"]).stops_at_threshold


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
