"""Attacks that follow the gradient of the loss inside a norm ball: FGSM, BIM, PGD."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from salus.attacks.base import Attack
from salus.attacks.search import Search
from salus.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class FGSM(Attack):
    """The fast gradient sign method, one step to the rim (Goodfellow et al., 2015; I-defender, Eq. 1).

    With ``norm="l2"`` the step follows the gradient divided by its length. One gradient, no early stop.

    Example:
        >>> x_adv = FGSM(eps=0.01)(model, x, y)  # doctest: +SKIP
    """

    name: ClassVar[str] = "fgsm"
    paper: ClassVar[str] = "Goodfellow et al., 2015"

    eps: float

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Take one step of length eps."""
        x_adv = search.ball.x if start is None else start
        x_adv, gradient = search.gradient(x_adv)
        search.settle(search.ball.project(x_adv.add(search.ball.steepest(gradient), alpha=self.eps)))


@dataclass(frozen=True, kw_only=True)
class _Iterative(Attack):
    """Many small steps, each projected back into the ball.

    Attributes:
        steps: number of gradient steps.
        step_size: length of each; ``2.5 * eps / steps`` when not given.
        early_stop: let each sample go as soon as it has fallen; its first adversarial point is the result.
            Without it every sample takes every step, which is what a transfer attack wants.
    """

    eps: float
    steps: int = 10
    step_size: float | None = None
    early_stop: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise OptionError(f"{self.title}: steps must be at least 1, not {self.steps}.")
        if self.step_size is not None and not (math.isfinite(self.step_size) and self.step_size > 0):
            raise OptionError(f"{self.title}: step_size must be above 0, not {self.step_size}.")

    @property
    def stride(self) -> float:
        """The length of one step."""
        return 2.5 * self.eps / self.steps if self.step_size is None else self.step_size

    def climb(self, search: Search, x_adv: Tensor) -> Tensor:
        """Take the steps from these points of the active samples; return where those left active end."""
        for _ in range(self.steps):
            x_adv, gradient = search.gradient(x_adv)
            if len(search) == 0:
                break
            x_adv = search.ball.project(x_adv.add(search.ball.steepest(gradient), alpha=self.stride))
        return x_adv


@dataclass(frozen=True, kw_only=True)
class BIM(_Iterative):
    """The basic iterative method: FGSM in small steps from x (Kurakin et al., 2017; I-defender, Eq. 2 and 3).

    ``norm="l2"`` is Metzen's variant with steps along the L2-normalised gradient (I-defender's Iterative-L2).
    """

    name: ClassVar[str] = "bim"
    paper: ClassVar[str] = "Kurakin et al., 2017"

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Climb from x."""
        x_adv = self.climb(search, search.ball.x if start is None else start)
        if self.early_stop:
            search.record(x_adv)
        else:
            search.settle(x_adv)


@dataclass(frozen=True, kw_only=True)
class PGD(_Iterative):
    """Projected gradient descent from random starts (Madry et al., 2018; ECG-ATK-GAN, Eq. 4).

    Attributes:
        restarts: independent random starts; each sample keeps a success, else the point of lowest margin.
        random_start: False makes the first start x itself, which is a BIM; the others stay random.
    """

    name: ClassVar[str] = "pgd"
    paper: ClassVar[str] = "Madry et al., 2018"

    steps: int = 40
    restarts: int = 1
    random_start: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.restarts < 1:
            raise OptionError(f"{self.title}: restarts must be at least 1, not {self.restarts}.")

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Climb from each start; ``start``, when given, takes the place of the first."""
        if self.early_stop:
            search.record(search.ball.x)  # what is already fooled needs no change
        for restart in range(self.restarts):
            if len(search) == 0:
                break
            if restart == 0 and start is not None:
                x_adv = start[search.rows]
            elif self.random_start or restart > 0:
                x_adv = search.ball.random(self.seed, search.samples, restart)
            else:
                x_adv = search.ball.x
            x_adv = self.climb(search, x_adv)
            if self.early_stop or self.restarts > 1:
                search.record(x_adv)
            else:
                search.settle(x_adv)
