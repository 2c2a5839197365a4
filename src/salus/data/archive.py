"""Unpacking an archive that others made: nothing lands outside the folder, and it stays within bounds."""

from __future__ import annotations

import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from salus.atomic import storage_errors
from salus.data.published import refuse_escape
from salus.errors import DataError

MAX_BYTES = 2**30
MAX_FILES = 10_000

Member = tuple[str, IO[bytes]]


def is_archive(path: Path) -> bool:
    """Whether the file's name says that it is an archive that can be unpacked."""
    return path.name.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz"))


@contextmanager
def unpacked(
    archive: Path, folder: Path, name: str, *, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES
) -> Iterator[Path]:
    """Unpack an archive of the data set ``name`` to a folder inside ``folder`` that is gone afterwards.

    Raises:
        DataError: it is no archive, or see :func:`unpack`.
        StoreError: the disk is full or not writable.
    """
    if not archive.is_file():
        raise DataError(f"There is no folder or archive {archive} to fetch {name} from.")
    if not is_archive(archive):
        raise DataError(f"File {archive} is no archive that Salus unpacks: .zip, .tar, .tar.gz or .tgz.")
    with storage_errors(folder):
        scratch = tempfile.TemporaryDirectory(dir=folder, prefix=".unpack-")
    with scratch as place:
        unpack(archive, Path(place), max_bytes=max_bytes, max_files=max_files)
        yield Path(place)


def unpack(archive: Path, folder: Path, *, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES) -> None:
    """Unpack plain files into a folder.

    Raises:
        DataError: the archive is broken, holds links, devices or unsafe names, or is too large.
        StoreError: the disk is full or not writable.
    """
    budget = max_bytes
    with _broken_archive(archive):
        for count, (name, content) in enumerate(_members(archive), start=1):
            if count > max_files:
                raise DataError(f"Archive {archive} holds more than {max_files} files; it is not the data set.")
            target = folder / refuse_escape(name, where=f"Archive {archive}")
            with storage_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                file = target.open("wb")
            with file, content:
                while piece := content.read(2**16):
                    budget -= len(piece)
                    if budget < 0:
                        raise DataError(f"Archive {archive} unpacks to over {max_bytes} bytes; it is not the data set.")
                    with storage_errors(target):
                        file.write(piece)


def _members(archive: Path) -> Iterator[Member]:
    return _zip_members(archive) if archive.name.lower().endswith(".zip") else _tar_members(archive)


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            mode = info.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _not_plain(archive, info.filename)
            refuse_escape(info.filename, where=f"Archive {archive}")
            if not info.is_dir():
                yield info.filename, file.open(info)


def _tar_members(archive: Path) -> Iterator[Member]:
    with tarfile.open(archive) as file:
        for info in file:
            if not (info.isreg() or info.isdir()):
                raise _not_plain(archive, info.name)
            refuse_escape(info.name, where=f"Archive {archive}")
            content = file.extractfile(info) if info.isreg() else None
            if content is not None:
                yield info.name, content


def _not_plain(archive: Path, name: str) -> DataError:
    return DataError(f"Archive {archive} holds {name!r}, a link or device; only plain files are unpacked.")


@contextmanager
def _broken_archive(archive: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError) as error:
        raise DataError(f"Archive {archive} is truncated or broken; get it again.") from error
    except (OSError, RuntimeError) as error:  # RuntimeError: an encrypted zip
        raise DataError(f"Archive {archive} cannot be read ({error}); get it again.") from error
