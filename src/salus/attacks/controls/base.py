"""What controls share: harmless changes that no defence should mind."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from salus.attacks.base import Attack
from salus.attacks.search import Search
from salus.attacks.taxonomy import Knowledge
from salus.errors import OptionError

_KINDS = {2: "tables", 3: "signals", 4: "images"}


@dataclass(frozen=True, kw_only=True)
class Control(Attack):
    """A change of the kind that inputs meet every day, made without asking any model.

    A defence that rejects these is not a defence. A control has no target and no goal; it stands where an attack
    stands, so that audits count it in the same way. Draws depend on the seed and the sample's index alone.
    """

    knowledge: ClassVar[Knowledge] = "nothing"
    threat_model: ClassVar[str | None] = "control"
    adaptive: ClassVar[bool] = False
    #: Dimensions of the batches that it suits; all kinds when empty.
    dimensions: ClassVar[tuple[int, ...]] = ()

    @abstractmethod
    def change(self, x: Tensor, samples: Tensor) -> Tensor:
        """Return changed samples ``[N, ...]``, given their indices ``[N]``; bounds are kept by the caller."""

    def suits(self, x: Tensor) -> None:
        """Refuse data of the wrong kind.

        Raises:
            OptionError: it is for signals or images alone.
        """
        if self.dimensions and x.ndim not in self.dimensions:
            kinds = " or ".join(_KINDS[number] for number in self.dimensions)
            raise OptionError(f"Control {self.name!r} is for {kinds}, not for {_KINDS.get(x.ndim, 'these data')}.")

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Change every sample, inside the bounds and the mask."""
        x = search.ball.x
        self.suits(x)
        point = self.change(x, search.samples).to(x.dtype)
        search.settle(search.ball.project(torch.where(point.isfinite(), point, x)))


def signal_to_noise(x: Tensor, noisy: Tensor) -> Tensor:
    """Measure what a change amounts to, in dB ``[N]``: the power of x about its mean over that of the change."""
    noise = (noisy.double() - x.double()).flatten(1).square().mean(1)
    return 10 * (power(x) / noise.clamp_min(1e-300)).log10()


def power(x: Tensor) -> Tensor:
    """Measure the power of signals about each channel's mean, float64 ``[N]``."""
    x64 = x.double()
    return (x64 - x64.mean(-1, keepdim=True)).flatten(1).square().mean(1)
