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
from salus.preprocessing import dicom_files
from salus.preprocessing.dicom_images import Window, read_picture, read_picture_head
from salus.preprocessing.framing import COVER, Framing

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T")

#: Levels of an image ``[C, H, W]``, uint8 or uint16.
Levels = NDArray[Any]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", *dicom_files.SUFFIXES})

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
class ImageHeader:
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
        size: its own height and width, once it is turned upright.
        highest: its highest level as stored, where nothing says how many of 16 bits are used; None where that is known.
    """

    levels: Levels
    assumed: tuple[str, ...]
    size: tuple[int, int]
    highest: int | None = None


def is_image_file(path: Path) -> bool:
    """Tell by its name whether a file is an image; files of DICOM often have names that say nothing."""
    return path.suffix.lower() in SUFFIXES or dicom_files.is_dicom_file(path)


def read_head(path: Path, pages: str | None = None, window: Window = None) -> ImageHeader:
    """Read what an image is, without decoding it.

    Raises:
        ValueError: it is not read, in words that follow its name.
        OSError: it cannot be read.
    """
    from PIL import Image

    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"is a file of over {MAX_FILE_BYTES} bytes")
    if dicom_files.is_dicom_file(path) or dicom_files.begins_as_dicom(path):
        seen = read_picture_head(path.read_bytes(), pages=pages, window=window, most=MAX_PIXELS)
        return ImageHeader(seen.size, seen.grey, seen.white)
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
        if exif.get(_ORIENTATION, 1) in (5, 6, 7, 8) and image.format != "TIFF":  # which Pillow has turned already
            height, width = width, height
        return ImageHeader((height, width), image.mode in GREY or _is_deep(image), _white(image))


def decode(
    content: bytes,
    *,
    channels: int,
    size: tuple[int, int],
    white: int,
    window: Window = None,
    framing: Framing = COVER,
) -> Decoded:
    """Decode an image to ``[C, H, W]``.

    Args:
        content: of the file.
        channels: 1 or 3.
        size: height and width.
        white: the highest level of the scale that is wanted; 255 or more.
        window: of a DICOM file that names several, which is looked through.
        framing: how it is brought to the size.

    Raises:
        ValueError: it has levels above ``white``, or none that can be put on that scale, in words that follow its name.
    """
    from PIL import Image, ImageOps

    if dicom_files.is_dicom(content):
        return _decode_dicom(content, channels, size, white, window, framing)
    with Image.open(BytesIO(content), formats=FORMATS) as image:
        assumed = []
        if _several(image):
            assumed.append(SECOND if image.format == "MPO" else FIRST_PAGE)
        shallow, highest = _is_shallow(image), None
        if shallow and 255 < white < 65535 and image.format != "PPM":
            raise ValueError("has colours of 16 bits, of which only the upper 8 can be read; store it with 8 bits")
        if shallow:
            assumed.append(SHALLOW)
        if image.getexif().get(_ORIENTATION, 1) not in (0, 1):  # asked before Pillow loads a TIFF file, and forgets it
            assumed.append(TURNED)
        image.load()
        own, deep, upside = _white(image), _is_deep(image), _inverted(image)
        upright = ImageOps.exif_transpose(image)
        own_size = (upright.height, upright.width)
        if deep:
            if not own:
                highest = int(np.asarray(upright).max())
            levels = _deep(upright, own, upside, channels, size, white, framing)
            return Decoded(levels, tuple(assumed), own_size, highest)
        transparent = upright.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in upright.info
        plain: Image.Image = upright
        if transparent:
            layer = upright.convert("RGBA")
            plain = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
            if bool((np.asarray(layer)[..., 3] < 255).any()):
                assumed.append(TRANSPARENT)
        plain = plain.convert("L" if channels == 1 else "RGB")
        if shallow and image.format != "PPM":
            highest = 256 * int(np.asarray(plain).max()) + 255
        return Decoded(_shallow(plain, size, white, framing), tuple(assumed), own_size, highest)


def _shallow(plain: Image.Image, size: tuple[int, int], white: int, framing: Framing) -> Levels:
    """Bring an image of 8 bits, grey or in colours, to a size and a scale."""
    levels: Levels = np.asarray(framing.picture(plain, size)).reshape(*size, -1).transpose(2, 0, 1)
    return np.rint(levels * (white / 255)).astype(np.uint16) if white > 255 else levels


def _decode_dicom(
    content: bytes, channels: int, size: tuple[int, int], white: int, window: Window, framing: Framing
) -> Decoded:
    """Decode the picture of a DICOM file as that of any other file with the same levels."""
    from PIL import Image

    picture = read_picture(content, white=white, window=window, most=MAX_PIXELS)
    own_size = (picture.levels.shape[0], picture.levels.shape[1])
    image = Image.fromarray(picture.levels)
    if picture.white > 255:
        return Decoded(_deep(image, white, False, channels, size, white, framing), picture.assumed, own_size)
    plain = image.convert("L" if channels == 1 else "RGB")
    return Decoded(_shallow(plain, size, white, framing), picture.assumed, own_size)


def encode(image: Image.Image) -> bytes:
    """Write an image of Pillow's as a file that says of it what its own did, so that it is prepared as files are.

    Raises:
        ValueError: it is of a mode that is not read, in words that follow its name.
    """
    from PIL import Image

    if image.mode not in (*GREY, *DEEP, *COLOUR) and not _is_deep(image):
        raise ValueError(f"is of mode {image.mode}, whose range of values is not known")
    image.load()  # turns a TIFF file upright
    exif = Image.Exif()
    exif[_ORIENTATION] = image.getexif().get(_ORIENTATION, 1)
    content = BytesIO()
    if _is_deep(image):
        tags = {_PHOTOMETRIC: _WHITE_IS_ZERO if _inverted(image) else 1, _ORIENTATION: exif[_ORIENTATION]}
        if 0 < _white(image) < 65535:
            tags[_MAX_SAMPLE] = _white(image)
        Image.fromarray(np.asarray(image).astype(np.uint16)).save(content, "TIFF", tiffinfo=tags)
        return content.getvalue()
    stored = {"RGBX": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "RGBa": "RGBA", "La": "LA", "PA": "RGBA"}
    plain = image.convert(stored[image.mode]) if image.mode in stored else image
    plain.save(content, "PNG", compress_level=0, exif=exif)
    return content.getvalue()


def _deep(
    image: Image.Image, own: int, upside: bool, channels: int, size: tuple[int, int], white: int, framing: Framing
) -> Levels:
    """Put levels of up to 16 bits on the scale, in floats, so that none is lost before the last rounding."""
    from PIL import Image

    if white <= 255 and not own:
        raise ValueError("is an image of 16 bits, where 8 are expected: how many of them are used is not known")
    values = np.asarray(image).astype(np.float32)
    scale = own or white
    if values.max() > scale:
        raise ValueError(f"has the level {values.max():g}, more than {scale}")
    if upside:
        values = scale - values
    if scale != white:
        values *= white / scale
    floats = framing.picture(Image.fromarray(values), size)
    levels: Levels = np.rint(np.asarray(floats)).clip(0, white).astype(np.uint16 if white > 255 else np.uint8)
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
    # The highest of a scale, 4095; any other number is the highest level that this one image happens to have.
    return int(most) if 255 < most < 65535 and most & (most + 1) == 0 else 0


def _inverted(image: Image.Image) -> bool:
    """Tell whether levels of 16 bits count from white; Pillow turns those of fewer bits round itself."""
    return _is_deep(image) and getattr(image, "tag_v2", {}).get(_PHOTOMETRIC, 1) == _WHITE_IS_ZERO


def _is_shallow(image: Image.Image) -> bool:
    """Tell whether Pillow reads with 8 bits what is stored with 16; asked before it is loaded."""
    tiles = getattr(image, "tile", [])
    arguments = getattr(tiles[0], "args", "") if tiles else ""
    layout, *more = arguments if isinstance(arguments, tuple) and arguments else (arguments,)
    if image.mode not in COLOUR:
        return False
    return str(layout).endswith((";16B", ";16L", ";16N")) or (image.format == "PPM" and max(more, default=0) > 255)


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
