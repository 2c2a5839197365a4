"""Random noise exactly as long as an attack may be."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from salus.attacks import draws
from salus.attacks.controls.base import Control


@dataclass(frozen=True, kw_only=True)
class _Noise(Control):
    """Noise of length eps in its norm, before what the bounds cut off.

    Attributes:
        eps: the length, in the units of x.
        norm: measures it.
    """

    eps: float

    @abstractmethod
    def draw(self, samples: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Draw noise of any length, ``[N, ...]``."""

    def change(self, x: Tensor, samples: Tensor) -> Tensor:
        """Add it."""
        noise = self.draw(samples, tuple(x.shape[1:])).to(x.dtype).flatten(1)
        length = noise.abs().amax(1) if self.norm == "linf" else noise.norm(dim=1)
        noise = noise / length.clamp_min(torch.finfo(x.dtype).tiny)[:, None]
        return x + self.eps * noise.reshape(x.shape)


@dataclass(frozen=True, kw_only=True)
class UniformNoise(_Noise):
    """Noise that is uniform in a cube."""

    name: ClassVar[str] = "uniform-noise"

    def draw(self, samples: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Draw from the cube."""
        return 2 * draws.uniform(self.seed, samples, shape, 0) - 1


@dataclass(frozen=True, kw_only=True)
class GaussianNoise(_Noise):
    """White Gaussian noise."""

    name: ClassVar[str] = "gaussian-noise"

    def draw(self, samples: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Draw from the normal distribution."""
        return draws.normal(self.seed, samples, shape, 0)
