"""What the page reads of the stored results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from salus_studies.attacks.contenders import DEFAULTS
from salus_studies.frame.markdown import Record

OWN = "salus"

LIBRARIES = {
    OWN: "Salus",
    "adv-lib": "adv-lib",
    "adversarial-robustness-toolbox": "ART",
    "foolbox": "Foolbox",
    "pyautoattack": "pyautoattack",
    "secml-torch": "secml-torch",
    "torchattacks": "torchattacks",
}
NORMS = {"l0": "L0", "l1": "L1", "l2": "L2", "linf": "L∞"}

#: Passes of the default PGD: 40 steps of a forward and a backward pass.
FORTY_STEPS = 80


def attack_rows(results: Record) -> list[dict[str, Any]]:
    """List the attacks' rows, by the names of their columns."""
    return [dict(zip(results["columns"], row, strict=True)) for row in results["attacks"]]


def chosen(rows: Iterable[Record], **values: Any) -> list[Record]:
    """Choose the rows with these values."""
    return [row for row in rows if all(row[name] == value for name, value in values.items())]


def strongest(rows: Sequence[Record], figure: str, *, own: bool) -> Record | None:
    """Find the strongest attack of Salus, or of its peers; None where none has this figure."""
    usable = [row for row in rows if (row["library"] == OWN) is own and row[figure] is not None and not row["error"]]
    return max(usable, key=lambda row: float(row[figure]), default=None)


def mean(values: Sequence[float]) -> float:
    """Compute the mean over models: global optimality."""
    return sum(values) / len(values)


def title(row: Record) -> str:
    """Name an attack with its library and what is not its default."""
    name = f"`{row['attack']}`" if row["library"] == OWN else f"{LIBRARIES[row['library']]} {row['attack']}"
    return name if row["settings"] == DEFAULTS else f"{name} ({row['settings']})"


def as_strong(pair: Record) -> bool:
    """Tell whether ours is as strong as theirs within one standard error, or what four stored digits leave open."""
    return bool(pair["own"] + max(pair["error"], _OPEN) >= pair["theirs"])


#: Distances are stored with four digits.
_OPEN = 5e-4
