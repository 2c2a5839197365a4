"""What the page reads of the stored audits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from salus.threats.winners import who_wins
from salus_studies.frame.markdown import Record

#: The attackers of a line, from who knows least to who knows most.
ATTACKERS = ("oblivious", "gray-box", "adaptive")


def by_data(audits: Sequence[Record]) -> dict[str, list[Record]]:
    """Group audits by their data, in their order."""
    return {name: [audit for audit in audits if audit["data"] == name] for name in {a["data"]: None for a in audits}}


def measured_cells(audit: Record) -> list[Record]:
    """List the cells that did not fail."""
    return [cell for cell in audit["cells"] if not cell.get("error")]


def find_cell(cells: Sequence[Record], **values: Any) -> Record | None:
    """Return the first cell with these values; what is not stored is None."""
    return next((cell for cell in cells if all(cell.get(key) == value for key, value in values.items())), None)


def under_attack(cells: Sequence[Record], guard: str, attack: Record) -> dict[str, Record | None]:
    """Find a guard's cells under an attack, by attacker."""
    same = {key: attack.get(key) for key in ("attack", "attack_options", "eps", "norm")}
    return {name: find_cell(cells, guard=guard, threat_model=name, **same) for name in ATTACKERS}


def breaker(cells: Mapping[str, Record | None]) -> str:
    """Name the variant that wins most alone, or say who suffices.

    Where variants were not run alone, the one that came first for most inputs is named, and said to be that.

    Args:
        cells: a guard's cells under an attack, by attacker.
    """
    adaptive, oblivious, twin = cells["adaptive"], cells["oblivious"], cells["gray-box"]
    if adaptive is None:
        return "not tried, or failed"
    if oblivious is not None and oblivious["robust_accuracy"] <= 0.05:
        return "anyone"
    half = 0.5 * adaptive["clean_accuracy"]
    if adaptive["robust_accuracy"] > half:
        return (
            "who has a twin"
            if twin is not None and twin["robust_accuracy"] <= half
            else "nobody here, which is no proof"
        )
    if adaptive.get("alone"):
        return who_wins(adaptive["alone"])
    shares = {name: share for name, share in (adaptive.get("variants") or {}).items() if name != "oblivious" and share}
    return f"{max(shares, key=shares.__getitem__)}, first to succeed" if shares else "the adaptive attacker"


def attack_title(cell: Record) -> str:
    """Name an attack."""
    steps = (cell.get("attack_options") or {}).get("steps")
    return f"{cell['attack'].upper()}{f'-{steps}' if steps else ''} at eps {cell['eps']:.4g}"
