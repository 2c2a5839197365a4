"""What every library is given, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn

#: ``(model, x, y, eps)`` to ``x_adv``; eps is 0 for an attack that looks for the smallest change.
Run = Callable[[nn.Module, Tensor, Tensor, float], Tensor]

#: Looks for the smallest change, or for a success inside a ball.
Goal = Literal["nearest", "within"]

#: Settings of a library's own, its steps scaled to the budget.
DEFAULTS = "defaults"


@dataclass(frozen=True, kw_only=True)
class Task:
    """What an attack may spend, on what.

    Attributes:
        norm: ``"l0"``, ``"l1"``, ``"l2"`` or ``"linf"``.
        budget: passes a sample, forward and backward together; for an attack with a fixed eps at each eps.
        classes: of the model.
        seed: of the attack's draws.
    """

    norm: str
    budget: int
    classes: int
    seed: int = 0

    @property
    def steps(self) -> int:
        """Steps of a forward and a backward pass each that fit, with two looks left at the start and the end."""
        return max((self.budget - 4) // 2, 1)

    @property
    def class_steps(self) -> int:
        """Steps of a forward pass and a backward pass for each class that fit, and for the looks."""
        return max((self.budget - 4) // (self.classes + 1), 1)

    def searched(self, searches: int) -> int:
        """Give the steps of each of so many searches."""
        return max(self.steps // searches, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Contender:
    """One library's attack under one setting.

    Attributes:
        library: the distribution's name on the package index, or ``"salus"``.
        attack: the attack's name in the library.
        family: what the same attack is called everywhere; settings within a family are compared.
        settings: what it was set to, in a word or two.
        goal: what it looks for.
        run: the attack.
        described: all its settings, where they are known, so that a run is done again when they change.
    """

    library: str
    attack: str
    family: str
    goal: Goal
    run: Run = field(repr=False)
    settings: str = DEFAULTS
    described: str = ""

    @property
    def name(self) -> str:
        """Name it uniquely within a task."""
        return f"{self.library} {self.attack} {self.settings} {self.goal}"
