"""Random noise exactly as long as an attack may be."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks import draws
from salus.attacks.controls.base import Control


@dataclass(frozen=True, kw_only=True)
class _Noise(Control):
    """Noise of length eps in its norm, inside the bounds where there is room for so much.

    A value that would leave the bounds goes the other way instead, and in L2 and L1 the others grow for what the bounds
    cut off both ways. A mask makes the noise shorter, and so may whole units.

    Attributes:
        eps: the length, in the units of x.
        norm: measures it.
    """

    eps: Annotated[float, Field(ge=0, description="length of the noise, in the units of x")]

    @abstractmethod
    def draw(self, samples: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Draw noise of any length, ``[N, ...]``."""

    def change(self, x: Tensor, samples: Tensor) -> Tensor:
        """Add it."""
        noise = self.draw(samples, tuple(x.shape[1:])).double().flatten(1)
        x64 = x.double().flatten(1)
        ahead, behind = self.bounds[1] - x64, x64 - self.bounds[0]
        ahead, behind = torch.where(noise < 0, behind, ahead), torch.where(noise < 0, ahead, behind)
        room = torch.maximum(ahead, behind)
        size = noise.abs()
        if self.norm == "linf":
            size = self.eps * size / size.amax(1, keepdim=True).clamp_min(1e-300)
        else:
            size = self._as_long(size, room, 1 if self.norm == "l1" else 2)
        size = torch.minimum(size, room)
        signs = torch.where((size > ahead) & (size <= behind), -noise.sign(), noise.sign())
        return (x64 + signs * size).reshape(x.shape)

    def _as_long(self, size: Tensor, room: Tensor, order: int) -> Tensor:
        """Scale sizes ``[N, D]`` so that what there is room for has length eps, by bisection of the factor."""
        low: Tensor = self.eps / size.norm(order, dim=1, keepdim=True).clamp_min(
            1e-300
        )  # right where nothing is cut off
        # With this factor nothing that could still grow would be left, unless it is next to nothing.
        high = low + (room / size.clamp_min(1e-6)).amax(1, keepdim=True)
        for _ in range(60):
            middle = (low + high) / 2
            short = torch.minimum(middle * size, room).norm(order, dim=1, keepdim=True) < self.eps
            low, high = torch.where(short, middle, low), torch.where(short, high, middle)
        return low * size


@dataclass(frozen=True, kw_only=True)
class UniformNoise(_Noise):
    """Noise that is uniform in a cube."""

    name: ClassVar[str] = "uniform-noise"

    def draw(self, samples: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Draw from the cube."""
        return 2 * draws.uniform(self.seed, samples, shape, 0) - 1


@dataclass(frozen=True, kw_only=True)
class WhiteGaussianNoise(_Noise):
    """White Gaussian noise."""

    name: ClassVar[str] = "gaussian-noise"

    def draw(self, samples: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Draw from the normal distribution."""
        return draws.normal(self.seed, samples, shape, 0)
