"""An attack of somebody else's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from salus.attacks import Attack
from salus.attacks.draws import uniform
from salus.attacks.search import Search
from salus.attacks.settings import Eps
from salus.attacks.taxonomy import Knowledge


@dataclass(frozen=True, kw_only=True)
class CoinFlip(Attack):
    """Moves every value by eps one way or the other, by the toss of a coin.

    Attributes:
        tosses: how often it tries.
    """

    name: ClassVar[str] = "coin-flip"
    paper: ClassVar[str] = "nobody"
    knowledge: ClassVar[Knowledge] = "logits"

    eps: Eps
    tosses: Annotated[int, Field(ge=1, le=100, description="how often it tries")] = 5

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Toss until the samples fall."""
        for toss in range(self.tosses):
            if len(search.rows) == 0:
                return
            x = search.ball.x
            coins = uniform(self.seed, search.samples, tuple(x.shape[1:]), stream=toss)
            search.record(search.ball.project(x + self.eps * (coins - 0.5).sign()))
