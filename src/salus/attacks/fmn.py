"""FMN: steps along the gradient inside a ball whose radius follows the boundary."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks.ball import NormName
from salus.attacks.lengths import shortened
from salus.attacks.minimal import Iterate, MinimalNorm, State, each, unit
from salus.attacks.plane import dual, length


@dataclass(frozen=True, kw_only=True)
class FMN(MinimalNorm):
    """The fast minimum-norm attack (Pintor et al., 2021, Algorithm 1), in L0, L1, L2 and L-infinity.

    A step goes along the margin's gradient, divided by its length, and is projected into a ball around x whose radius
    shrinks by a share after a success and grows by it after a failure; until the first success it is what the
    linearised margin says. Step and share fall along a cosine. In L0 the radius is a number of places.

    In L1 and L2 the walk finds its own scale, unless ``first_step`` is given: until the first success no ball holds
    it, and it goes some times as far as the linearised margin says, farther with every failure; then steps are in units
    of the nearest success. The paper's steps, in units of the range of values, lead so far from x where samples lie
    near the boundary that the radius is long in coming back.

    Attributes:
        eps: the largest change that counts; None for any.
        steps: forward and backward passes.
        first_step: its length, in units of the range of values; the last is a hundredth of it. When not given, 1 as in
            the paper, but in L1 and L2 what suits the sample.
        gamma: by which share the radius changes at first.
        gamma_final: by which share it changes in the end.

    Example:
        >>> x_adv = FMN(norm="linf")(model, x, y)  # doctest: +SKIP
    """

    name: ClassVar[str] = "fmn"
    paper: ClassVar[str] = "Pintor et al., 2021"
    norms: ClassVar[tuple[NormName, ...]] = ("linf", "l2", "l1", "l0")

    first_step: Annotated[
        float | None,
        Field(gt=0, description="first step, in units of the range of values; none for what suits the norm"),
    ] = None
    gamma: Annotated[float, Field(gt=0, lt=1, description="by which share the radius changes at first")] = 0.05
    gamma_final: Annotated[float, Field(gt=0, lt=1, description="by which share it changes in the end")] = 0.001

    @property
    def scales(self) -> bool:
        """Whether each sample's steps are in units of its own nearest success."""
        return self.first_step is None and self.norm in ("l1", "l2")

    def begin(self, point: Tensor) -> State:
        """Remember the radius and the Euclidean length of the shortest successful change."""
        unknown = torch.full((len(point),), math.inf, dtype=torch.float64, device=point.device)
        return torch.ones_like(unknown) if self.norm == "l0" else unknown, unknown

    def move(self, here: Iterate, state: State, step: int) -> tuple[Tensor, State]:
        """Step along the margin's gradient and back into the ball."""
        cosine = (1 + math.cos(math.pi * step / self.steps)) / 2
        gamma = self.gamma_final + (self.gamma - self.gamma_final) * cosine
        radius = self._radius(here, state[0], gamma)
        size = length(here.change.flatten(1), "l2").double()
        shortest = torch.where(here.won, state[1].minimum(size), state[1])
        stride = self._first(here, shortest, step) * (0.01 + 0.99 * cosine)
        change = here.change + each(stride, here.change) * unit(here.slope)
        return shortened(change, radius, self.norm), (radius, shortest)

    def _first(self, here: Iterate, shortest: Tensor, step: int) -> Tensor:
        """Return the length of each sample's first step, from which the others shrink ``[A]``."""
        if not self.scales:
            return torch.full_like(shortest, self.first_step or 1.0) * self.width
        ahead = _BEYOND * _FARTHER ** min(step, 100) * _straight(here, "l2")
        return torch.where(shortest.isfinite(), _STRIDE * shortest, ahead).clamp_max(self.width)

    def _radius(self, here: Iterate, radius: Tensor, gamma: float) -> Tensor:
        """Return the radius of each sample's ball for the next step ``[A]``."""
        if self.norm == "l0":
            less = torch.minimum((radius * (1 - gamma)).floor(), here.best).minimum(radius - 1)
            return torch.where(here.won, less, (radius * (1 + gamma)).floor().maximum(radius + 1)).clamp_min(1)
        if self.scales:
            ahead = radius  # infinite before the first success
        else:
            size = length(here.change.flatten(1), self.norm) + _straight(here, self.norm)
            ahead = torch.where(here.best.isfinite(), radius, size)
        return torch.where(here.won, torch.minimum(radius * (1 - gamma), here.best), ahead * (1 + gamma))


def _straight(here: Iterate, norm: NormName) -> Tensor:
    """Return how far the boundary would be were the margin linear ``[A]``."""
    return here.margin.double().abs() / dual(here.slope.flatten(1), norm).double().clamp_min(1e-12)


#: How many times as far as the linearised margin says the first step goes, and by how much farther after each failure.
_BEYOND, _FARTHER = 2.0, 1.2
#: The first step after a success, in units of the nearest success.
_STRIDE = 4.0
