"""How all figures look, and how one becomes SVG that stands inside a page and follows its colours."""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: Colours that the page replaces by its own (light or dark), by the name of the page's variable.
_VARIABLES = {
    "#1a1c1f": "--ink",
    "#6a6f76": "--muted",
    "#d5d8dc": "--rule",
    "#0072b2": "--blue",
    "#d55e00": "--vermilion",
    "#009e73": "--green",
    "#cc79a7": "--pink",
    "#e69f00": "--orange",
    "#56b4e9": "--sky",
    "#7a5195": "--violet",
}
INK, MUTED, RULE, BLUE, VERMILION, GREEN, PINK, ORANGE, SKY, VIOLET = _VARIABLES

#: Distinguishable also to the colour-blind (Okabe and Ito, 2008; its yellow is too pale for lines).
PALETTE = (BLUE, VERMILION, GREEN, PINK, ORANGE, SKY, VIOLET)

_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",  # words stay words: searchable, and in the reader's own font
    "svg.hashsalt": "salus",
    "text.parse_math": False,  # a "$" in a class name is a dollar
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.labelcolor": INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "figure.dpi": 100.0,
    "savefig.dpi": 100.0,
    "savefig.transparent": True,
    "path.simplify": True,
}


@contextmanager
def style(**settings: Any) -> Iterator[None]:
    """Draw with our settings, whatever the user's are, and leave theirs as they were."""
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that the layout font lacks is drawn by the reader's font
        mpl.rcdefaults()
        values: Any = {**_SETTINGS, **settings}  # its type lists every setting there is
        mpl.rcParams.update(values)
        yield


def inline(figure: Figure, key: str, alt: str) -> Markup:
    """Turn a figure into an ``<svg>`` for the page.

    Args:
        figure: drawn inside ``style()``.
        key: unlike that of any other figure of the page; it begins all its ids.
        alt: what the figure shows, for those who cannot see it.
    """
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r"<[^>]*>", lambda tag: _page_tag(tag.group(), key), svg)
    width, height = (round(float(side) * 100) for side in figure.get_size_inches())
    body = svg.index(">") + 1
    box = re.search(r'viewBox="[^"]*"', svg[:body])
    start = (
        f'<svg role="img" aria-label="{escape(plain(alt))}" width="{width}" height="{height}" '
        f"{box.group() if box else ''}>"
    )
    # The figure's words were escaped by matplotlib, the alternative text here.
    return Markup(start + svg[body:].rstrip())  # noqa: S704


def axes(figure: Figure, *, grid: str = "") -> Axes:
    """Add the only axes of a figure, with a pale grid along ``x``, ``y`` or ``both``."""
    ax = figure.add_subplot()
    if grid:
        ax.grid(axis=grid, zorder=0)  # type: ignore[arg-type]
        ax.set_axisbelow(True)
    return ax


def plain(words: object) -> str:
    """Drop characters that no XML may hold, such as the control characters of a broken name."""
    return "".join(
        " " if unicodedata.category(letter) in ("Cc", "Cs") or letter in "\ufffe\uffff" else letter
        for letter in str(words)
    )


def shorten(words: object, most: int = 26) -> str:
    """Cut a long name, and show that it was cut."""
    name = plain(words)
    return name if len(name) <= most else f"{name[: most - 1]}…"


def margin(labels: Sequence[str], width: float) -> float:
    """Leave room for labels left of the axes, as a share of a figure ``width`` inches wide."""
    return min(0.5, (0.2 + 0.072 * max(map(len, labels), default=0)) / width)


def spread(positions: list[float], gap: float, low: float, high: float) -> list[float]:
    """Move labels apart so that none lies within ``gap`` of another, as little as that takes."""
    order = sorted(range(len(positions)), key=positions.__getitem__)
    places = list(positions)
    for previous, index in zip([None, *order], order, strict=False):
        floor = low if previous is None else places[previous] + gap
        places[index] = max(places[index], floor)
    for following, index in zip([None, *order[::-1]], order[::-1], strict=False):
        ceiling = high if following is None else places[following] - gap
        places[index] = min(places[index], ceiling)
    return places


def _page_tag(tag: str, key: str) -> str:
    """Give a tag ids of its own figure, and the page's colours."""
    tag = re.sub(r'(\bid=")', rf"\g<1>{key}-", tag)
    tag = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{key}-", tag)
    for colour, name in _VARIABLES.items():
        tag = tag.replace(f": {colour}", f": var({name})")
    return tag
