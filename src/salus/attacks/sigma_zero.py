"""Sigma-zero: few changed places, by descent on a smooth stand-in for their number."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks.ball import NormName, by_place, in_shape
from salus.attacks.minimal import Iterate, MinimalNorm, State, each
from salus.attacks.settings import Norm


@dataclass(frozen=True, kw_only=True)
class SigmaZero(MinimalNorm):
    """Sigma-zero (Cina et al., 2025, Algorithm 1): ``max(margin, 0)`` plus the mean of ``d^2 / (d^2 + sigma)``.

    The mean stands for the share of changed values and has a gradient. Adam descends it from a gradient whose largest
    element is 1; what has changed by less than a threshold is set back, and the threshold rises with every success
    and falls with every failure. The paper counts values. Here a place counts (a pixel, a moment) with all its
    channels: d is the length of its change, and it is set back as a whole.

    Attributes:
        eps: most places that may change, a whole number; None for any.
        steps: forward and backward passes.
        first_step: its length, in units of the range of values; the last is a tenth of it.
        sigma: how sharply the smooth count turns from 0 to 1.
        threshold: changes below this share of the range of values are set back at first.
        threshold_step: by which share of the step the threshold moves.

    Example:
        >>> x_adv = SigmaZero()(model, x, y)  # doctest: +SKIP
    """

    name: ClassVar[str] = "sigma-zero"
    paper: ClassVar[str] = "Cina et al., 2025"
    norms: ClassVar[tuple[NormName, ...]] = ("l0",)
    label: ClassVar[str] = "Sigma-zero"

    norm: Norm = "l0"
    first_step: Annotated[float, Field(gt=0, description="first step, in units of the range of values")] = 1.0
    sigma: Annotated[float, Field(gt=0, description="how sharply the smooth count turns from 0 to 1")] = 1e-3
    threshold: Annotated[float, Field(ge=0, le=1, description="smaller changes are set back, at first")] = 0.3
    threshold_step: Annotated[float, Field(ge=0, description="by which share of the step the threshold moves")] = 0.01

    def begin(self, point: Tensor) -> State:
        """Remember Adam's moments and the threshold."""
        return torch.zeros_like(point), torch.zeros_like(point), torch.full_like(point.flatten(1)[:, 0], self.threshold)

    def move(self, here: Iterate, state: State, step: int) -> tuple[Tensor, State]:
        """Take a step of Adam and set back the places that have hardly changed."""
        mean, square, threshold = state
        change = here.change / self.width
        size = in_shape(by_place(change).square().sum(1), change)  # d^2
        places = by_place(change).shape[2]
        count_slope = 2 * change * self.sigma / (size + self.sigma).square() / places
        slope = count_slope - self.width * here.slope * each(here.margin > 0, change)
        slope = slope / each(slope.flatten(1).abs().amax(1).clamp_min(1e-12), slope)
        mean, square = mean.lerp(slope, 0.1), square.lerp(slope.square(), 0.001)
        direction = mean / (1 - 0.9 ** (step + 1)) / ((square / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
        change = (change - self._stride(step) * direction).clamp(here.low / self.width, here.high / self.width)
        rise = torch.where(here.won, 1.0, -1.0) * self.threshold_step * self._stride(step + 1)
        threshold = (threshold + rise.to(threshold.dtype)).clamp(0, 1)
        size = in_shape(by_place(change).square().sum(1).sqrt(), change)
        return torch.where(size < each(threshold, change), 0, change) * self.width, (mean, square, threshold)

    def _stride(self, step: int) -> float:
        """Return the length of a step, which falls along a cosine to a tenth."""
        return self.first_step * (0.1 + 0.9 * (1 + math.cos(math.pi * max(step - 1, 0) / self.steps)) / 2)
