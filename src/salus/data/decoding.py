"""Decoding image files with Pillow, in threads, into one array of bytes: in memory, or in a file where it is large."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from salus.data.pixel_rows import pixel_rows
from salus.data.pixels import Pixels
from salus.data.split import Indices
from salus.errors import DataError
from salus.progress import progress

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T")

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})

#: What Pillow may try; among what it knows besides are formats that start other programs.
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "PPM")

GREY = ("1", "L", "I;16", "I;16B", "I;16L")
COLOUR = ("RGB", "RGBX", "P", "CMYK", "YCbCr", "RGBA", "RGBa", "LA", "La", "PA")

#: Images that are decoded before the next ones are begun, so that few wait in memory to be kept.
AT_ONCE = 128

MAX_PIXELS = 2**26  # of one image: 8192 x 8192
MAX_FILE_BYTES = 2**28


@dataclass(frozen=True, eq=False)
class DecodedImages:
    """Images that could be read.

    Attributes:
        x: their values ``[n, C, H, W]``: C is 1 if every image is grey, else 3. An array of more than
            ``MOST_VALUES`` is mapped from a file without a name, which is gone when the array is.
        kept: their positions among the files ``[n]``.
        failed: the other positions, and why.
        transparent: how many had transparent parts, which are white now.
        checksum: SHA-256 over the files read.
    """

    x: Pixels
    kept: Indices
    failed: dict[int, str]
    transparent: int
    checksum: str


@dataclass(frozen=True)
class _Head:
    """What an image's first bytes say."""

    size: tuple[int, int]  # H, W
    grey: bool


def decode_images(paths: Sequence[Path], size: tuple[int, int] | None, *, name: str) -> DecodedImages:
    """Decode image files to one size.

    An image that is damaged, larger than ``MAX_PIXELS`` or of a mode without a known range is left out.

    Args:
        paths: of the files.
        size: height and width; each image is scaled to cover them and cropped in the middle. None: they all have
            one size already.
        name: of the data, for messages.

    Raises:
        DataError: Pillow is missing, no image can be read, they differ in size, or they do not fit on the disk.
        StoreError: the user's cache, where the file lies, cannot be written.
    """
    with _decoders() as threads:
        heads: list[_Head | str] = list(threads.map(_or_reason(_head), paths))
        failed = {row: head for row, head in enumerate(heads) if isinstance(head, str)}
        good = {row: head for row, head in enumerate(heads) if not isinstance(head, str)}
        if not good:
            raise DataError(
                f"Data {name!r}: none of {len(paths)} images can be read; the first, {paths[0]}, {failed[0]}."
            )
        height, width = size or _one_size({paths[row]: head.size for row, head in good.items()}, name)
        channels = 1 if all(head.grey for head in good.values()) else 3
        shape = (channels, height, width)

        def decode(path: Path) -> tuple[Pixels, bool, str]:
            content = path.read_bytes()
            return *_decode_into(content, channels, (height, width)), hashlib.sha256(content).hexdigest()

        digest, places, transparent = hashlib.sha256(), [], 0
        with pixel_rows(len(good), shape, name=name) as rows, progress(f"Reading {name}", len(good)) as advance:
            order = list(good)
            for first in range(0, len(order), AT_ONCE):
                some = order[first : first + AT_ONCE]
                images = threads.map(_or_reason(decode), [paths[row] for row in some])
                for row, image in zip(some, images, strict=True):
                    advance()
                    if isinstance(image, str):
                        failed[row] = image
                        continue
                    rows.append(image[0])
                    transparent += image[1]
                    digest.update(f"{image[2]}  {paths[row].name}\n".encode())
                    places.append(row)
            if not places:
                raise DataError(
                    f"Data {name!r}: none of {len(paths)} images can be read; the first, {paths[0]}, {failed[0]}."
                )
            x = rows.array()
    return DecodedImages(
        x=x,
        kept=np.array(places, dtype=np.int64),
        failed=failed,
        transparent=transparent,
        checksum=digest.hexdigest(),
    )


def _head(path: Path) -> _Head:
    from PIL import Image

    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"is a file of over {MAX_FILE_BYTES} bytes")
    with Image.open(path, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"has {image.width}x{image.height} pixels, more than {MAX_PIXELS}")
        if image.mode not in (*GREY, *COLOUR):
            raise ValueError(f"is of mode {image.mode}, whose range of values is not known")
        return _Head((image.height, image.width), image.mode in GREY)


def _decode_into(content: bytes, channels: int, size: tuple[int, int]) -> tuple[Pixels, bool]:
    """Decode to ``[C, H, W]``; the second value tells whether parts were transparent."""
    from PIL import Image, ImageOps

    mode = "L" if channels == 1 else "RGB"
    with Image.open(BytesIO(content), formats=FORMATS) as image:
        image.load()
        transparent = image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info
        plain: Image.Image
        if image.mode.startswith("I;16"):
            plain = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        elif transparent:
            layer = image.convert("RGBA")
            plain = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
            transparent = bool((np.asarray(layer)[..., 3] < 255).any())
        else:
            plain = image
        plain = plain.convert(mode)
        if plain.size != size[::-1]:
            plain = ImageOps.fit(plain, size[::-1], method=Image.Resampling.BILINEAR)
        values: Pixels = np.asarray(plain)
        return values.reshape(*size, channels).transpose(2, 0, 1), transparent


def _or_reason(task: Callable[..., T]) -> Callable[..., T | str]:
    """Let a task on one image return why it failed, so that the others go on."""

    def attempt(*arguments: object) -> T | str:
        try:
            return task(*arguments)
        except Exception as error:  # a damaged image fails in many ways
            from PIL import UnidentifiedImageError

            if isinstance(error, FileNotFoundError):
                return "is missing"
            if isinstance(error, IsADirectoryError):
                return "is a folder"
            if "truncated" in str(error).lower():  # Pillow says how many bytes are left, of each image another number
                return "is cut short"
            if isinstance(error, UnidentifiedImageError):
                return f"is no image of the formats {', '.join(FORMATS)}"
            if isinstance(error, ValueError) and str(error).startswith(("is ", "has ")):
                return str(error)
            if isinstance(error, OSError) and error.strerror:
                return f"cannot be read ({error.strerror})"
            return f"cannot be decoded ({str(error).partition(chr(10))[0].rstrip('.') or type(error).__name__})"

    return attempt


def _one_size(sizes: dict[Path, tuple[int, int]], name: str) -> tuple[int, int]:
    """The size that all images have."""
    first_path, first = next(iter(sizes.items()))
    for path, size in sizes.items():
        if size != first:
            often = [(f"{height}x{width}", count) for (height, width), count in Counter(sizes.values()).most_common(3)]
            raise DataError(
                f"Data {name!r}: {first_path.name} has {first[0]}x{first[1]} pixels, {path.name} {size[0]}x{size[1]}; "
                f"most have {', '.join(f'{words} ({count} images)' for words, count in often)}: say to which size all "
                f"are to be scaled and cropped (--size {often[0][0]}, or --size 224 for squares)."
            )
    return first


@contextmanager
def _decoders() -> Iterator[ThreadPoolExecutor]:
    """Threads for Pillow, whose warnings are kept from the user; an image that it calls a bomb is refused."""
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise DataError("Images need Pillow, which is not installed: pip install 'salus[images]'.") from error
    threads = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            yield threads
        finally:
            threads.shutdown(cancel_futures=True)
