"""When a training ends that goes on until the error on held-out samples stops falling."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from salus.training.checkpoint import weights

#: Falls of the learning rate, to a third each, before such a training ends; and the share by which the error must fall
#: to have fallen.
FALLS, LESS = 2, 0.005


class Course:
    """How far a training is that goes on until the error on held-out samples stops falling.

    Args:
        patience: epochs without a lower error after which the rate falls; None: no error decides anything.

    Attributes:
        share: of the learning rate that is left.
        over: whether training ends.
        best: the weights of the lowest error so far; None without patience.
    """

    def __init__(self, patience: int | None) -> None:
        self.patience = patience
        self.best: dict[str, Tensor] | None = None
        self.lowest, self.waited, self.falls = math.inf, 0, 0

    @property
    def share(self) -> float:
        """The share of the learning rate that is left."""
        return 3.0**-self.falls

    @property
    def over(self) -> bool:
        """Whether the rate has fallen as often as it may, and nothing came of it."""
        return self.falls > FALLS

    def see(self, error: float, module: nn.Module) -> None:
        """Take an epoch's error; where it is lower, keep the weights."""
        self.waited = 0 if error < self.lowest * (1 - LESS) else self.waited + 1
        if error < self.lowest:
            self.lowest, self.best = error, weights(module)
        if self.patience is not None and self.waited >= self.patience:
            self.falls, self.waited = self.falls + 1, 0

    def facts(self) -> dict[str, Any]:
        """Return what goes into a checkpoint beside the weights."""
        if self.best is None:
            return {}
        return {"lowest": self.lowest, "waited": self.waited, "falls": self.falls}

    def parts(self) -> dict[str, dict[str, Tensor]]:
        """Return the weights that go into a checkpoint."""
        return {} if self.best is None else {"best": self.best}

    def resume(self, facts: Mapping[str, Any], parts: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Go on where a checkpoint left off."""
        if "lowest" in facts:
            self.lowest, self.waited = float(facts["lowest"]), int(facts["waited"])
            self.falls, self.best = int(facts["falls"]), dict(parts["best"])
