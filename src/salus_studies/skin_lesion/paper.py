"""The ground that figures of the skin-lesion page are drawn on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from matplotlib.figure import Figure

from salus.figures.style import style


@contextmanager
def paper(size: tuple[float, float]) -> Iterator[Figure]:
    """Give a figure in the page's style, on a white ground."""
    with style(**{"savefig.transparent": False}):
        yield Figure(figsize=size, layout="constrained")
