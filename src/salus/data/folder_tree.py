"""Folders as people really have them: with hidden files, links, and links that lead in a circle."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from salus.errors import DataError

#: What systems and programs leave in folders, beside names that begin with a dot.
LEFTOVERS = frozenset(
    {
        "__macosx", "__pycache__", "@eadir", "#recycle", "$recycle.bin", "desktop.ini", "ehthumbs.db", "lost+found",
        "system volume information", "thumbs.db",
    }
)  # fmt: skip

_MOST_NAMED = 10


def is_hidden(name: str) -> bool:
    """Tell by its name whether a file or folder is not meant to be seen."""
    return name.startswith(".") or name.casefold() in LEFTOVERS


class FolderTree:
    """What is below a folder, and what was passed over.

    Links to files and folders are followed, also those that lead elsewhere; below one place each folder is entered
    once, so that links in a circle end.

    Args:
        folder: the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._hidden: dict[str, str] = {}  # place -> its name
        self._links: set[Path] = set()
        self._again: set[Path] = set()

    def folders(self, place: Path) -> list[Path]:
        """The visible folders in a folder, sorted as text."""
        return [path for path, is_folder in self._entries(place) if is_folder]

    def files(self, place: Path) -> list[Path]:
        """The visible files in a folder, sorted as text."""
        return [path for path, is_folder in self._entries(place) if not is_folder]

    def walk(self, place: Path) -> Iterator[Path]:
        """Every visible file below a folder, those that lie higher first."""
        return self._walk(place, set())

    def notes(self) -> list[str]:
        """Say what was passed over, and which links were followed."""
        notes = []
        if self._hidden:
            names = list(dict.fromkeys(self._hidden.values()))
            notes.append(f"{len(self._hidden)} hidden files and folders passed over: {some(names)}")
        if self._links:
            root = self.folder.resolve()
            outside = sum(not path.resolve().is_relative_to(root) for path in self._links)
            notes.append(f"{len(self._links)} links followed, {outside} of them out of the folder")
        if self._again:
            names = sorted(self._relative(path) for path in self._again)
            notes.append(f"links to folders that were read already passed over: {some(names)}")
        return notes

    def _walk(self, place: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
        status = place.stat()
        if (status.st_dev, status.st_ino) in seen:
            self._again.add(place)
            return
        seen.add((status.st_dev, status.st_ino))
        yield from self.files(place)
        for path in self.folders(place):
            yield from self._walk(path, seen)

    def _entries(self, place: Path) -> Iterator[tuple[Path, bool]]:
        try:
            with os.scandir(place) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
            for entry in entries:
                path = place / entry.name
                if is_hidden(entry.name):
                    self._hidden[self._relative(path)] = entry.name
                    continue
                if entry.is_symlink():
                    self._links.add(path)
                yield path, entry.is_dir()
        except OSError as error:
            raise DataError(f"Folder {place} cannot be read ({error.strerror or error}).") from error

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def some(names: list[str] | tuple[str, ...]) -> str:
    """The first names, and how many there are more."""
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
