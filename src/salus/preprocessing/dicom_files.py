"""A DICOM file, read within bounds: what it holds, without running or unpacking more than it says."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from salus.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset

SUFFIXES = frozenset({".dcm", ".dicom"})

#: Bytes before the magic word, and the word.
_PREAMBLE, _MAGIC = 128, b"DICM"

#: Files of any other kind that bear the word, by their names.
_NO_OBJECTS = frozenset({"DICOMDIR"})

#: The transfer syntax that deflates a whole file: a few bytes of it may become any number.
_DEFLATED = b"1.2.840.10008.1.2.1.99"

#: Bytes of a file that is read.
MAX_FILE_BYTES = 2**28


def is_dicom(head: bytes) -> bool:
    """Tell by its first bytes whether a file is a DICOM file."""
    return head[_PREAMBLE : _PREAMBLE + len(_MAGIC)] == _MAGIC


def is_dicom_file(path: Path) -> bool:
    """Tell by its name, or where that says nothing by its first bytes, whether a file is a DICOM file.

    Hospitals export them as ``IM000001`` or under their own unique numbers, ``1.2.840.113619.2.5``.
    """
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return True
    if path.name in _NO_OBJECTS or not (suffix == "" or suffix[1:].isdecimal()):
        return False
    return begins_as_dicom(path)


def begins_as_dicom(path: Path) -> bool:
    """Tell by its first bytes whether a file is one of DICOM, whatever it is called; False where it cannot be read."""
    try:
        with path.open("rb") as file:
            return is_dicom(file.read(_PREAMBLE + len(_MAGIC)))
    except OSError:
        return False


def read_dataset(content: bytes, *, pixels: bool = True) -> Dataset:
    """Read the data elements of a DICOM file.

    Args:
        content: of the file.
        pixels: whether its pixels are read; without them a header is read quickly.

    Raises:
        ValueError: it is none, or is not read, in words that follow its name.
        DataError: pydicom is not installed.
    """
    try:
        import pydicom
    except ModuleNotFoundError as error:
        raise DataError("DICOM files need pydicom, which is not installed: pip install 'salus[formats]'.") from error
    if not is_dicom(content):
        raise ValueError("is no DICOM file: the word DICM is missing after its first 128 bytes")
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"is a file of over {MAX_FILE_BYTES} bytes")
    if _DEFLATED in content:
        raise ValueError("is a deflated DICOM file, whose size is not known before it is unpacked; store it unpacked")
    with quietly():
        try:
            return pydicom.dcmread(BytesIO(content), stop_before_pixels=not pixels)
        except Exception as error:  # a damaged file fails in many ways
            raise ValueError(f"is a damaged DICOM file ({short(error)})") from error


def short(error: Exception) -> str:
    """Say in some words what a library says."""
    return " ".join(str(error).split())[:150].rstrip(".") or type(error).__name__


def number_of(element: Any, word: str, default: float | None = None) -> float:
    """Read a number that an element holds.

    Raises:
        ValueError: it holds none, in words that follow the file's name.
    """
    if element is None or element == "":
        if default is None:
            raise ValueError(f"is a DICOM file without {word}")
        return default
    try:
        value = float(element)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"is a DICOM file whose {word} is {str(element)[:50]!r}, which is no number")
    return value


def kind_of(dataset: Dataset) -> str:
    """Name what kind of object a file holds: ``12-lead ECG Waveform Storage``."""
    uid = dataset.get("SOPClassUID", "")
    return str(getattr(uid, "name", "") or uid or "an unknown kind")


@contextmanager
def quietly() -> Iterator[None]:
    """Keep pydicom's warnings of values that break its rules from the user; what matters here is checked here."""
    import logging

    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
