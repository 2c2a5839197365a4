"""Fetching a set of skin lesions: archives of images and a table, from home, a folder or an archive on disk."""

from __future__ import annotations

import shutil
from pathlib import Path

from salus.atomic import storage_errors, write_bytes
from salus.data.archive import unpack, unpacked
from salus.data.download import Patience, download_verified
from salus.data.skin_lesions import image_paths
from salus.data.skin_sets import SkinSet
from salus.data.skin_tables import find_table
from salus.errors import DataError
from salus.progress import console, progress


def fetch_skin(published: SkinSet, folder: Path, source: Path | None, base_url: str, patience: Patience) -> None:
    """Bring the table and every image that it names to ``folder``, where they are not there yet.

    Raises:
        DataError: a file cannot be downloaded or is not the published one, or an image of the table is missing.
        StoreError: the disk is full or not writable.
    """
    if _whole(published, folder):
        return
    if source is None:
        _from_home(published, folder, base_url.rstrip("/") + "/", patience)
        console.print(published.verified, markup=False)
        return
    if source.is_dir():
        _from_folder(published, folder, source)
    else:
        with unpacked(
            source, folder, published.name, max_bytes=published.max_bytes, max_files=published.max_files
        ) as scratch:
            _from_folder(published, folder, scratch)
    console.print(
        f"Every image that the table of {published.name} names is there; whether they are the published ones was not "
        "checked, for there are sums of the archives at home alone.",
        markup=False,
    )


def _from_home(published: SkinSet, folder: Path, base_url: str, patience: Patience) -> None:
    """Download each file and unpack the archives, which stay until all is there."""
    import requests

    archives = []
    with requests.Session() as session, progress(f"Fetching {published.name}", len(published.files)) as advance:
        for remote in published.files:
            target = folder / remote.name
            if not (target.is_file() and remote.right(target)):
                download_verified(
                    base_url + remote.path,
                    target,
                    remote.right,
                    session=session,
                    max_bytes=remote.max_bytes,
                    patience=patience,
                )
            if target.suffix == ".zip":
                archives.append(target)
                unpack(target, folder, max_bytes=published.max_bytes, max_files=published.max_files)
            advance(1, remote.name)
    _refuse_gaps(published, folder)
    for archive in archives:
        archive.unlink()


def _from_folder(published: SkinSet, folder: Path, source: Path) -> None:
    """Copy the images that the table names, wherever they lie below ``source``, and then the tables."""
    root = _root(published, source)
    _refuse_gaps(published, root)
    paths = image_paths(root, published.read(root).images)
    with progress(f"Copying {published.name}", len(paths)) as advance:
        for path in paths:
            target = folder / "images" / path.name
            with storage_errors(target):
                target.parent.mkdir(exist_ok=True)
                shutil.copyfile(path, target)
            advance()
    for name in published.tables:
        table = find_table(root, name)
        if table is not None:
            write_bytes(folder / name, table.read_bytes())


def _whole(published: SkinSet, folder: Path) -> bool:
    """Tell whether a folder holds the tables and all images."""
    try:
        _refuse_gaps(published, folder)
    except DataError:
        return False
    return all(find_table(folder, name) is not None for name in published.tables)


def _refuse_gaps(published: SkinSet, folder: Path) -> None:
    """Refuse a folder that lacks images that its table names."""
    paths = image_paths(folder, published.read(folder).images)
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise DataError(
            f"Folder {folder} lacks {len(missing)} of the {len(paths)} images that the table of {published.name} "
            f"names, such as {missing[0]}; get them from {published.base_url}."
        )


def _root(published: SkinSet, source: Path) -> Path:
    """The folder that holds the set's table: the one named, or one just below it."""
    for candidate in (source, *sorted(path for path in source.iterdir() if path.is_dir())):
        if any((candidate / landmark).is_file() for landmark in published.landmarks):
            return candidate
    raise DataError(f"Folder {source} does not hold {published.name}: there is no table {published.tables[-1]} in it.")
