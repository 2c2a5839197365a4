"""Smooth adversarial perturbations: no saw teeth that give a changed signal away."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Annotated, ClassVar

import torch
from annotated_types import Predicate
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from salus.attacks.ball import Ball, NormName
from salus.attacks.gradient import PGD
from salus.attacks.search import Search
from salus.attacks.settings import RandomStart
from salus.errors import OptionError
from salus.options import Words


def _odd(size: int) -> bool:
    return size % 2 == 1


@dataclass(frozen=True, kw_only=True)
class SmoothPGD(PGD):
    """PGD on a perturbation that is smoothed before it is added to x (Han et al., Nature Medicine 2020).

    The smoothed perturbation is the average over a bank of Gaussian kernels, every size with every sigma; of images
    both sides are smoothed. No kernel sums to more than 1, so it never leaves the ball that the perturbation is in;
    where it would carry x over the bounds, which the published code does not look at, it is cut off. The paper starts
    from the result of PGD: ``attack.run(model, x, y, start=PGD(eps=eps)(model, x, y))``.

    Attributes:
        sizes: how many neighbouring values each kernel covers, odd numbers.
        sigmas: standard deviations of the kernels, in values.
        random_start: start at a random point instead of x; smoothed noise is next to nothing.
    """

    name: ClassVar[str] = "smooth-pgd"
    dimensions: ClassVar[tuple[int, ...]] = (3, 4)
    paper: ClassVar[str] = "Han et al., 2020"
    norms: ClassVar[tuple[NormName, ...]] = ("linf", "l2")

    random_start: RandomStart = False
    sizes: Annotated[
        tuple[Annotated[int, Field(ge=1), Predicate(_odd)], ...],
        Words("odd numbers from 1 up, joined by +"),
        Field(min_length=1, description="how many neighbouring values each kernel covers"),
    ] = (5, 7, 11, 15, 19)
    sigmas: Annotated[
        tuple[Annotated[float, Field(gt=0)], ...],
        Field(min_length=1, description="standard deviations of the kernels, in values"),
    ] = (1.0, 3.0, 5.0, 7.0, 10.0)

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Climb as PGD does, with every point smoothed before the model sees it.

        Raises:
            OptionError: the samples are rows of a table.
        """
        if search.ball.x.ndim not in (3, 4):
            raise OptionError(
                f"{self.title}: the features of a table have no order along which a change could be smooth; "
                "attack signals [N, C, L] or images [N, C, H, W]."
            )
        super().perturb(search, start)

    def room(self, ball: Ball) -> Ball:
        """Return the ball without the bounds: what is smoothed afterwards may be inside although this is not."""
        free = ball.low < ball.high
        low, high = (torch.where(free, ball.x + side * self.eps, ball.x) for side in (-1, 1))
        return replace(ball, low=low, high=high)

    def show(self, ball: Ball, point: Tensor) -> Tensor:
        """Smooth the change of each point."""
        return ball.project(ball.x + self.smooth(point - ball.x))

    def pull(self, ball: Ball, gradient: Tensor) -> Tensor:
        """Smooth the gradient in what may change: symmetric kernels are their own transpose."""
        return self.smooth(torch.where(ball.low < ball.high, gradient, 0))

    def smooth(self, change: Tensor) -> Tensor:
        """Average the convolutions of changes ``[N, C, L]`` or ``[N, C, H, W]`` with every kernel of the bank."""
        bank = self._bank.to(change)
        if change.ndim == 3:
            kernel, convolve = bank.mean(0), functional.conv1d
        else:
            kernel, convolve = torch.einsum("bi,bj->ij", bank, bank) / len(bank), functional.conv2d
        # One kernel does it: the average of convolutions is the convolution with the average.
        planes = change.flatten(0, 1)[:, None]  # [N * C, 1, ...]
        return convolve(planes, kernel[None, None], padding=max(self.sizes) // 2).reshape(change.shape)

    @cached_property
    def _bank(self) -> Tensor:
        """The kernels, float64, padded with zeros to the largest size, ``[B, max(sizes)]``."""
        at = torch.arange(max(self.sizes), dtype=torch.float64) - max(self.sizes) // 2
        kernels = [
            torch.where(at.abs() <= size // 2, torch.exp(-at.square() / (2 * sigma**2)), 0.0)
            for size, sigma in product(self.sizes, self.sigmas)
        ]
        return torch.stack([kernel / kernel.sum() for kernel in kernels])
