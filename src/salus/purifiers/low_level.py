"""Low-level transformation: WebP compression and a horizontal flip (Yin et al., 2020; the thesis, 4.4.2)."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from salus.classifier import Classifier
from salus.errors import ModelError, OptionError
from salus.options import checked
from salus.purifiers.base import Bounds, Purifier

_LONGEST = 16_383  # pixels of a side that WebP can hold

#: Brightness and the two differences of colour that WebP codes, of red, green and blue (ITU-R BT.601).
YCBCR = ((0.299, 0.587, 0.114), (-0.1687, -0.3313, 0.5), (0.5, -0.4187, -0.0813))

_BRIGHTNESS, _COLOUR, _SUBSAMPLED = 0.14, 0.055, 0.9


class LowLevel(Purifier):
    """Compresses each image with lossy WebP, then mirrors it left to right; either can be left out.

    Images ``[N, C, H, W]`` have one channel (grey), three (RGB) or four (RGB and alpha, which WebP keeps as it is).
    For WebP the range between the bounds is rounded to 256 levels. The same image always gives the same one, whatever
    else is in its batch, as long as Pillow's WebP library stays the same. Neither the paper nor the thesis says which
    quality it took.

    Compression has no useful gradient. Attackers put in its place what it does to small changes on the whole (BPDA,
    Athalye et al., 2018): it smooths them, those of colour far more than those of brightness. The flip they
    differentiate exactly.

    Args:
        quality: of WebP, from 0 (smallest) to 100.
        flip: whether to mirror.
        webp: whether to compress.
        bounds: lowest and highest value of x.

    Raises:
        OptionError: an option makes no sense, or Pillow is missing or knows no WebP.
    """

    name: ClassVar[str] = "low-level"
    title: ClassVar[str] = "Low-level"

    @checked
    def __init__(
        self,
        *,
        quality: Annotated[int, Field(ge=0, le=100, description="quality of WebP; 0 gives the smallest files")] = 50,
        flip: Annotated[bool, Field(description="whether to mirror")] = True,
        webp: Annotated[bool, Field(description="whether to compress")] = True,
        bounds: Bounds = (0.0, 1.0),
    ) -> None:
        if not (flip or webp):
            raise OptionError("Low-level: without flip and without webp it changes nothing; leave one of them on.")
        if webp:
            _need_webp()
        self.quality = quality
        self.flip = flip
        self.webp = webp
        self.bounds = bounds

    def fit(self, classifier: Classifier, x: Tensor, y: Tensor) -> LowLevel:
        """Learn nothing, but refuse samples that are no images.

        Raises:
            ModelError: they are none.
        """
        self._check(x)
        return self

    @property
    def differentiable(self) -> bool:
        """Mirroring alone is."""
        return not self.webp

    def purify(self, x: Tensor) -> Tensor:
        """Compress and mirror images ``[N, C, H, W]``.

        Raises:
            ModelError: x holds no images.
        """
        self._check(x)
        compressed = self._compress(x) if self.webp else x
        return compressed.flip(-1) if self.flip else compressed

    def surrogate(self, x: Tensor) -> Tensor:
        """Smooth by as much as compression smooths small changes, and mirror; differentiable."""
        smoothed = self._smooth(x) if self.webp else x
        return smoothed.flip(-1) if self.flip else smoothed

    def settings(self) -> dict[str, Any]:
        """Return the options and the bounds."""
        return {"quality": self.quality, "flip": self.flip, "webp": self.webp, "bounds": list(self.bounds)}

    def _check(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[1] not in (1, 3, 4) or max(x.shape[2:]) > _LONGEST:
            raise ModelError(
                f"Low-level transformation takes images [N, C, H, W] with C of 1, 3 or 4 and sides up to {_LONGEST}, "
                f"not {list(x.shape)}."
            )

    def _compress(self, x: Tensor) -> Tensor:
        low, high = self.bounds
        levels = ((x.detach() - low) / (high - low) * 255).round().clamp(0, 255).to(torch.uint8)
        images = levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()  # [N, H, W, C]
        made = np.empty_like(images)

        def compress(rows: range) -> None:
            for row in rows:
                made[row] = self._compressed(images[row])

        workers = min(os.cpu_count() or 1, max(len(images), 1))
        with ThreadPoolExecutor(workers) as threads:  # Pillow lets others run while it compresses
            list(threads.map(compress, [range(first, len(images), workers) for first in range(workers)]))
        back = torch.from_numpy(made).permute(0, 3, 1, 2).to(x.device, x.dtype)
        purified: Tensor = (back / 255 * (high - low) + low).clamp(low, high)
        return purified

    def _smooth(self, x: Tensor) -> Tensor:
        """Blur brightness and colour, each by its own width; alpha stays, as WebP keeps it without loss."""
        brightness, colour = widths(self.quality)
        if x.shape[1] == 1:
            return _blur(x, brightness)
        basis = x.new_tensor(YCBCR)
        seen = torch.einsum("yc,nchw->nyhw", basis, x[:, :3])
        seen = torch.cat([_blur(seen[:, :1], brightness), _blur(seen[:, 1:], colour)], 1)
        colours = torch.einsum("cy,nyhw->nchw", torch.linalg.inv(basis.double()).to(x), seen)
        return torch.cat([colours, x[:, 3:]], 1)

    def _compressed(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Compress one image ``[H, W, C]`` and read it back."""
        from PIL import Image

        grey = image.shape[2] == 1
        drawn = Image.fromarray(image[..., 0] if grey else image)
        content = BytesIO()
        # exact: colours under transparent parts are values too, which a classifier sees.
        drawn.save(content, "WEBP", quality=self.quality, exact=True)
        with Image.open(content, formats=("WEBP",)) as opened:
            values: NDArray[np.uint8] = np.asarray(opened.convert(drawn.mode))
        return values[..., None] if grey else values


def widths(quality: int) -> tuple[float, float]:
    """Return how widely WebP smooths small changes of brightness and of colour: deviations of a Gaussian, in pixels.

    Curves through what comes, frequency by frequency, of random changes of 2/255 to lesions at 64 x 64
    (benchmarks/webp_gain.py). Colour is smoothed at any quality, because WebP keeps every second value of it.
    """
    lost = 100 - quality
    return _BRIGHTNESS * lost**0.5, _SUBSAMPLED + _COLOUR * lost


def _blur(x: Tensor, deviation: float) -> Tensor:
    """Smooth images ``[N, C, H, W]`` by a Gaussian of this standard deviation in pixels."""
    if deviation == 0:
        return x
    reach = math.ceil(3 * deviation)
    weights = torch.exp(-torch.arange(-reach, reach + 1).square() / (2 * deviation**2))
    kernel = (weights / weights.sum()).to(x).expand(x.shape[1], 1, 1, -1)
    padded = nn.functional.pad(x, (reach,) * 4, mode="replicate")
    across = nn.functional.conv2d(padded, kernel, groups=x.shape[1])
    return nn.functional.conv2d(across, kernel.transpose(2, 3), groups=x.shape[1])


def _need_webp() -> None:
    try:
        from PIL import features
    except ModuleNotFoundError as error:
        raise OptionError("Defence 'low-level' needs Pillow: pip install 'salus[images]'.") from error
    if not features.check("webp"):
        raise OptionError("Defence 'low-level' needs a Pillow that knows WebP: pip install --upgrade pillow.")
