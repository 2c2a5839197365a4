"""How an image becomes one of another size: by which interpolation, and what of it is kept, cropped or padded."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL import Image

#: Height and width.
Size = tuple[int, int]

MODES = ("cover", "centre", "squash", "border")

#: Largest side of an image before it is cropped.
_MOST_PIXELS = 8192


def _sinc(x: Tensor) -> Tensor:
    return torch.sinc(x)


def _cubic(x: Tensor) -> Tensor:
    x, a = x.abs(), -0.5
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


#: Interpolations, as Pillow has them: what a pixel at a distance counts, in pixels of the smaller of both images.
_KERNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "bilinear": lambda x: (1 - x.abs()).clamp(min=0),
    "bicubic": _cubic,
    "lanczos": lambda x: torch.where(x.abs() < 3, _sinc(x) * _sinc(x / 3), 0.0),
    "box": lambda x: ((x > -0.5) & (x <= 0.5)).double(),
    "hamming": lambda x: torch.where(x.abs() < 1, _sinc(x) * (0.54 + 0.46 * torch.cos(math.pi * x)), 0.0),
}

INTERPOLATIONS = ("nearest", *_KERNELS)


@dataclass(frozen=True)
class _Course:
    """What is done with one image: which part is scaled to which size, and where what is kept of that begins."""

    box: tuple[float, float, float, float]  # top, left, height, width
    scaled: Size
    top: int
    left: int


@dataclass(frozen=True)
class Framing:
    """How images of any size become images of one.

    Attributes:
        interpolation: by which they are scaled, one of :data:`INTERPOLATIONS`, as Pillow does it: over as many pixels
            as the reduction asks for.
        mode: ``cover``: cut to the form that is wanted, then scaled; ``centre``: scaled by the shorter side to
            ``scaled``, then the middle cut out; ``squash``: scaled to ``scaled`` whatever the form, then cut likewise;
            ``border``: scaled by the longer side, then cut, or padded with ``fill``.
        scaled: height and width to which they are scaled; None: those that are wanted.
        floor: whether an odd number of rows to be cut leaves the fewer of them above, as transformers does; half to
            even otherwise, as torchvision and timm.
        fill: levels of what is padded, of 255, by channel; black where none are given.
    """

    interpolation: str = "bilinear"
    mode: str = "cover"
    scaled: Size | None = None
    floor: bool = False
    fill: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Framing:
        """Read ``bicubic,centre,256x256``: words in any order.

        Raises:
            ValueError: a word is none that is known, in words that follow "resize".
        """
        given: dict[str, Any] = {}
        for word in (part.strip().lower() for part in str(text).split(",")):
            if word in INTERPOLATIONS:
                key, value = "interpolation", word
            elif word.replace("center", "centre") in MODES:
                key, value = "mode", word.replace("center", "centre")
            elif word == "floor":
                key, value = "floor", True  # type: ignore[assignment]
            elif word.startswith("fill="):
                key, value = "fill", _levels(word)  # type: ignore[assignment]
            else:
                key, value = "scaled", _sides(word)  # type: ignore[assignment]
            if key in given:
                raise ValueError(f"it says {key} twice ({text!r})")
            given[key] = value
        if given.get("scaled") is not None:
            given.setdefault("mode", "centre")
        if given.get("mode", "cover") == "cover" and set(given) - {"interpolation", "mode"}:
            raise ValueError("with cover there is nothing more to say than the interpolation")
        return cls(**given)

    @property
    def text(self) -> str:
        """Write it as :meth:`parse` reads it."""
        words = [self.interpolation, self.mode]
        if self.scaled is not None:
            words.append("x".join(map(str, self.scaled)))
        words += ["floor"] if self.floor else []
        words += ["fill=" + "+".join(map(str, self.fill))] if self.fill else []
        return ",".join(words)

    def words(self, size: Size) -> str:
        """Say what becomes of an image, in words that follow it."""
        pixels, scaled = (f"{pair[0]}x{pair[1]}" for pair in (size, self.scaled or size))
        how = "" if self.interpolation == "bilinear" else f" {self.interpolation}"
        cut = "" if scaled == pixels else f", then the middle {pixels} kept"
        return {
            "cover": f"scaled{how} to cover {pixels} pixels and cropped in the middle",
            "centre": f"scaled{how} to cover {scaled} pixels, then the middle {pixels} kept",
            "squash": f"scaled{how} to {scaled} pixels whatever their form{cut}",
            "border": f"scaled{how} to fit into {scaled} pixels, then padded or cropped to {pixels}",
        }[self.mode]

    def keeps(self, own: Size, size: Size) -> bool:
        """Tell whether an image stays as it is."""
        return own == size and (self.mode == "cover" or (self.scaled or size) == size)

    def picture(self, image: Image.Image, size: Size) -> Image.Image:
        """Bring an image of Pillow's, of mode L, RGB or F, to a size."""
        from PIL import Image, ImageOps

        own = (image.height, image.width)
        if self.keeps(own, size):
            return image
        method = Image.Resampling[self.interpolation.upper()]
        if self.mode == "cover":
            return ImageOps.fit(image, size[::-1], method=method)
        course = self._course(own, size)
        scaled = image if own == course.scaled else image.resize(course.scaled[::-1], method)
        if scaled.height >= size[0] and scaled.width >= size[1]:
            return scaled.crop((course.left, course.top, course.left + size[1], course.top + size[0]))
        levels: Any = self._fill(len(image.getbands()))
        framed = Image.new(image.mode, size[::-1], levels[0] if len(levels) == 1 else levels)
        framed.paste(scaled, (-course.left, -course.top))
        return framed

    def tensor(self, images: Tensor, size: Size, white: float) -> Tensor:
        """Bring levels ``[N, C, H, W]`` to a size as :meth:`picture` does: without rounding, and differentiable.

        Args:
            images: of levels from 0 to ``white``.
            size: height and width.
            white: the highest level; what an interpolation puts beyond it or below 0 is clipped.
        """
        own: Size = (images.shape[-2], images.shape[-1])
        if self.keeps(own, size):
            return images
        course = self._course(own, size)
        top, left, height, width = course.box
        rows = _weights(self.interpolation, own[0], course.scaled[0], top, height).to(images)
        columns = _weights(self.interpolation, own[1], course.scaled[1], left, width).to(images)
        scaled = (images @ columns.T).clamp(0, white)  # [N, C, H, scaled width]
        scaled = (rows @ scaled).clamp(0, white)
        kept = scaled[..., max(course.top, 0) :, max(course.left, 0) :][..., : size[0], : size[1]]
        if kept.shape[-2:] == size:
            return kept
        levels = kept.new_tensor(self._fill(kept.shape[1])).mul(white / 255).reshape(1, -1, 1, 1)
        framed = levels.expand(len(kept), kept.shape[1], *size).clone()
        top, left = max(-course.top, 0), max(-course.left, 0)
        framed[..., top : top + kept.shape[-2], left : left + kept.shape[-1]] = kept
        return framed

    def _fill(self, channels: int) -> tuple[int, ...]:
        if not self.fill:
            return (0,) * channels
        return self.fill if len(self.fill) == channels else (round(sum(self.fill) / len(self.fill)),) * channels

    def _course(self, own: Size, size: Size) -> _Course:
        """Plan what is done with an image of one's own size."""
        height, width = own
        whole = (0.0, 0.0, float(height), float(width))
        if self.mode == "cover":
            tall, wide = size
            if width / height >= wide / tall:
                kept = wide / tall * height
                return _Course((0.0, (width - kept) / 2, float(height), kept), size, 0, 0)
            kept = width * tall / wide
            return _Course(((height - kept) / 2, 0.0, kept, float(width)), size, 0, 0)
        scaled = self._scaled(own, self.scaled or size)
        return _Course(whole, scaled, *(self._start(*pair) for pair in zip(scaled, size, strict=True)))

    def _scaled(self, own: Size, target: Size) -> Size:
        """Say to what an image is scaled, rounded as torchvision rounds for squares, and timm for others."""
        if self.mode == "squash":
            return target
        ratios = [mine / wanted for mine, wanted in zip(own, target, strict=True)]
        if self.mode == "centre" and target[0] == target[1]:
            short, edge = min(own), target[0]
            return (edge if own[0] == short else int(edge * own[0] / short),
                    edge if own[1] == short else int(edge * own[1] / short))  # fmt: skip
        ratio = max(ratios) if self.mode == "border" else min(ratios)
        return max(round(own[0] / ratio), 1), max(round(own[1] / ratio), 1)

    def _start(self, has: int, wanted: int) -> int:
        """Say where what is kept begins; below 0 where there is padding before."""
        if has < wanted:
            return -((wanted - has) // 2)
        return (has - wanted) // 2 if self.floor else round((has - wanted) / 2)


#: What is done where nobody says otherwise.
COVER = Framing()


def _sides(word: str) -> Size:
    sides = word.split("x")
    if len(sides) not in (1, 2) or not all(side.isdecimal() and 1 <= int(side) <= _MOST_PIXELS for side in sides):
        raise ValueError(
            f"{word!r} is no interpolation ({', '.join(INTERPOLATIONS)}), no way of keeping the form "
            f"({', '.join(MODES)}), and no size before it is cropped (256, or HEIGHTxWIDTH)"
        )
    return int(sides[0]), int(sides[-1])


def _levels(word: str) -> tuple[int, ...]:
    levels = word.partition("=")[2].split("+")
    if len(levels) not in (1, 3) or not all(level.isdecimal() and int(level) <= 255 for level in levels):
        raise ValueError(f"{word!r} is no level of 0 to 255, nor three joined by +")
    return tuple(map(int, levels))


@lru_cache(maxsize=32)
def _weights(interpolation: str, length: int, target: int, start: float, span: float) -> Tensor:
    """How much each of ``length`` pixels counts for each of ``target``, ``[target, length]``, in float64."""
    scale = span / target
    centre = start + (torch.arange(target, dtype=torch.float64)[:, None] + 0.5) * scale
    pixels = torch.arange(length, dtype=torch.float64)
    if interpolation == "nearest":
        return (pixels == centre.floor().clamp(0, length - 1)).double()
    weights = _KERNELS[interpolation]((pixels + 0.5 - centre) / max(scale, 1.0))
    return weights / weights.sum(1, keepdim=True)
