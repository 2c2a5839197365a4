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
from salus.attacks.minimal import Here, MinimalNorm, State, unit
from salus.attacks.plane import dual, length


@dataclass(frozen=True, kw_only=True)
class FMN(MinimalNorm):
    """The fast minimum-norm attack (Pintor et al., 2021, Algorithm 1), in L0, L1, L2 and L-infinity.

    A step goes along the margin's gradient, divided by its length, and is projected into a ball around x whose radius
    shrinks by a share after a success and grows by it after a failure; until the first success it is what the
    linearised margin says. Step and share fall along a cosine. In L0 the radius is a number of places.

    Attributes:
        eps: the largest change that counts; None for any.
        steps: forward and backward passes.
        first_step: its length, in units of the range of values; the last is a hundredth of it. When not given, 1 as in
            the paper, but 0.3 in L1 and L2, where 1 leads so far from x that the radius is long in coming back.
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

    def begin(self, point: Tensor) -> State:
        """Remember the radius."""
        first = 1.0 if self.norm == "l0" else math.inf
        return (torch.full((len(point),), first, dtype=torch.float64, device=point.device),)

    def move(self, here: Here, state: State, step: int) -> tuple[Tensor, State]:
        """Step along the margin's gradient and back into the ball."""
        cosine = (1 + math.cos(math.pi * step / self.steps)) / 2
        gamma = self.gamma_final + (self.gamma - self.gamma_final) * cosine
        radius = self._radius(here, state[0], gamma)
        first = self.first_step or (0.3 if self.norm in ("l1", "l2") else 1.0)
        stride = first * self.width * (0.01 + 0.99 * cosine)
        return shortened(here.change + stride * unit(here.slope), radius, self.norm), (radius,)

    def _radius(self, here: Here, radius: Tensor, gamma: float) -> Tensor:
        """Return the radius of each sample's ball for the next step ``[A]``."""
        if self.norm == "l0":
            less = torch.minimum((radius * (1 - gamma)).floor(), here.best).minimum(radius - 1)
            return torch.where(here.won, less, (radius * (1 + gamma)).floor().maximum(radius + 1)).clamp_min(1)
        straight = here.margin.double().abs() / dual(here.slope.flatten(1), self.norm).double().clamp_min(1e-12)
        ahead = torch.where(here.best.isfinite(), radius, length(here.change.flatten(1), self.norm) + straight)
        return torch.where(here.won, torch.minimum(radius * (1 - gamma), here.best), ahead * (1 + gamma))
