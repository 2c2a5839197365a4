"""Attacks that follow the gradient of the loss inside a norm ball: FGSM, BIM, PGD."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks.ball import Ball
from salus.attacks.base import Attack
from salus.attacks.cost import Cost
from salus.attacks.search import Search
from salus.attacks.settings import EarlyStop, Eps, RandomStart, Restarts, Steps
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

    eps: Eps

    def cost(self, classes: int) -> Cost:
        """One gradient."""
        return Cost(1, 1)

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Take one step of length eps."""
        x_adv = search.ball.x if start is None else start
        x_adv, gradient = search.gradient(x_adv)
        search.settle(search.ball.project(search.ball.ascend(x_adv, gradient, self.eps)))


@dataclass(frozen=True, kw_only=True)
class _Iterative(Attack):
    """Many steps, each projected back into the ball.

    Attributes:
        steps: number of gradient steps.
        schedule: how long they are where no step_size is given: ``"cosine"``, falling from 2 eps to nearly nothing,
            which is stronger at any number of steps; or ``"madry"``, 2.5 eps / steps each (Madry et al., 2018).
        step_size: length of every step.
        momentum: share of the earlier directions that is added to each gradient, from 0 to 1 (MI-FGSM, Dong et
            al., 2018, Eq. 6, where it is 1). Such directions transfer better.
        nesterov: take each gradient where the momentum leads, not where the sample is (NI-FGSM, Lin et al.,
            2020, Eq. 6), kept inside the ball.
        early_stop: let each sample go as soon as it has fallen; its first adversarial point is the result.
            Without it every sample takes every step, which is what a transfer attack wants.
    """

    eps: Eps
    steps: Steps = 10
    schedule: Annotated[
        Literal["cosine", "madry"],
        Field(description="cosine: steps fall from 2 eps to nothing; madry: each is 2.5 eps / steps"),
    ] = "cosine"
    step_size: Annotated[float | None, Field(gt=0, description="length of each step; none for the schedule's")] = None
    momentum: Annotated[
        float, Field(ge=0, le=1, description="share of the earlier directions that is added to each gradient")
    ] = 0.0
    nesterov: Annotated[bool, Field(description="take each gradient where the momentum leads")] = False
    early_stop: EarlyStop = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and self.momentum == 0:
            raise OptionError(f"{self.title}: nesterov looks where the momentum leads; give a momentum above 0.")

    @property
    def stride(self) -> float:
        """The length that every step would have: ``step_size``, or Madry's."""
        return 2.5 * self.eps / self.steps if self.step_size is None else self.step_size

    def length(self, step: int) -> float:
        """Return how long this step is, counted from 0."""
        if self.step_size is not None or self.schedule == "madry":
            return self.stride
        return self.eps * (1 + math.cos(math.pi * step / self.steps))

    def climb(self, search: Search, x_adv: Tensor) -> Tensor:
        """Take the steps from these points of the active samples; return where those left active end."""
        velocity: Tensor | None = None
        for step in range(self.steps):
            ahead = x_adv
            if self.nesterov and velocity is not None:
                ahead = self.room(search.ball).project(x_adv.add(velocity, alpha=self.momentum * self.length(step)))
            look = search.look(self.show(search.ball, ahead))
            x_adv, direction = look.of(x_adv), self.pull(search.ball, look.gradient)
            if len(search) == 0:
                break
            room = self.room(search.ball)
            if self.momentum:
                direction = self._unit(room, direction)
                velocity = direction if velocity is None else direction.add(look.of(velocity), alpha=self.momentum)
                direction = velocity
            x_adv = room.project(room.ascend(x_adv, direction, self.length(step)))
        return x_adv

    def room(self, ball: Ball) -> Ball:
        """Return where the climb may go."""
        return ball

    def show(self, ball: Ball, point: Tensor) -> Tensor:
        """Return what the model is to see of where the climb stands."""
        return point

    def pull(self, ball: Ball, gradient: Tensor) -> Tensor:
        """Return the gradient in where the climb stands, given that in what the model saw."""
        return gradient

    def _unit(self, ball: Ball, gradient: Tensor) -> Tensor:
        """Give gradients of all steps one size, so that none drowns the others: a mean of 1, or a length of 1 in L2."""
        if self.norm == "l2":
            return ball.steepest(gradient)
        size = gradient.flatten(1).abs().mean(1).clamp_min(torch.finfo(gradient.dtype).tiny)
        return gradient / size.reshape(-1, *[1] * (gradient.ndim - 1))


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

    steps: Steps = 40
    restarts: Restarts = 1
    random_start: RandomStart = True

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Climb from each start; ``start``, when given, takes the place of the first."""
        if self.early_stop:
            search.record(search.ball.x)  # what is already fooled needs no change
        else:
            search.notice(search.ball.x)
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
            x_adv = self.show(search.ball, x_adv)
            if self.early_stop or self.restarts > 1:
                search.record(x_adv)
            else:
                search.settle(x_adv)
