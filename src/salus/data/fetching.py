"""Fetching a data set: from its official home, or from a folder or archive that is already on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from salus.atomic import storage_errors, write_bytes
from salus.data.archive import unpacked
from salus.data.download import Patience, download, download_verified, part_of
from salus.data.fetching_pinned import fetch_pinned
from salus.data.fetching_skin import fetch_skin
from salus.data.load import SOURCES
from salus.data.pinned import PinnedSet
from salus.data.places import places
from salus.data.published import PublishedSet, file_sha256
from salus.data.skin_sets import SkinSet
from salus.errors import DataError
from salus.progress import console, progress

if TYPE_CHECKING:
    import requests

MAX_LISTING = 2**20
PATIENCE = Patience()


def fetch(
    name: str, *, source: Path | None = None, data_dir: Path | None = None, base_url: str | None = None
) -> Path | None:
    """Get a data set and verify every file of it; what is already there and right is not fetched again.

    The set goes to ``data_dir``, else to SALUS_DATA, else to the user cache. A download that breaks off
    leaves ``.part`` files, from which the next call goes on.

    Args:
        name: of the catalogue.
        source: a folder or archive that holds the set, instead of the network.
        data_dir: where to put it.
        base_url: another home with the same files; they are verified all the same, by that home's own list of
            sums where ours does not know the published one.

    Returns:
        The folder of the set; None when nothing needs to be fetched.

    Raises:
        DataError: a file is not the published one.
        OptionError: there is no such set.
        StoreError: the disk is full or not writable.
    """
    published = SOURCES.find(name).published
    if published is None:
        console.print(f"{name} comes with what is installed: nothing needs to be fetched.", markup=False)
        return None
    folder = places(data_dir)[0] / name
    with _without_empty_folders(folder):
        if isinstance(published, PinnedSet):
            fetch_pinned(published, folder, source, base_url or published.base_url, PATIENCE)
            return folder
        if isinstance(published, SkinSet):
            fetch_skin(published, folder, source, base_url or published.base_url, PATIENCE)
            return folder
        if source is None:
            _from_home(published, folder, base_url or published.base_url)
        elif source.is_dir():
            _from_folder(published, folder, source)
        else:
            _from_archive(published, folder, source)
    if published.sums_sha256 is None:
        console.print(
            f"Every file of {name} agrees with the {published.sums} that came with it; Salus does not know that "
            "list's own SHA-256, so that it is worth as much as where it came from.",
            markup=False,
        )
    return folder


def _from_home(published: PublishedSet, folder: Path, base_url: str) -> None:
    """Download the list of sums, then every file that is missing or wrong."""
    import requests

    base_url = base_url.rstrip("/") + "/"
    with requests.Session() as session:
        listing = _download_listing(published, folder, base_url, session)
        checksums = published.wanted_sums(listing, where=base_url + published.sums)
        with progress(f"Fetching {published.name}", len(checksums)) as advance:
            for name, checksum in checksums.items():
                if not _is_right(folder / name, checksum):
                    download_verified(
                        base_url + quote(name),
                        folder / name,
                        partial(_is_right, checksum=checksum),
                        session=session,
                        max_bytes=published.max_file_bytes,
                        patience=PATIENCE,
                    )
                advance(1, name)
    write_bytes(folder / published.sums, listing)


def _download_listing(published: PublishedSet, folder: Path, base_url: str, session: requests.Session) -> bytes:
    part = part_of(folder / published.sums)
    part.unlink(missing_ok=True)
    try:
        download(base_url + published.sums, part, session=session, max_bytes=MAX_LISTING, patience=PATIENCE)
        return part.read_bytes()
    finally:
        part.unlink(missing_ok=True)


def _from_folder(published: PublishedSet, folder: Path, source: Path) -> None:
    """Copy the files of a set on disk; nothing is written before all are verified."""
    root = _root(published, source)
    if not (root / published.sums).is_file():
        raise DataError(
            f"Folder {root} lacks {published.sums}, by which its files are verified; get it from {published.base_url}."
        )
    listing = (root / published.sums).read_bytes()
    checksums = published.wanted_sums(listing, where=str(root / published.sums))
    for name, checksum in checksums.items():
        if not (root / name).is_file():
            raise DataError(f"Folder {root} lacks the file {name} of {published.name} {published.version}.")
        if file_sha256(root / name) != checksum:
            raise DataError(
                f"File {root / name} is not the published one: its SHA-256 is wrong; get it again from "
                f"{published.base_url}."
            )
    with progress(f"Copying {published.name}", len(checksums)) as advance:
        for name, checksum in checksums.items():
            if not _is_right(folder / name, checksum):
                content = (root / name).read_bytes()
                if hashlib.sha256(content).hexdigest() != checksum:
                    raise DataError(f"File {root / name} changed while it was copied; run again.")
                write_bytes(folder / name, content)
            advance(1, name)
    write_bytes(folder / published.sums, listing)


def _from_archive(published: PublishedSet, folder: Path, source: Path) -> None:
    with unpacked(source, folder, published.name, max_bytes=published.max_bytes) as scratch:
        _from_folder(published, folder, scratch)


def _root(published: PublishedSet, source: Path) -> Path:
    """The folder that holds the set's landmark: the one named, or one just below it."""
    below = sorted(path for path in source.iterdir() if path.is_dir())
    for candidate in (source, source / published.name, *below):
        if (candidate / published.landmark).is_file():
            return candidate
    raise DataError(f"Folder {source} does not hold {published.name}: there is no file {published.landmark} in it.")


def _is_right(path: Path, checksum: str) -> bool:
    return path.is_file() and file_sha256(path) == checksum


@contextmanager
def _without_empty_folders(folder: Path) -> Iterator[None]:
    """Make the folder of a set; take it, and those below it, away again when nothing came into them."""
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for place in (*(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()), folder):
            if not any(place.iterdir()):
                place.rmdir()
