"""Adversarial patches: one square of pixels or stretch of time is painted over, everything else stays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import avg_pool1d, avg_pool2d

from salus.attacks import draws
from salus.attacks.ball import NormName
from salus.attacks.base import Attack
from salus.attacks.search import Search
from salus.attacks.settings import EarlyStop, Norm
from salus.attacks.windows import window
from salus.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Patch(Attack):
    """PGD without a limit inside one patch of each sample, at several places (LaVAN, Karmon et al., 2018).

    A patch is a square of pixels of an image, or a stretch of a signal, with all channels. It lies first where the
    gradient at x is largest in sum, then at random places. Steps follow the sign of the gradient and shrink to
    nothing; of all points the one with the lowest margin is kept.

    Attributes:
        eps: most places (pixels or moments) that the patch may cover, a whole number; a square's edge is its root,
            rounded down.
        steps: gradient steps at each place.
        restarts: places to try.
        step_size: of the first step, in the units of x; a tenth of the bounds' width when not given.
        early_stop: let each sample go as soon as it has fallen; otherwise its margin is lowered to the end.

    Raises:
        OptionError: eps is no whole number.

    Example:
        >>> x_adv = Patch(eps=64)(model, x, y)  # a square of 8 x 8 pixels  # doctest: +SKIP
    """

    name: ClassVar[str] = "patch"
    dimensions: ClassVar[tuple[int, ...]] = (3, 4)
    paper: ClassVar[str] = "Karmon et al., 2018"
    norms: ClassVar[tuple[NormName, ...]] = ("l0",)
    label: ClassVar[str] = "patch"

    eps: Annotated[float, Field(ge=0, description="most pixels or moments that the patch may cover")]
    norm: Norm = "l0"
    steps: Annotated[int, Field(ge=1, description="gradient steps at each place")] = 40
    restarts: Annotated[int, Field(ge=1, description="places that are tried")] = 5
    step_size: Annotated[
        float | None, Field(gt=0, description="length of the first step; none for a tenth of the range of values")
    ] = None
    early_stop: EarlyStop = True

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Paint at one place after the other, for the samples that still stand."""
        if search.ball.x.ndim not in (3, 4):
            raise DataError(f"{self.title} needs signals [N, C, L] or images [N, C, H, W]; a table has no patches.")
        space = search.ball.x.shape[2:]
        edge = min(math.isqrt(int(self.eps)) if len(space) == 2 else int(self.eps), *space)
        if edge == 0:
            search.record(search.ball.x)
            return
        look = search.look(search.ball.x, keep=True)
        best = worst_place(look.gradient, edge)
        for restart in range(self.restarts):
            if len(search) == 0:
                return
            place = draws.uniform(self.seed, search.samples, (len(space),), 2 * restart)
            if restart == 0:
                place = best
            # A search without early stop keeps everyone, so places stay in the order of the samples.
            self._paint(search, place, edge, restart, start)

    def _paint(self, search: Search, place: Tensor, edge: int, restart: int, start: Tensor | None) -> None:
        """Descend inside the patches at these places, each axis from 0 to 1, ``[A, axes]``."""
        x = search.ball.x
        inside = window(x, edge ** (x.ndim - 2) / math.prod(x.shape[2:]), place, place).mask(x)
        low, high = search.ball.low, search.ball.high
        noise = low + (high - low) * draws.uniform(self.seed, search.samples, tuple(x.shape[1:]), 2 * restart + 1)
        if restart == 0:
            noise = x if start is None else start[search.rows]
        point = torch.where(inside, noise.clamp(low, high), x)
        first = (self.bounds[1] - self.bounds[0]) / 10 if self.step_size is None else self.step_size
        for step in range(self.steps):
            look = search.look(point, keep=True)
            if len(search) == 0:
                return
            inside, x = look.of(inside), search.ball.x
            size = first * (1 - step / self.steps)
            ahead = look.of(point) + size * look.gradient.sign()
            point = torch.where(inside, ahead.clamp(search.ball.low, search.ball.high), x)
        search.record(point)


def worst_place(gradient: Tensor, edge: int) -> Tensor:
    """Find the patch in which the gradient ``[A, C, ...]`` is largest in sum, each axis from 0 to 1, ``[A, axes]``."""
    size = gradient.abs().sum(1, keepdim=True)
    pool = avg_pool2d if size.ndim == 4 else avg_pool1d
    mean = pool(size, edge, stride=1)  # [A, 1, corners]
    flat = mean.flatten(1).argmax(1)
    corners = mean.shape[2:]
    axes = []
    for length in reversed(corners):
        axes.append((flat % length + 0.5) / length)
        flat = flat // length
    return torch.stack(axes[::-1], 1)
