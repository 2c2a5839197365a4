"""What an attacker knows, as far as a ranking goes: one level for guards and bare classifiers alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from salus.errors import OptionError, nearest
from salus.report import words
from salus.report.run_folder import Record
from salus.threats.models import Adaptive, DecisionOnly, GrayBox, Oblivious, ScoreOnly, Transfer, WhiteBox


@dataclass(frozen=True)
class Level:
    """What an attacker knows.

    Attributes:
        name: the threat model of guards.
        bare: that of the bare classifier who knows as much of it.
        summary: what they know, in words that follow "an attacker who".
    """

    name: str
    bare: str
    summary: str

    def of(self, guard: str) -> str:
        """Name the threat model under which a guard, or the bare classifier (``none``), is attacked."""
        return self.bare if guard == "none" else self.name


@dataclass(frozen=True, order=True)
class Pair:
    """A size of change, and the norm that measures it."""

    norm: str
    eps: float

    def words(self, kind: str) -> str:
        """Write it for these data: "eps = 8/255 (L∞)"."""
        return f"eps = {words.epsilon(self.eps, kind)} ({words.norm(self.norm)})"


#: Whoever knows most comes first.
LEVELS: Mapping[str, Level] = {
    level.name: level
    for level in (
        Level(Adaptive.name, WhiteBox.name, "knows everything"),
        Level(GrayBox.name, GrayBox.name, "has a twin of what is attacked, trained apart"),
        Level(Oblivious.name, WhiteBox.name, "knows the classifier and nothing of its guard"),
        Level(Transfer.name, Transfer.name, "has a substitute for the classifier"),
        Level(ScoreOnly.name, ScoreOnly.name, "sees the probabilities of answers"),
        Level(DecisionOnly.name, DecisionOnly.name, "sees nothing but answers"),
    )
}


def find_level(name: str) -> Level:
    """Find what an attacker knows by the name of a threat model.

    Raises:
        OptionError: there is none; the nearest names are given.
    """
    name = Adaptive.name if name == WhiteBox.name else name
    if name not in LEVELS:
        known = [WhiteBox.name, *LEVELS]
        raise OptionError(f"Unknown threat model {name!r}; {nearest(name, known)}")
    return LEVELS[name]


def cells_of(cells: Iterable[Record], guard: str, level: Level, pair: Pair) -> list[Record]:
    """Pick a guard's finished attacks by whoever knows so much, with this size of change."""
    return [
        cell
        for cell in cells
        if cell["guard"] == guard
        and cell["threat_model"] == level.of(guard)
        and pair_of(cell) == pair
        and cell.get("robust_accuracy") is not None
    ]


def pair_of(cell: Record) -> Pair | None:
    """Tell a cell's size of change; None of attacks that look for the smallest one, and of what is no attack."""
    if cell["eps"] is None or cell["norm"] is None:
        return None
    return Pair(str(cell["norm"]), float(f"{cell['eps']:.9g}"))
