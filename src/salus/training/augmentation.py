"""Augmenting samples while training: images mirrored and shifted, as is usual for CIFAR-10; waves stretched."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from salus.options import check_fields
from salus.training.loop import LossOf, Recipe


class Augmentation(Recipe, ABC):
    """Ordinary training on samples that are changed at random; validation sees them as they are.

    The draws are the training loop's, decided by its seed, so that a resumed training ends with the same weights.
    """

    @abstractmethod
    def augment(self, x: Tensor) -> Tensor:
        """Change samples ``[N, ...]`` at random."""

    def at(self, x: Tensor, progress: float) -> Tensor:
        """Change them as a step does for which so much of the training, from 0 to 1, is done."""
        return self.augment(x)

    def step_loss(self, model: nn.Module, x: Tensor, y: Tensor, loss_of: LossOf, progress: float, step: int) -> Tensor:
        """Compute the loss on augmented samples; see :class:`salus.training.loop.Recipe`."""
        return loss_of(model(self.at(x, progress)), y)

    def statistics_inputs(self, x: Tensor) -> Tensor:
        """Return augmented samples, as the steps see them; see :class:`salus.training.loop.Recipe`."""
        return self.augment(x)

    def describe(self) -> str:
        """Say what decides the steps; see :class:`salus.training.loop.Recipe`."""
        return repr(self)


@dataclass(frozen=True, kw_only=True)
class FlipsAndShifts(Augmentation):
    """Ordinary training on images of which half are mirrored and all are moved by a few pixels (He et al., 2016).

    What a shift brings in from outside is 0.

    Attributes:
        flips: whether to mirror left and right; not for digits, or organs that have a side.
        shift: pixels by which an image is moved at most, up or down and left or right.
    """

    title: ClassVar[str] = "Augmentation"

    flips: Annotated[bool, Field(description="mirror half of the images left and right")] = True
    shift: Annotated[int, Field(ge=0, description="pixels by which an image is moved at most")] = 4

    def __post_init__(self) -> None:
        check_fields(self, self.title)

    def augment(self, x: Tensor) -> Tensor:
        """Draw a mirroring and a shift for each image of ``x [N, C, H, W]``."""
        count, _, height, width = x.shape
        if self.flips:
            mirrored = torch.rand(count, 1, 1, 1, device=x.device) < 0.5
            x = torch.where(mirrored, x.flip(3), x)
        if not self.shift:
            return x
        down, right = torch.randint(2 * self.shift + 1, (2, count, 1), device=x.device)
        rows = down + torch.arange(height, device=x.device)  # [N, H]
        columns = right + torch.arange(width, device=x.device)  # [N, W]
        image = torch.arange(count, device=x.device)[:, None, None]
        shifted = pad(x, [self.shift] * 4)[image, :, rows[:, :, None], columns[:, None, :]]  # [N, H, W, C]
        return shifted.permute(0, 3, 1, 2)


@dataclass(frozen=True, kw_only=True)
class GrowingImages(FlipsAndShifts):
    """The same on images that begin small and grow to their size: early steps cost a fraction of late ones.

    For networks that average over positions before their last layer, so that any size suits them. Validation, and
    what batch normalisation takes its statistics from, have the images' own size.

    Attributes:
        smallest: share of the height and width that images begin with.
        grown: share of the training after which they have their own size.

    References:
        Karras et al., "Progressive growing of GANs", ICLR 2018, grow what is trained on; Touvron et al., "Fixing the
        train-test resolution discrepancy", NeurIPS 2019, say why the last steps need the size of the test.
    """

    smallest: Annotated[float, Field(gt=0, le=1, description="share of the sides that images begin with")] = 0.5
    grown: Annotated[float, Field(ge=0, le=1, description="share of the training after which they are whole")] = 0.6

    def at(self, x: Tensor, progress: float) -> Tensor:
        """Mirror, shift and shrink images to this step's size."""
        return self.shrink(self.augment(x), progress)

    def shrink(self, x: Tensor, progress: float) -> Tensor:
        """Shrink images ``[N, C, H, W]`` to their size when so much of the training is done, in steps of 4 pixels."""
        share = 1.0 if progress >= self.grown else self.smallest + (1 - self.smallest) * progress / self.grown
        height, width = (min(side, max(4, 4 * round(share * side / 4))) for side in x.shape[2:])
        if (height, width) == tuple(x.shape[2:]):
            return x
        shrunk = interpolate(x, (height, width), mode="bilinear", antialias=True, align_corners=False)
        return shrunk.clamp(*x.aminmax())  # rounding leads out of bounds that an attack insists on


@dataclass(frozen=True, kw_only=True)
class RandomGains(Augmentation):
    """Ordinary training on heartbeats whose waves are stretched, turned over, left out and shifted at random.

    People and electrodes differ in how high a wave stands and, beyond the first lead, in which direction. For channels
    that show waves around 0.5, with figures in the last one, which stay as they are: those of
    ``salus.preprocessing.sinus``. Validation sees beats as they are.

    Attributes:
        stretch: waves are multiplied by 1 / (2 stretch) to 1 / 2 + stretch, evenly over the logarithm.
        turned: share of the waves beyond the first that are turned over.
        left_out: share of these that are left out; of the first, a third as many.
        shift: samples by which all waves of a step are moved at most.
    """

    title: ClassVar[str] = "Augmentation"

    stretch: Annotated[float, Field(ge=1, le=4, description="how far waves are stretched")] = 1.0
    turned: Annotated[float, Field(ge=0, le=1, description="share of further waves that are turned over")] = 0.3
    left_out: Annotated[float, Field(ge=0, lt=1, description="share of further waves that are left out")] = 0.15
    shift: Annotated[int, Field(ge=0, description="samples by which waves are moved at most")] = 6

    def __post_init__(self) -> None:
        check_fields(self, self.title)

    def augment(self, x: Tensor) -> Tensor:
        """Draw gains for each wave of ``x [N, C, L]``, in [0, 1]; the last channel stays."""
        waves = x[:, :-1] - 0.5
        count, channels, _ = waves.shape
        draws = torch.rand(3, count, channels, device=x.device)
        low, high = 1 / (2 * self.stretch), 0.5 + self.stretch
        gain = low * torch.exp(draws[0] * math.log(high / low))
        further = torch.arange(channels, device=x.device) > 0
        gain = torch.where(further & (draws[1] < self.turned), -gain, gain)
        gain = torch.where(draws[2] < torch.where(further, self.left_out, self.left_out / 3), 0.0, gain)
        shift = int(torch.randint(-self.shift, self.shift + 1, (1,), device=x.device))
        waves = torch.roll(waves * gain[..., None], shift, 2)
        return torch.cat([(0.5 + waves).clamp(0, 1), x[:, -1:]], 1)


@dataclass(frozen=True, kw_only=True)
class GaussianNoise(Augmentation):
    """Training on samples under normal noise, as randomized smoothing wants it (Cohen et al., 2019).

    Attributes:
        std: standard deviation of the noise, in the units of x; what it brings out of the bounds stays there.
        first: changes samples before; None for nothing.
    """

    title: ClassVar[str] = "Augmentation"

    std: Annotated[float, Field(gt=0, description="standard deviation of the noise, in the units of x")]
    first: Augmentation | None = None

    def __post_init__(self) -> None:
        check_fields(self, self.title)

    def augment(self, x: Tensor) -> Tensor:
        """Draw noise for every value of ``x [N, ...]``."""
        x = x if self.first is None else self.first.augment(x)
        return x + self.std * torch.randn_like(x)
