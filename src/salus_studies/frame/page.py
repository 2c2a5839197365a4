"""Pages of reproductions: Markdown with figures in a folder beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from salus import atomic

#: Shows a figure by its name, or says in words that there is none.
Show = Callable[[str, str], str]


def write(page: Path, pictures: Mapping[str, bytes], parts: Callable[[Show], Iterable[str]]) -> None:
    """Write a page, and its figures into a folder of its name beside it.

    Figures come first, so that a page never shows one that is not there.

    Args:
        page: the Markdown file.
        pictures: PNG by name.
        parts: makes the paragraphs, given what shows a figure.

    Raises:
        StoreError: the disk is full, or the place is not writable.
    """
    for name, content in pictures.items():
        atomic.write_bytes(page.with_suffix("") / f"{name}.png", content)

    def show(name: str, words: str) -> str:
        if name in pictures:
            return f"![{words}]({page.stem}/{name}.png)\n"
        return f"*{words}.* not run: nothing to draw it from is stored.\n"

    atomic.write_text(page, "\n".join(parts(show)))
