"""The picture of a DICOM file: its levels as they are shown, through its window and with its photometric meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from salus.preprocessing.dicom_files import kind_of, number_of, quietly, read_dataset, short

if TYPE_CHECKING:
    from pydicom import Dataset

#: Which window is looked through: the first of several, one that is named by its centre and its width, or the only one.
Window = tuple[float, float] | Literal["first"] | None

#: Photometric interpretations.
_GREY = {"MONOCHROME1": True, "MONOCHROME2": False}  # whether the lowest level is white
_COLOUR = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"})
_PALETTE = "PALETTE COLOR"

#: Libraries that decode compressed pixels, the first that is installed; each read thousands of damaged files and was
#: still there. GDCM was not: of a damaged JPEG it ends the process that uses it.
DECODERS = ("pydicom", "pillow", "pyjpegls", "pylibjpeg")

#: Compressed pixels that are this much longer than what they unpack to are no picture.
_MOST_PACKED = 2

#: What is said of pictures of which something is assumed.
WINDOWED = "shown through the window that the file names"
CHOSEN = "shown through the window that was asked for"
FIRST = "the first window is used of several"
NO_WINDOW = "the file names no window: the lowest level that it can store is black, the highest white"
OVERLAID = "overlays are not drawn"
FIRST_FRAME = "the first frame is read of several"
STRAY_BITS = "bits beside those of the levels are left out"
TABLED = "shown through the table of levels that the file brings"


def read_window(value: Any) -> Window:
    """Read which window is looked through: ``first``, ``CENTRE,WIDTH``, two numbers, or None.

    Raises:
        ValueError: it is none of these.
    """
    if value is None:
        return None
    if value == "first":
        return "first"
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else list(value)
    if len(parts) != 2:
        raise ValueError("it must be first, or two numbers, CENTRE,WIDTH")
    centre, width = map(float, parts)
    if not (np.isfinite(centre) and np.isfinite(width) and width >= 1):
        raise ValueError("its width must be 1 or more")
    return centre, width


@dataclass(frozen=True, eq=False)
class Picture:
    """What a DICOM file shows.

    Attributes:
        levels: uint8 or uint16 ``[H, W]``, or uint8 ``[H, W, 3]``.
        white: the highest level of their scale.
        assumed: what was assumed of it.
    """

    levels: NDArray[Any]
    white: int
    assumed: tuple[str, ...]


@dataclass(frozen=True)
class PictureHead:
    """What a DICOM file says of its picture.

    Attributes:
        size: height and width.
        grey: whether it has no colours.
        white: the highest level of its scale.
    """

    size: tuple[int, int]
    grey: bool
    white: int


def read_picture_head(
    content: bytes, *, pages: str | None = None, window: Window = None, most: int = 2**26
) -> PictureHead:
    """Read what a picture is, without decoding it.

    Args:
        content: of the file.
        pages: ``first`` where the first frame of several is to be read.
        window: which window is looked through.
        most: pixels that it may have.

    Raises:
        ValueError: it is not read, or can be read in two ways, in words that follow its name.
    """
    return _head_of(read_dataset(content, pixels=False), pages, window, most)


def read_picture(content: bytes, *, white: int | None = None, window: Window = None, most: int = 2**26) -> Picture:
    """Decode the first frame of a picture.

    Args:
        content: of the file.
        white: the highest level of the scale that grey is wanted on; None: of the file's own.
        window: which window is looked through.
        most: pixels that it may have.

    Raises:
        ValueError: it is not read, or can be read in two ways, in words that follow its name.
    """
    dataset = read_dataset(content)
    head = _head_of(dataset, "first", window, most)
    assumed = [FIRST_FRAME] if _frames(dataset) > 1 else []
    if any(0x6000 <= tag.group <= 0x60FF and tag.element == 0x3000 for tag in dataset.keys()):  # noqa: SIM118
        assumed.append(OVERLAID)
    stored = _frame(dataset, head)
    photometric = str(dataset.PhotometricInterpretation)
    if photometric == _PALETTE:
        return Picture(_coloured(dataset, stored), 255, tuple(assumed))
    if photometric in _COLOUR:
        if stored.ndim != 3 or stored.shape[2] != 3:
            raise ValueError(f"has the colours {photometric}, but {_planes(stored)} of them")
        deep = int(dataset.BitsStored)
        levels = stored if deep == 8 else np.rint(stored.astype(np.float32) * (255 / (2**deep - 1)))
        return Picture(levels.astype(np.uint8), 255, tuple(assumed))
    if stored.ndim != 2:
        raise ValueError(f"is grey ({photometric}), but has {_planes(stored)} values a pixel")
    bits, stray = _without_strays(dataset, stored)
    shown, how = _shown(dataset, bits, window)
    if _GREY[photometric]:
        shown = 1 - shown
    top = white or head.white
    levels = np.rint(shown * top).astype(np.uint8 if top == 255 else np.uint16)
    return Picture(levels, top, (*assumed, *([STRAY_BITS] if stray else []), *how))


def _planes(stored: NDArray[Any]) -> int:
    return int(stored.shape[2]) if stored.ndim == 3 else 1


def _frames(dataset: Dataset) -> int:
    return int(number_of(dataset.get("NumberOfFrames"), "number of frames", 1.0))


def _head_of(dataset: Dataset, pages: str | None, window: Window, most: int) -> PictureHead:
    if "Rows" not in dataset or "Columns" not in dataset or "PhotometricInterpretation" not in dataset:
        raise ValueError(f"is a DICOM file that holds no picture ({kind_of(dataset)})")
    height = int(number_of(dataset.Rows, "number of rows"))
    width = int(number_of(dataset.Columns, "number of columns"))
    if not 0 < height * width <= most:
        raise ValueError(f"has {width}x{height} pixels; they must be 1 to {most}")
    frames = _frames(dataset)
    if frames > 1 and pages != "first":
        raise ValueError(f"has {frames} frames; keep one frame a file, or read the first alone (--pages first)")
    photometric = str(dataset.PhotometricInterpretation)
    bits = int(number_of(dataset.get("BitsStored"), "number of bits stored"))
    allocated = int(number_of(dataset.get("BitsAllocated"), "number of bits allocated"))
    if allocated not in (8, 16) or not 1 < bits <= allocated:
        raise ValueError(f"has levels of {bits} bits stored in {allocated}; those of 2 to 16 bits in 8 or 16 are read")
    if photometric == _PALETTE or photometric in _COLOUR:
        return PictureHead((height, width), False, 255)
    if photometric not in _GREY:
        raise ValueError(f"has the photometric interpretation {photometric[:30]!r}, which is not read")
    shape = str(dataset.get("PresentationLUTShape", "") or "")
    if shape == "INVERSE" and photometric == "MONOCHROME2":
        raise ValueError(
            "can be read in two ways: its lowest level is black by its photometric interpretation (MONOCHROME2), and "
            "white by its presentation (INVERSE)"
        )
    _window_of(dataset, window)
    return PictureHead((height, width), True, 255 if bits <= 8 else 2**bits - 1)


def _frame(dataset: Dataset, head: PictureHead) -> NDArray[Any]:
    """Decode the first frame, ``[H, W]`` or ``[H, W, 3]``, colours as red, green and blue."""
    if "PixelData" not in dataset:
        raise ValueError(f"is a DICOM file that holds no picture ({kind_of(dataset)})")
    planes = int(number_of(dataset.get("SamplesPerPixel"), "number of values a pixel", 1.0))
    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    if syntax is None or not str(syntax):
        raise ValueError("is a DICOM file that does not say how its pixels are stored (no transfer syntax)")
    if syntax.is_compressed:
        unpacked = head.size[0] * head.size[1] * planes * int(dataset.BitsAllocated) // 8
        if len(dataset.PixelData) > (_MOST_PACKED * unpacked + 2**16) * max(_frames(dataset), 1):
            raise ValueError("has compressed pixels that are longer than what they unpack to")
    plugin = _decoder(syntax) if syntax.is_compressed else ""
    from pydicom.pixels.utils import pixel_array

    with quietly():
        try:
            frame: NDArray[Any] = pixel_array(dataset, index=0, decoding_plugin=plugin)
        except Exception as error:  # a damaged picture fails in many ways
            raise ValueError(f"cannot be decoded ({short(error)})") from error
    if frame.shape[:2] != head.size:
        raise ValueError(f"has {frame.shape[1]}x{frame.shape[0]} pixels, but says {head.size[1]}x{head.size[0]}")
    return frame


def _decoder(syntax: Any) -> str:
    """Name the installed library that decodes such pixels.

    Raises:
        ValueError: there is none, naming how they are compressed, and what to install.
    """
    from pydicom.pixels.decoders.base import get_decoder

    try:
        known = get_decoder(syntax).available_plugins
    except NotImplementedError:
        known = ()
    for plugin in DECODERS:
        if plugin in known:
            return plugin
    name = str(getattr(syntax, "name", syntax))
    extra = "pip install 'salus[dicom-codecs]'" if "JPEG-LS" in name else "pip install pylibjpeg pylibjpeg-libjpeg"
    raise ValueError(
        f"has pixels that are compressed ({name}), and nothing installed that is trusted with damaged files decodes "
        f"them: {extra}, or store it uncompressed"
    )


def _coloured(dataset: Dataset, stored: NDArray[Any]) -> NDArray[Any]:
    """Look the levels of a palette up, uint8 ``[H, W, 3]``."""
    from pydicom.pixels.processing import apply_color_lut

    with quietly():
        try:
            colours = apply_color_lut(stored, dataset)
        except Exception as error:  # a damaged palette fails in many ways
            raise ValueError(f"has a palette that cannot be read ({short(error)})") from error
    if colours.ndim != 3 or colours.shape[2] < 3:
        raise ValueError("has a palette that gives no three colours")
    colours = colours[:, :, :3]
    return (colours >> 8).astype(np.uint8) if colours.dtype.itemsize == 2 else colours.astype(np.uint8)


def _without_strays(dataset: Dataset, stored: NDArray[Any]) -> tuple[NDArray[np.int64], bool]:
    """Keep the bits of the levels, with their sign; tell whether others were set."""
    bits, signed = int(dataset.BitsStored), bool(dataset.get("PixelRepresentation", 0))
    high = int(number_of(dataset.get("HighBit"), "highest bit", float(bits - 1)))
    if high != bits - 1:
        raise ValueError(f"has levels of {bits} bits whose highest is bit {high}; they must begin at bit 0")
    values = stored.astype(np.int64)
    kept = values & ((1 << bits) - 1)
    if signed:
        kept = np.where(kept >> (bits - 1), kept - (1 << bits), kept)
    return kept, bool((kept != values).any())


def _shown(dataset: Dataset, stored: NDArray[np.int64], window: Window) -> tuple[NDArray[np.float64], list[str]]:
    """Give each level its place between black, 0, and white, 1; and say how."""
    asked = _window_of(dataset, window)
    if isinstance(asked, _Table):
        return asked.look_up(_rescaled(dataset, stored)), [TABLED]
    if asked is None:
        bits = int(dataset.BitsStored)
        shown = stored / (2**bits - 1)  # signed levels need a window
        slope = number_of(dataset.get("RescaleSlope"), "rescale slope", 1.0)
        return (1 - shown if slope < 0 else shown), ([] if bits <= 8 else [NO_WINDOW])
    centre, width, function = asked.centre, asked.width, asked.function
    values = _rescaled(dataset, stored)
    if function == "LINEAR":  # DICOM PS3.3 C.11.2.1.2.1
        shown = (values - (centre - 0.5)) / (width - 1) + 0.5 if width > 1 else (values > centre - 0.5).astype(float)
    elif function == "LINEAR_EXACT":  # C.11.2.1.3.2
        shown = (values - centre) / width + 0.5
    else:  # SIGMOID, C.11.2.1.3.1
        shown = 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    how = CHOSEN if isinstance(window, tuple) else FIRST if asked.several else WINDOWED
    return np.clip(shown, 0, 1), [how]


@dataclass(frozen=True)
class _Ramp:
    """A window: where grey begins and ends."""

    centre: float
    width: float
    function: str
    several: bool = False


@dataclass(frozen=True, eq=False)
class _Table:
    """A VOI lookup table: what is shown for each value from the first on."""

    first: int
    entries: NDArray[np.int64]
    white: int

    def look_up(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Show values ``[H, W]``, those beyond the table as its ends."""
        places = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.int64)
        shown: NDArray[np.float64] = self.entries[places] / self.white
        return shown


def _window_of(dataset: Dataset, window: Window) -> _Ramp | _Table | None:
    """Find the window to look through; None where the file names none and its levels tell black and white.

    Raises:
        ValueError: there are several, or none where one is needed, in words that follow the file's name.
    """
    function = str(dataset.get("VOILUTFunction", "") or "LINEAR").strip()
    if isinstance(window, tuple):
        return _Ramp(*window, "LINEAR")
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise ValueError(f"has a window of the function {function[:30]!r}, which is not read")
    centres, widths = _several(dataset.get("WindowCenter")), _several(dataset.get("WindowWidth"))
    if len(centres) != len(widths):
        raise ValueError(f"has {len(centres)} centres of windows and {len(widths)} widths")
    ramps = [_Ramp(centre, width, function) for centre, width in zip(centres, widths, strict=True)]
    for ramp in ramps:
        if ramp.width < (1 if function == "LINEAR" else 1e-12):
            raise ValueError(f"has a window of centre {ramp.centre:g} and width {ramp.width:g}")
    tables = list(dataset.get("VOILUTSequence") or [])
    if len(set(ramps)) + len(tables) > 1:
        if window == "first":
            return _Ramp(ramps[0].centre, ramps[0].width, function, several=True) if ramps else _table_of(tables[0])
        raise ValueError(_two_ways(dataset, ramps, len(tables)))
    if ramps:
        return ramps[0]
    if tables:
        return _table_of(tables[0])
    if dataset.get("PixelRepresentation", 0) or dataset.get("ModalityLUTSequence"):
        raise ValueError(
            "has levels whose black and white it does not name (they are signed or looked up, and it has no window); "
            "say which window to look through (--window CENTRE,WIDTH)"
        )
    return None


def _two_ways(dataset: Dataset, ramps: list[_Ramp], tables: int) -> str:
    names = [str(name) for name in _words(dataset.get("WindowCenterWidthExplanation"))]
    named = [
        f"{ramp.centre:g},{ramp.width:g}" + (f" ({names[place][:30]})" if place < len(names) else "")
        for place, ramp in enumerate(ramps[:4])
    ]
    named += [f"{tables} tables of levels"] if tables else []
    return f"can be seen in several ways, {'; '.join(named)}; say which (--window first, or --window CENTRE,WIDTH)"


def _words(element: Any) -> list[Any]:
    if element is None or element == "":
        return []
    return list(element) if isinstance(element, (list, tuple)) or hasattr(element, "append") else [element]


def _several(element: Any) -> list[float]:
    return [number_of(each, "window") for each in _words(element)]


def _table_of(item: Any) -> _Table:
    """Read a VOI lookup table.

    Raises:
        ValueError: it is damaged, in words that follow the file's name.
    """
    try:
        count, first, bits = (int(each) for each in item.LUTDescriptor)
        data = item.LUTData
        entries = np.frombuffer(data, "<u2") if isinstance(data, bytes) else np.asarray(data)
        entries = entries.astype(np.int64).ravel()
        good = len(entries) == (count or 2**16) and 8 <= bits <= 16 and 0 <= entries.min() <= entries.max() < 2**bits
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"has a table of levels that cannot be read ({short(error)})") from error
    if not good:
        raise ValueError("has a table of levels that contradicts its own description")
    return _Table(first, entries, 2**bits - 1)


def _rescaled(dataset: Dataset, stored: NDArray[np.int64]) -> NDArray[np.float64]:
    """Put stored levels into the units that windows are given in (Hounsfield's, of CT)."""
    if dataset.get("ModalityLUTSequence"):
        return _modality(dataset, stored)
    slope = number_of(dataset.get("RescaleSlope"), "rescale slope", 1.0)
    intercept = number_of(dataset.get("RescaleIntercept"), "rescale intercept", 0.0)
    if slope == 0:
        raise ValueError(f"has a rescale slope of {slope:g} and an intercept of {intercept:g}")
    return stored.astype(np.float64) * slope + intercept


def _modality(dataset: Dataset, stored: NDArray[np.int64]) -> NDArray[np.float64]:
    from pydicom.pixels.processing import apply_modality_lut

    with quietly():
        try:
            return np.asarray(apply_modality_lut(stored, dataset), dtype=np.float64)
        except Exception as error:  # a damaged table fails in many ways
            raise ValueError(f"has a modality table that cannot be read ({short(error)})") from error
