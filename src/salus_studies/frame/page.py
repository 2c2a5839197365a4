"""Pages of studies: Markdown with figures in a folder beside it, each of which carries the hash of what it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from salus import atomic
from salus.storage import digest
from salus_studies.frame.png import describe, description

#: Shows a figure by its name, or says in words that there is none.
Show = Callable[[str, str], str]


@dataclass(frozen=True)
class Picture:
    """A figure of a page.

    Attributes:
        draw: gives the PNG.
        drawn_from: plain values that decide what it shows; None for all results.
    """

    draw: Callable[[], bytes]
    drawn_from: Any = None


@dataclass(frozen=True)
class Page:
    """A page as it should stand there.

    Attributes:
        text: Markdown.
        pictures: by their names, without ``.png``.
    """

    text: str
    pictures: Mapping[str, Picture] = field(default_factory=dict)


def compose(pictures: Mapping[str, Picture], folder: str, parts: Callable[[Show], Iterable[str]]) -> Page:
    """Put a page together out of its paragraphs.

    Args:
        pictures: those there are, by name.
        folder: where they lie, seen from the page.
        parts: gives the paragraphs, given what shows a figure.
    """

    def show(name: str, words: str) -> str:
        if name in pictures:
            return f"![{words}]({folder}/{name}.png)\n"
        return f"*{words}.* not run: nothing to draw it from is stored.\n"

    return Page("\n".join(parts(show)), pictures)


def write(page: Page, place: Path, folder: str, stamp: str) -> None:
    """Write a page, and its figures into a folder beside it.

    Figures come first, so that a page never shows one that is not there.

    Args:
        page: what to write.
        place: the Markdown file.
        folder: of the figures, seen from the page.
        stamp: of figures that do not say what they are drawn from: the hash of all results.

    Raises:
        StoreError: the disk is full, or the place is not writable.
    """
    for name, picture in page.pictures.items():
        atomic.write_bytes(place.parent / folder / f"{name}.png", describe(picture.draw(), _stamp(picture, stamp)))
    atomic.write_text(place, page.text)


def stale(page: Page, place: Path, folder: str, stamp: str) -> Iterator[Path]:
    """Name the files that are not what :func:`write` would write: the page by its bytes, a figure by its hash."""
    if not place.exists() or place.read_bytes() != page.text.encode("utf-8"):
        yield place
    for name, picture in page.pictures.items():
        path = place.parent / folder / f"{name}.png"
        if _carried(path) != _stamp(picture, stamp):
            yield path


def _stamp(picture: Picture, whole: str) -> str:
    return whole if picture.drawn_from is None else digest(picture.drawn_from)


def _carried(path: Path) -> str:
    return description(path.read_bytes()) if path.exists() else ""
