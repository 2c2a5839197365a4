"""What happens to a picture on its way to the classifier: blur, JPEG, brightness, contrast."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from salus.attacks import draws
from salus.attacks.controls.base import Control
from salus.attacks.settings import LargestEps, Norm


@dataclass(frozen=True, kw_only=True)
class _OfImages(Control):
    """A change of images ``[N, C, H, W]``."""

    dimensions: ClassVar[tuple[int, ...]] = (4,)

    eps: LargestEps = None
    norm: Norm = "l2"


@dataclass(frozen=True, kw_only=True)
class Blur(_OfImages):
    """A lens out of focus: a Gaussian blur; edges are mirrored.

    Attributes:
        sigma: in pixels.
    """

    name: ClassVar[str] = "blur"

    sigma: Annotated[float, Field(gt=0, description="width of the blur, in pixels")] = 0.7

    def change(self, x: Tensor, samples: Tensor) -> Tensor:
        """Blur along each axis."""
        reach = min(math.ceil(4 * self.sigma), min(x.shape[-2:]) - 1)  # mirrors reach no further than the image
        offsets = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
        kernel = torch.exp(-0.5 * (offsets / self.sigma).square())
        kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, -1)
        image = nn.functional.pad(x, [reach] * 4, mode="reflect")
        image = nn.functional.conv2d(image, kernel[..., None, :], groups=x.shape[1])
        return nn.functional.conv2d(image, kernel[..., :, None], groups=x.shape[1])


@dataclass(frozen=True, kw_only=True)
class JPEG(_OfImages):
    """A picture stored as JPEG: one of three channels in colour, any other channel by channel in grey.

    Attributes:
        quality: from 1 to 95.
    """

    name: ClassVar[str] = "jpeg"

    quality: Annotated[int, Field(ge=1, le=95, description="quality of the JPEG")] = 75

    def change(self, x: Tensor, samples: Tensor) -> Tensor:
        """Store and read each picture again."""
        low, high = self.bounds
        coloured = x.shape[1] == 3
        pixels = (255 * (x - low) / (high - low)).round().clamp(0, 255).to(torch.uint8).cpu()
        pictures = pixels.permute(0, 2, 3, 1) if coloured else pixels.flatten(0, 1)
        decoded = torch.stack([self._round_trip(picture) for picture in pictures])
        decoded = decoded.permute(0, 3, 1, 2) if coloured else decoded.reshape(pixels.shape)
        return low + decoded.to(x) / 255 * (high - low)

    def _round_trip(self, picture: Tensor) -> Tensor:
        import numpy as np
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(picture.numpy()).save(file, "JPEG", quality=self.quality)
        return torch.from_numpy(np.array(Image.open(file)))


@dataclass(frozen=True, kw_only=True)
class Brightness(_OfImages):
    """More light, or less: a constant is added to all values of an image.

    Attributes:
        amount: share of the range of values; the sign is drawn for each sample.
    """

    name: ClassVar[str] = "brightness"

    amount: Annotated[float, Field(gt=0, le=1, description="what is added, as a share of the range of values")] = 0.05

    def change(self, x: Tensor, samples: Tensor) -> Tensor:
        """Add it."""
        return x + _sign(self.seed, samples).to(x.dtype) * self.amount * (self.bounds[1] - self.bounds[0])


@dataclass(frozen=True, kw_only=True)
class Contrast(_OfImages):
    """More contrast, or less: each channel is stretched about its mean.

    Attributes:
        amount: by which share; the sign is drawn for each sample.
    """

    name: ClassVar[str] = "contrast"

    amount: Annotated[float, Field(gt=0, le=1, description="by which share each channel is stretched")] = 0.1

    def change(self, x: Tensor, samples: Tensor) -> Tensor:
        """Stretch it."""
        centre = x.mean((-2, -1), keepdim=True)
        return x + _sign(self.seed, samples).to(x.dtype) * self.amount * (x - centre)


def _sign(seed: int, samples: Tensor) -> Tensor:
    return torch.where(draws.uniform(seed, samples, (1, 1, 1), 0) < 0.5, -1.0, 1.0)
