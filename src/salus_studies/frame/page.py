"""Pages of studies: Markdown with figures in a folder beside it, each of which carries the hash of what it shows."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from salus import atomic
from salus.storage import digest

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
        atomic.write_bytes(place.parent / folder / f"{name}.png", _stamped(picture.draw(), _stamp(picture, stamp)))
    atomic.write_text(place, page.text)


def stale(page: Page, place: Path, folder: str, stamp: str) -> Iterator[Path]:
    """Name the files that are not what :func:`write` would write: the page by its bytes, a figure by its hash."""
    if not place.exists() or place.read_bytes() != page.text.encode("utf-8"):
        yield place
    for name, picture in page.pictures.items():
        path = place.parent / folder / f"{name}.png"
        if _carried(path) != _stamp(picture, stamp):
            yield path


def png(figure: Figure, dpi: int = 130) -> bytes:
    """Turn a figure into a PNG that the same results give byte for byte; within the style that it is drawn in."""
    content, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi, metadata={"Software": None})
    with Image.open(content) as picture:  # matplotlib packs loosely, and with transparency where there is none
        opaque = picture.getextrema()[-1] == (255, 255)
        (picture.convert("RGB") if opaque else picture).save(packed, format="png", optimize=True)
    return packed.getvalue()


def _stamp(picture: Picture, whole: str) -> str:
    return whole if picture.drawn_from is None else digest(picture.drawn_from)


def _stamped(content: bytes, stamp: str) -> bytes:
    """Put a description into a PNG, behind its header."""
    text = b"tEXtDescription\0" + stamp.encode("ascii")
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    header = 8 + 25  # the signature, and the chunk IHDR
    return content[:header] + chunk + content[header:]


def _carried(path: Path) -> str:
    if not path.exists():
        return ""
    with Image.open(path) as picture:
        return str(picture.info.get("Description", ""))
