"""AutoAttackPlus: AutoAttack's reach in a fraction of its passes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks.apgd import APGD
from salus.attacks.ball import NormName
from salus.attacks.base import Attack
from salus.attacks.ensemble import Ensemble
from salus.attacks.fab import FAB
from salus.attacks.search import Search
from salus.attacks.square import Square
from salus.attacks.straight_through import StraightThrough


@dataclass(frozen=True, kw_only=True)
class AutoAttackPlus(Ensemble):
    """Four short attacks, one after the other: APGD on two losses, APGD-T on MALT's classes, FAB-T, and Square.

    AutoAttack (Croce and Hein, 2020) takes about 6,900 forward and 1,900 backward passes for a sample that stands, most
    of them in climbs that have hardly anything left to find and in queries that find nothing. Here the climbs are
    short, and begin with the classes that would be nearest were the model linear (MALT; Melamed et al., 2024). A
    climb on cross-entropy and one on the probability margin (Xie et al., 2024) come first; Square asks a few queries
    at the end.

    A model that hides its gradients is not let off: what it rounds is differentiated straight through (BPDA), and a
    sample at which the loss has no slope at all gets the queries that AutoAttack gives it.

    Attributes:
        steps: of a climb and of FAB; a climb towards a target takes two thirds of them.
        targets: how many other classes APGD-T tries; FAB-T tries the nearest three of them.
        square_queries: forward passes that Square may ask for a sample.
    """

    name: ClassVar[str] = "auto-attack-plus"
    paper: ClassVar[str] = "after Croce and Hein, 2020"
    label: ClassVar[str] = "AutoAttack+"
    norms: ClassVar[tuple[NormName, ...]] = ("linf", "l2")

    steps: Annotated[int, Field(ge=1, description="steps of a climb; two thirds with a target")] = 30
    targets: Annotated[int, Field(ge=1, description="how many other classes APGD-T tries")] = 9
    square_queries: Annotated[int, Field(ge=1, description="most forward passes a sample that Square takes")] = 700

    @property
    def parts(self) -> tuple[Attack, ...]:
        """The attacks, in their order."""
        climbing = {**self.shared, "steps": self.steps}
        few = {**climbing, "ranking": "malt", "targets": None if self.targeted else min(self.targets, _NEAR)}
        targeting = {**few, "steps": max(2 * self.steps // 3, 1), "targets": None if self.targeted else self.targets}
        return (
            APGD(**climbing),
            APGD(**climbing, loss="pma"),
            APGD(**targeting, loss="dlr"),
            FAB(**few),
            Square(**self.shared, queries=self.square_queries),
        )

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Run the parts on one search, which lets go whoever has fallen; ``start`` is where the first starts."""
        *climbs, square = self.parts
        with StraightThrough():
            look = search.look(search.ball.x, keep=True)
            flat = search.rows[(look.gradient.flatten(1) == 0).all(1)]
            search.resume(search.rows[~torch.isin(search.rows, flat)])
            for part in climbs:
                if len(search) > 0:
                    part.perturb(search, start)
                    start = None
        if len(search) > 0:
            square.perturb(search, None)
        if len(flat) > 0:
            search.resume(flat)
            replace(square, queries=_QUERIES).perturb(search, None)


#: Queries of Square where a model shows no slope: AutoAttack's.
_QUERIES = 5000
#: Classes that FAB-T tries.
_NEAR = 3
