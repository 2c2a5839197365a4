"""What is sent of a thing: its bytes and their media type."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from salus.client.messages import VerdictsRequest
from salus.errors import DataError

JSON, CSV, NPZ, ZIP = "application/json", "text/csv", "application/x-npz", "application/zip"

#: Media types by what files are called.
MEDIA_TYPES = {
    ".bmp": "image/bmp",
    ".csv": CSV,
    ".dcm": "application/dicom",
    ".dicom": "application/dicom",
    ".edf": "application/edf",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".json": JSON,
    ".npy": "application/x-npy",
    ".npz": NPZ,
    ".png": "image/png",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".webp": "image/webp",
    ".zip": ZIP,
}

#: Files of ECGs of other formats than DICOM, EDF and WFDB.
ECGS = frozenset({".ecg", ".ishne", ".mfer", ".mfr", ".mwf", ".scp", ".xml"})

#: What the files of one WFDB record are called by.
_RECORD = frozenset({".hea", ".dat", ".atr"})

#: Every file of an archive is of this time, so that the same things always give the same bytes.
_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Body:
    """What a request carries.

    Attributes:
        content: its bytes.
        media_type: what they are.
    """

    content: bytes
    media_type: str


def body_of(thing: Any, media_type: str | None = None) -> Body:
    """Make what is sent of a thing.

    Args:
        thing: a path: a CSV file, an image, an ``.npy`` or ``.npz`` file of x, a ``.zip`` archive, a file of DICOM or
            of an ECG, a WFDB record (with or without ``.hea``), or a folder of images or records, which is zipped as a
            record is. Or what is in memory: bytes, whose media type must be named; rows of a table as mappings, or
            other raw inputs in a list; a data frame; an array or tensor of x, prepared.
        media_type: what it is, where its name does not tell.

    Raises:
        DataError: it cannot be read, or nobody knows what it is.
    """
    if isinstance(thing, VerdictsRequest):
        return Body(thing.model_dump_json().encode(), JSON)
    if isinstance(thing, (bytes, bytearray, memoryview)):
        if media_type is None:
            raise DataError(f"What these {len(thing)} bytes are must be named by content_type, such as 'text/csv'.")
        return Body(bytes(thing), media_type)
    if isinstance(thing, (str, Path)):
        return _of_path(Path(thing), media_type)
    if _is_a(thing, "pandas", "DataFrame"):
        return Body(thing.to_csv(index=False).encode(), CSV)
    if _is_a(thing, "torch", "Tensor"):
        return prepared_body(thing.detach().cpu().numpy())
    if isinstance(thing, np.ndarray):
        return prepared_body(thing)
    if isinstance(thing, (Mapping, Sequence)):
        inputs = [thing] if isinstance(thing, Mapping) else list(thing)
        try:
            return body_of(VerdictsRequest(inputs=inputs))
        except (ValidationError, ValueError, TypeError) as error:
            raise DataError(f"These inputs cannot be written as JSON ({' '.join(str(error).split())}).") from error
    raise DataError(f"A {type(thing).__name__} cannot be judged; give a path, bytes, rows, or an array of x.")


def _is_a(thing: Any, module: str, name: str) -> bool:
    """Tell whether a thing is of a library's class, without importing the library: who has such a thing has done so."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(thing, kind)


def prepared_body(x: NDArray[Any]) -> Body:
    """Write prepared inputs ``[N, ...]`` as float32 into an ``.npz`` file, which says that they are prepared.

    Raises:
        DataError: they are no numbers.
    """
    if x.dtype.kind not in "fiub":
        raise DataError(f"An array of {x.dtype} values cannot be judged; prepared inputs are numbers.")
    file = io.BytesIO()
    np.savez(file, x=np.ascontiguousarray(x, "<f4"), prepared=np.array(True))
    return Body(file.getvalue(), NPZ)


def _of_path(path: Path, media_type: str | None) -> Body:
    record = path.with_suffix("") if path.suffix.lower() in _RECORD else path
    try:
        if record.with_name(record.name + ".hea").is_file() and not path.is_dir():
            return Body(_zipped(path.parent, _record_files(record)), ZIP)
        if path.is_dir():
            return Body(_zipped(path, (file for file in sorted(path.rglob("*")) if file.is_file())), ZIP)
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"There is no file or folder {path}; check the path.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error
    known = media_type or MEDIA_TYPES.get(path.suffix.lower())
    if known is None and content[128:132] == b"DICM":  # whose names often say nothing
        known = "application/dicom"
    if known is None and path.suffix.lower() in ECGS:  # their name tells what they are, and goes along
        return Body(_zipped(path.parent, iter([path])), ZIP)
    if known is None:
        raise DataError(f"What {path} is, its name does not tell; it should end in {', '.join(sorted(MEDIA_TYPES))}.")
    return Body(content, known)


def _record_files(record: Path) -> Iterator[Path]:
    """List the files of a record: its own, and those that its header names."""
    files = {each for suffix in _RECORD if (each := record.with_name(record.name + suffix)).is_file()}
    lines = record.with_name(record.name + ".hea").read_text(encoding="latin-1").splitlines()
    for line in lines:
        word = line.split(maxsplit=1)[0] if line.strip() and not line.startswith("#") else ""
        name = Path(word).name
        if name == word and name:  # a name in this folder; anything else is no file of the record's
            segment = (record.with_name(name + suffix) for suffix in _RECORD)
            files |= {each for each in (record.with_name(name), *segment) if each.is_file()}
    yield from sorted(files)


def _zipped(folder: Path, files: Iterator[Path]) -> bytes:
    content = io.BytesIO()
    count = 0
    with zipfile.ZipFile(content, "w") as archive:
        for file in files:
            info = zipfile.ZipInfo(file.relative_to(folder).as_posix(), _TIME)
            compress = file.suffix.lower() in (".csv", ".dat", ".hea")  # images are compressed already
            archive.writestr(info, file.read_bytes(), zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED)
            count += 1
    if not count:
        raise DataError(f"Folder {folder} holds no files; name one with images or recordings.")
    return content.getvalue()
