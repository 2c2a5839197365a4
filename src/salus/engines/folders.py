"""Folders that tasks fill: the owner's own where a task sees its disk, else files that travel back."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import TypeVar

from salus.atomic import write_bytes
from salus.engines.base import Engine
from salus.errors import StoreError

T = TypeVar("T")

Files = Mapping[str, bytes]


def offered(engine: Engine, folder: Path) -> Path | None:
    """Return the folder as an argument of a task: itself where the task sees it, else None."""
    return folder if engine.shares_disk else None


def filled(folder: Path | None, fill: Callable[[Path], T]) -> tuple[T, Files]:
    """Within a task: fill the folder that was offered, or a temporary one.

    Returns:
        What ``fill`` returned, and the files of a temporary folder by their names; none of the owner's own.
    """
    if folder is not None:
        return fill(folder), {}
    with tempfile.TemporaryDirectory(prefix="salus-task-") as name:
        place = Path(name)
        value = fill(place)
        files = {
            file.relative_to(place).as_posix(): file.read_bytes()
            for file in sorted(place.rglob("*"))
            if file.is_file() and not file.is_symlink()
        }
    return value, files


def take_in(files: Files, folder: Path) -> None:
    """By the owner: write the files that came back, each whole or not at all.

    Raises:
        StoreError: the folder cannot be written, or a file would land outside it.
    """
    for name, content in files.items():
        parts = PurePosixPath(name).parts
        if not parts or ".." in parts or PurePosixPath(name).is_absolute():
            raise StoreError(f"A task sent a file named {name!r}, which would land outside {folder}.")
        write_bytes(folder.joinpath(*parts), content)
