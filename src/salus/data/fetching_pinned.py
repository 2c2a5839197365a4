"""Fetching a data set whose sums Salus itself knows, file by file or as the archive that its makers give out."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from salus.atomic import storage_errors, write_bytes
from salus.data.archive import unpacked
from salus.data.download import Patience, download_verified
from salus.data.pinned import PinnedSet
from salus.errors import DataError
from salus.progress import progress


def fetch_pinned(published: PinnedSet, folder: Path, source: Path | None, base_url: str, patience: Patience) -> None:
    """Bring every file that is missing or wrong to ``folder``, from the web, another folder or an archive.

    Raises:
        DataError: a file is missing, cannot be downloaded, or is not the published one.
        StoreError: the disk is full or not writable.
    """
    missing = _missing(published, folder)
    if source is not None and source.is_dir():
        _from_folder(published, folder, source, missing)
    elif source is not None:
        _from_archive(published, folder, source, missing)
    elif missing:
        _from_home(published, folder, missing, base_url.rstrip("/") + "/", patience)


def _missing(published: PinnedSet, folder: Path) -> list[str]:
    """Files that are not there, packed or not, or are wrong."""
    paths = {name: published.file(folder, name) for name in published.files}
    return [name for name, path in paths.items() if path is None or not published.right(path, name)]


def _from_home(published: PinnedSet, folder: Path, missing: list[str], base_url: str, patience: Patience) -> None:
    """Download each missing file, or the archive of all."""
    import requests

    with requests.Session() as session, progress(f"Fetching {published.name}", len(missing)) as advance:
        fetch = partial(download_verified, session=session, patience=patience)
        if published.archive:
            archive = folder / published.archive
            fetch(base_url + archive.name, archive, published.right_archive, max_bytes=published.max_archive_bytes)
            _from_archive(published, folder, archive, missing)
            archive.unlink()
            return
        for name in missing:
            packed = folder / f"{name}.gz"
            right = partial(published.right, name=name)
            fetch(base_url + packed.name, packed, right, max_bytes=published.max_file_bytes)
            with storage_errors(folder / name):
                (folder / name).unlink(missing_ok=True)  # wrong, and would be read first
            advance(1, name)


def _from_folder(published: PinnedSet, folder: Path, source: Path, missing: list[str]) -> None:
    """Copy the missing files of a set on disk, unpacked; nothing is written before all are verified."""
    root = _root(published, source)
    for name in published.files:
        path = published.file(root, name)
        if path is None:
            raise DataError(f"Folder {root} lacks the file {name} of {published.name}, packed or not.")
        if not published.right(path, name):
            raise DataError(
                f"File {path} is not the published one, or is broken: its content has another SHA-256; get it again "
                f"from {published.base_url}."
            )
    with progress(f"Copying {published.name}", len(missing)) as advance:
        for name in missing:
            path = published.file(root, name)
            content = None if path is None else published.content(path)
            if content is None or published.strangers({name: content}):
                raise DataError(f"File {name} in {root} changed while it was copied; run again.")
            write_bytes(folder / name, content)
            advance(1, name)


def _from_archive(published: PinnedSet, folder: Path, source: Path, missing: list[str]) -> None:
    limit = published.max_file_bytes * len(published.files)
    with unpacked(source, folder, published.name, max_bytes=limit) as scratch:
        _from_folder(published, folder, scratch, missing)


def _root(published: PinnedSet, source: Path) -> Path:
    """The folder that holds the set: the one named, or one just below it."""
    for candidate in (source, *sorted(path for path in source.iterdir() if path.is_dir())):
        if any((candidate / landmark).is_file() for landmark in published.landmarks):
            return published.within(candidate)
    raise DataError(
        f"Folder {source} does not hold {published.name}: there is no file {' or '.join(published.landmarks)} in it."
    )
