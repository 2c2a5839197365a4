"""One image file decoded with Pillow: turned upright, its levels in full depth, refused where it can be misread."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from salus.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T")

#: Levels of an image ``[C, H, W]``, uint8 or uint16.
Levels = NDArray[Any]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})

#: What Pillow may try; among what it knows besides are formats that start other programs.
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "PPM")

GREY = ("1", "L")
DEEP = ("I;16", "I;16B", "I;16L")
COLOUR = ("RGB", "RGBX", "P", "CMYK", "YCbCr", "RGBA", "RGBa", "LA", "La", "PA")

MAX_PIXELS = 2**26  # of one image: 8192 x 8192
MAX_FILE_BYTES = 2**28
MOST_PAGES = 1000  # that are counted

_ORIENTATION, _BITS_PER_SAMPLE, _PHOTOMETRIC, _MAX_SAMPLE = 0x0112, 258, 262, 281
_WHITE_IS_ZERO = 0

#: What is said of images of which something is assumed.
TRANSPARENT = "transparent parts are white"
TURNED = "turned upright, as the EXIF orientation says"
SHALLOW = "colours of 16 bits are read with 8"
SECOND = "the first picture is read of the several that a camera stored"
FIRST_PAGE = "the first page is read of several"


@dataclass(frozen=True)
class Head:
    """What an image's first bytes say.

    Attributes:
        size: height and width, once it is turned upright.
        grey: whether it has no colours.
        white: the highest level of its scale; 0 where 16 bits are stored and nothing says how many are used.
    """

    size: tuple[int, int]
    grey: bool
    white: int


@dataclass(frozen=True, eq=False)
class Decoded:
    """An image of the size and the channels that were asked for.

    Attributes:
        levels: uint8, or uint16 where the scale has more than 255 levels, ``[C, H, W]``.
        assumed: what was assumed of it.
    """

    levels: Levels
    assumed: tuple[str, ...]


def read_head(path: Path, pages: str | None = None) -> Head:
    """Read what an image is, without decoding it.

    Raises:
        ValueError: it is not read, in words that follow its name.
        OSError: it cannot be read.
    """
    from PIL import Image

    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"is a file of over {MAX_FILE_BYTES} bytes")
    with Image.open(path, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"has {image.width}x{image.height} pixels, more than {MAX_PIXELS}")
        if image.mode not in (*GREY, *DEEP, *COLOUR) and not _is_deep(image):
            raise ValueError(f"is of mode {image.mode}, whose range of values is not known")
        _refuse_uncovered(image)
        if _several(image) and image.format != "MPO" and pages != "first":
            raise ValueError(
                f"has {_count_pages(image)} pages; keep one page a file, or read the first alone (--pages first)"
            )
        # A PNG file may have its EXIF part last, and would have to be decoded for it here.
        exif = image.getexif() if image.format != "PNG" or "exif" in image.info else {}
        height, width = image.height, image.width
        if exif.get(_ORIENTATION, 1) in (5, 6, 7, 8):
            height, width = width, height
        return Head((height, width), image.mode in GREY or _is_deep(image), _white(image))


def decode(content: bytes, *, channels: int, size: tuple[int, int], white: int) -> Decoded:
    """Decode an image to ``[C, H, W]``, scaled to cover the size and cropped in the middle.

    Args:
        content: of the file.
        channels: 1 or 3.
        size: height and width.
        white: the highest level of the scale that is wanted; 255 or more.

    Raises:
        ValueError: it has levels above ``white``, or none that can be put on that scale, in words that follow its name.
    """
    from PIL import Image, ImageOps

    with Image.open(BytesIO(content), formats=FORMATS) as image:
        assumed = []
        if _several(image):
            assumed.append(SECOND if image.format == "MPO" else FIRST_PAGE)
        if _raw_mode(image).endswith((";16B", ";16L", ";16N")) and image.mode in COLOUR:
            assumed.append(SHALLOW)
        image.load()
        own, deep, upside = _white(image), _is_deep(image), _inverted(image)
        upright = ImageOps.exif_transpose(image)
        if image.getexif().get(_ORIENTATION, 1) not in (0, 1):
            assumed.append(TURNED)
        if deep:
            return Decoded(_deep(upright, own, upside, channels, size, white), tuple(assumed))
        transparent = upright.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in upright.info
        plain: Image.Image = upright
        if transparent:
            layer = upright.convert("RGBA")
            plain = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
            if bool((np.asarray(layer)[..., 3] < 255).any()):
                assumed.append(TRANSPARENT)
        plain = plain.convert("L" if channels == 1 else "RGB")
        if plain.size != size[::-1]:
            plain = ImageOps.fit(plain, size[::-1], method=Image.Resampling.BILINEAR)
        levels: Levels = np.asarray(plain).reshape(*size, channels).transpose(2, 0, 1)
        if white > 255:
            levels = np.rint(levels * (white / 255)).astype(np.uint16)
        return Decoded(levels, tuple(assumed))


def _deep(image: Image.Image, own: int, upside: bool, channels: int, size: tuple[int, int], white: int) -> Levels:
    """Put levels of up to 16 bits on the scale, in floats, so that none is lost before the last rounding."""
    from PIL import Image, ImageOps

    if white <= 255:
        raise ValueError("is an image of 16 bits, where 8 are expected: how many of them are used is not known")
    values = np.asarray(image).astype(np.float32)
    if upside:
        values = (own or 65535) - values
    if own and own != white:
        values *= white / own
    if values.max() > white + 0.5:
        raise ValueError(f"has the level {values.max():g}, more than {white}")
    floats = Image.fromarray(values)
    if floats.size != size[::-1]:
        floats = ImageOps.fit(floats, size[::-1], method=Image.Resampling.BILINEAR)
    levels: Levels = np.rint(np.asarray(floats)).clip(0, white).astype(np.uint16)
    return np.broadcast_to(levels, (channels, *size))


def _several(image: Image.Image) -> bool:
    """Tell whether there are several pages, without counting them."""
    return bool(getattr(image, "is_animated", False))


def _count_pages(image: Image.Image) -> str:
    """Count pages as far as people do."""
    for number in range(1, MOST_PAGES):
        try:
            image.seek(number)
        except (EOFError, OSError, ValueError, SyntaxError):
            image.seek(0)
            return str(number)
    return f"{MOST_PAGES} or more"


def _refuse_uncovered(image: Image.Image) -> None:
    """Refuse a file whose pieces do not make up its picture: Pillow leaves the rest black."""
    pieces = [tile.extents for tile in getattr(image, "tile", []) if tile.extents is not None]
    covered = sum((right - left) * (low - high) for left, high, right, low in pieces)
    if pieces and covered < image.width * image.height:
        raise ValueError("is cut short")


def _is_deep(image: Image.Image) -> bool:
    return image.mode in DEEP or (image.mode == "I" and image.format == "PPM")


def _white(image: Image.Image) -> int:
    """Tell the highest level of an image's scale; 0 where 16 bits may hold fewer that are used."""
    if not _is_deep(image):
        return 255
    if image.format == "PPM":
        return 65535  # Pillow has put the levels on this scale
    tags: Any = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, 16)
    bits = bits[0] if isinstance(bits, tuple) else bits
    if 8 < bits < 16:
        return int(2 ** int(bits)) - 1
    most = tags.get(_MAX_SAMPLE, 0)
    most = most[0] if isinstance(most, tuple) else most
    return int(2 ** int(most).bit_length()) - 1 if 255 < most < 65535 else 0


def _inverted(image: Image.Image) -> bool:
    """Tell whether levels of 16 bits count from white; Pillow turns those of fewer bits round itself."""
    return _is_deep(image) and getattr(image, "tag_v2", {}).get(_PHOTOMETRIC, 1) == _WHITE_IS_ZERO


def _raw_mode(image: Image.Image) -> str:
    """The layout of a file's bytes, as Pillow calls it."""
    tiles = getattr(image, "tile", [])
    arguments = getattr(tiles[0], "args", "") if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def or_reason(task: Callable[..., T]) -> Callable[..., T | str]:
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


@contextmanager
def decoders() -> Iterator[ThreadPoolExecutor]:
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
