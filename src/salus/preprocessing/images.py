"""Image files, and images in memory: bit depth, colours, orientation, size."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from salus.errors import DataError
from salus.preprocessing.base import BATCH, Prepared, Preprocessor, Refusal, any_tensor_of, common, numbered
from salus.preprocessing.dicom_images import Window, read_window
from salus.preprocessing.framing import COVER, Framing
from salus.preprocessing.image_files import (
    SUFFIXES,
    Decoded,
    Levels,
    decode,
    decoders,
    encode,
    is_image_file,
    or_reason,
    read_head,
)

#: Shares of red, green and blue in grey (ITU-R 601-2), as Pillow takes them.
LUMA = (0.299, 0.587, 0.114)

#: What is said of images of which something is assumed.
SCALED = "scaled and cropped from another size than training had"


@dataclass(frozen=True, kw_only=True, eq=False)
class ImagePreprocessor(Preprocessor):
    """How image files become x ``[N, C, H, W]``.

    Each is turned upright as its EXIF orientation says, put to grey or to red, green and blue, scaled and cropped (to
    cover the size, and in the middle, where ``framing`` says nothing else), and its levels are divided by that of
    white.

    Attributes:
        white: the highest level of the scale: 255, or 2^bits - 1 of deeper images.
        pages: ``first`` where the first page of several is read; None where images of several pages are refused.
        window: of DICOM files, the window that is looked through, its centre and width, or ``first`` of several; None
            where files that name several are refused.
        resized: whether training scaled its images; where it did not, they all had one size.
        framing: how images of other sizes are scaled and cropped.
    """

    kind: ClassVar[str] = "image"
    takes: ClassVar[str] = "an image or a folder of images"

    white: int = 255
    pages: str | None = None
    window: Window = None
    resized: bool = False
    framing: Framing = COVER

    def settings(self) -> dict[str, Any]:
        """Return everything; window and framing only where they are said, as preprocessors saved before have none."""
        settings = super().settings()
        if self.window is None:
            del settings["window"]
        del settings["framing"]
        return settings if self.framing == COVER else {**settings, "framing": self.framing.text}

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of x."""
        return self.shape[1], self.shape[2]

    def transform(self, raw: Any) -> Prepared:
        """Prepare images in memory.

        Args:
            raw: a tensor or array of levels ``[N, C, H, W]``, from 0 to :attr:`white` (uint8: to 255), of any size;
                whole numbers are prepared as files are, whose levels are rounded after they were scaled, floats are not
                rounded and keep their gradients. Or a list of images ``[H, W]``, ``[H, W, 3]`` or of Pillow's.

        Raises:
            DataError: they are no such images, or have levels outside the scale.
        """
        if isinstance(raw, (list, tuple)):
            return self._files([_as_file(image, number) for number, image in enumerate(raw, 1)])
        levels = any_tensor_of(raw, "Images")
        names = numbered(len(levels) if levels.ndim else 0, "image")
        if not levels.is_floating_point():
            return Prepared(self.from_levels(self.levels_of(levels.cpu().numpy())), names)
        self._refuse_others(levels.shape, *levels.detach().aminmax() if levels.numel() else (0, 0))
        x = self.framing.tensor(_channels(levels, self.shape[0]), self.size, self.white) / self.white
        return Prepared(x.clamp(0, 1).float(), names)

    def _refuse_others(self, shape: Sequence[int], low: Any, high: Any) -> None:
        if len(shape) != 4 or shape[1] not in (1, 3) or not min(shape[2:]):
            raise DataError(
                f"Images have the shape {list(shape)}; a tensor must be [N, 1, H, W] or [N, 3, H, W], or give a list "
                "of images [H, W] or [H, W, 3]."
            )
        if not 0 <= float(low) <= float(high) <= self.white:
            raise DataError(
                f"Images have levels from {float(low):g} to {float(high):g}; they must lie within 0 and {self.white}, "
                "the black and white of training."
            )

    def from_levels(self, levels: Levels) -> Tensor:
        """Put decoded levels ``[N, C, H, W]`` on the scale of x."""
        return torch.from_numpy(np.ascontiguousarray(levels).astype(np.float32)).div_(self.white)

    def levels_of(self, images: Levels) -> Levels:
        """Bring levels in memory ``[N, C, H, W]``, whole numbers, to the size and the colours of x, as files are.

        Levels of uint8 are those of 8 bits, whatever the scale.

        Raises:
            DataError: they are no images, or one has levels outside the scale.
        """
        self._refuse_others(images.shape, *(images.min(), images.max()) if images.size else (0, 0))
        if self.white == 255 or images.dtype == np.uint8:
            images = images.astype(np.uint8, copy=False)
        elif images.shape[1] == 3:  # no file that Pillow reads has deep colours
            colours = _channels(torch.from_numpy(images.astype(np.float64)), self.shape[0])
            return self.framing.tensor(colours, self.size, self.white).round().numpy().astype(np.uint16)
        else:
            images = images.astype(np.uint16, copy=False)

        def one(image: Levels) -> Levels:
            return self.decode(_as_file(image[0] if len(image) == 1 else image.transpose(1, 2, 0), 0)[1]).levels

        with decoders() as threads:
            done = list(threads.map(one, images))
        return np.stack(done) if done else np.zeros((0, *self.shape), np.uint8)

    def decode(self, content: bytes) -> Decoded:
        """Decode a file as training did.

        Raises:
            ValueError: it is refused, in words that follow its name.
        """
        return decode(
            content,
            channels=self.shape[0],
            size=self.size,
            white=self.white,
            window=self.window,
            framing=self.framing,
        )

    def reads(self, thing: Path) -> bool:
        """Tell by names whether it is an image, or a folder in which one lies."""
        return is_image_file(thing) if thing.is_file() else any(True for _ in image_files(thing)[0])

    def stream(self, thing: Path, label: str | None = None) -> Iterator[Prepared]:
        """Prepare an image, or every image below a folder.

        The folder that an image lies in is its label where all lie in folders that are called as classes are.
        """
        if thing.is_file():
            yield self._files([(thing.name, thing)])
            return
        paths, others = image_files(thing)
        if not paths:
            raise DataError(f"Folder {thing} holds no images ({', '.join(sorted(SUFFIXES))}).")
        notes = (f"{others} files passed over that are no images by their names",) if others else ()
        for first in range(0, len(paths), BATCH):
            some = [(path.relative_to(thing).as_posix(), path) for path in paths[first : first + BATCH]]
            yield self._files(some, notes if not first else ())

    def _files(self, files: Sequence[tuple[str, Path | bytes]], notes: Sequence[str] = ()) -> Prepared:
        """Decode files in threads."""

        def one(name: str, file: Path | bytes) -> Decoded:
            if isinstance(file, Path):
                read_head(file, self.pages, self.window)
                file = file.read_bytes()
            return self.decode(file)

        with decoders() as threads:
            images = list(threads.map(or_reason(one), *zip(*files, strict=True)))
        names = [name for name, _ in files]
        good = {row: image for row, image in enumerate(images) if not isinstance(image, str)}
        assumed = Counter(word for image in good.values() for word in image.assumed)
        assumed[SCALED] += 0 if self.resized else sum(image.size != self.size for image in good.values())
        highest = max((image.highest for image in good.values() if image.highest is not None), default=self.white)
        if highest < self.white // 2:
            notes = (*notes, f"no level is above {highest}, and white is {self.white}, as in training")
        levels = np.stack([image.levels for image in good.values()]) if good else np.zeros((0, *self.shape), np.uint8)
        kept = tuple(names[row] for row in good)
        folders = [Path(name).parent.name for name in kept]
        return Prepared(
            self.from_levels(levels),
            kept,
            tuple(folders) if folders and all(folder in self.classes for folder in folders) else (),
            tuple(Refusal(names[row], reason) for row, reason in enumerate(images) if isinstance(reason, str)),
            (*notes, *(f"{word}: {count} images" for word, count in assumed.items() if count)),
        )

    def inverse(self, x: Tensor) -> Tensor:
        """Turn x ``[N, C, H, W]`` back into levels."""
        return x * self.white

    @property
    def raw_bounds(self) -> tuple[Tensor, Tensor]:
        """Black and white."""
        return torch.tensor(0.0), torch.tensor(float(self.white))

    def describe(self) -> str:
        """Say in a line how images are prepared."""
        colours = "grey" if self.shape[0] == 1 else "red, green and blue"
        made = "scaled to cover them and cropped in the middle"
        if self.framing != COVER:
            made = self.framing.words(self.size)
        return (
            f"{colours}, upright, {self.size[0]}x{self.size[1]} pixels ({made}), levels 0 to {self.white} divided by "
            f"{self.white}"
        ) + ("" if self.window is None else f"; of DICOM files, through {_through(self.window)}")

    @classmethod
    def restore(cls, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ImagePreprocessor:
        """Make it again."""
        white, pages, shared = int(settings["white"]), settings["pages"], common(settings)
        if not 255 <= white < 2**16 or pages not in (None, "first"):
            raise ValueError(f"there are no images whose white is {white} and of which the pages {pages!r} are read")
        if len(shared["shape"]) != 3 or shared["shape"][0] not in (1, 3):
            raise ValueError(f"its images have the shape {list(shared['shape'])}")
        window = read_window(settings.get("window"))
        framing = Framing.parse(settings["framing"]) if "framing" in settings else COVER
        return cls(
            white=white, pages=pages, window=window, resized=bool(settings["resized"]), framing=framing, **shared
        )


def _through(window: tuple[float, float] | str) -> str:
    if isinstance(window, str):
        return f"the {window} window"
    return f"a window of centre {window[0]:g} and width {window[1]:g}"


def image_files(folder: Path) -> tuple[list[Path], int]:
    """List the images below a folder, sorted, hidden ones left out; and count the other files."""
    paths, others = [], 0
    for root, below, files in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for file in sorted(files):
            if file.startswith("."):
                continue
            if is_image_file(Path(root) / file):
                paths.append(Path(root) / file)
            else:
                others += 1
    return paths, others


def _channels(images: Tensor, channels: int) -> Tensor:
    """Put images to one channel or to three."""
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.expand(-1, 3, -1, -1)
    luma = images.new_tensor(LUMA).reshape(1, 3, 1, 1)
    return (images * luma).sum(1, keepdim=True)


def _as_file(image: Any, number: int) -> tuple[str, bytes]:
    """Write an image in memory as a file, so that it is prepared as files are."""
    from PIL import Image

    if not isinstance(image, Image.Image):
        levels = np.asarray(image)
        levels = levels[:, :, 0] if levels.ndim == 3 and levels.shape[2] == 1 else levels
        colours = levels.ndim == 3 and levels.shape[2] == 3 and levels.dtype == np.uint8
        if levels.dtype not in (np.uint8, np.uint16) or not (levels.ndim == 2 or colours) or not levels.size:
            raise DataError(
                f"Image {number} is {levels.dtype} {list(levels.shape)}; give levels, uint8 or uint16 [H, W], or uint8 "
                "[H, W, 3]."
            )
        image = Image.fromarray(levels)
    try:
        return f"image {number}", encode(image)
    except ValueError as error:
        raise DataError(f"Image {number} {error}.") from error
