"""The figures of docs/imaging.md, from stored results alone."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from salus.figures.style import BLUE, INK, MUTED, VERMILION, style
from salus_studies.frame.markdown import Record
from salus_studies.frame.page import Picture
from salus_studies.frame.png import png
from salus_studies.lesions.measured import ATTACKERS, DEFENCES, missed

#: Changes when a figure is drawn otherwise.
_DRAWN = 2

#: By how much changes are enlarged to be seen.
ENLARGED = {"fgsm": 20, "pgd-harm": 20, "uap": 8}

#: A defence, an attacker, and what is missed; None where nothing was measured.
Bar = tuple[str, str, Record | None]


def draw(results: Record) -> dict[str, Picture]:
    """List every figure for which there is something stored, by name."""
    pictures: dict[str, Picture] = {}
    if results.get("pictures"):
        pictures["imaging-lesions"] = _picture(draw_lesions, results["meta"]["classes"], results["pictures"])
    bars = [(name, attacker, missed(results, name, attacker)) for name in DEFENCES for attacker in ATTACKERS]
    if any(figures is not None for _, _, figures in bars):
        pictures["imaging-missed"] = _picture(draw_missed, bars)
    return pictures


def _picture(drawing: Callable[..., Figure], *source: Any) -> Picture:
    return Picture(partial(_png, drawing, *source), [*source, _DRAWN])


def _png(drawing: Callable[..., Figure], *source: Any) -> bytes:
    with style(**{"savefig.transparent": False, "figure.facecolor": "white"}):
        return png(drawing(*source))


def draw_lesions(classes: Sequence[str], pictures: Sequence[Record]) -> Figure:
    """Draw lesions as they are and attacked, the change enlarged, and what the classifier says to each."""
    figure = Figure(figsize=(1.75 * len(pictures) + 0.5, 5.6), layout="constrained")
    panels = figure.subplots(3, len(pictures), squeeze=False)
    for column, record in zip(panels.T, pictures, strict=True):
        clean, attacked = (_pixels(record[name]) for name in ("clean", "attacked"))
        enlarged = ENLARGED[record["attack"]]
        change = 0.5 + enlarged * (attacked - clean)
        true, before, after = (classes[record[name]] for name in ("y", "before", "after"))
        title = f"a {true}; {record['attack'].removesuffix('-harm').upper()}, {255 * record['largest']:.0f}/255"
        column[0].set_title(title, fontsize=8.5)
        rows = (
            (clean, f"answer: {before}", INK),
            (attacked, f"answer: {after}", VERMILION),
            (change, f"change × {enlarged}", MUTED),
        )
        for ax, (pixels, words, colour) in zip(column, rows, strict=True):
            ax.imshow(pixels.clip(0, 1), interpolation="nearest")
            ax.set_xlabel(words, fontsize=9, color=colour)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_visible(False)
    for ax, words in zip(panels[:, 0], ("as it is", "attacked", "the change"), strict=True):
        ax.set_ylabel(words)
    return figure


def _pixels(content: str) -> NDArray[np.float64]:
    """Decode a stored picture to ``[H, W, C]``."""
    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
        return np.asarray(picture.convert("RGB"), dtype=np.float64) / 255


def draw_missed(bars: Sequence[Bar]) -> Figure:
    """Draw the malignant lesions missed behind each defence, by each attacker."""
    figure = Figure(figsize=(8.6, 5.4), layout="constrained")
    ax = figure.subplots()
    colours = {"none": MUTED, "any": BLUE, "harm": VERMILION}
    offsets = dict(zip(ATTACKERS, (-0.26, 0, 0.26), strict=True))
    shown = [name for name in DEFENCES if any(name == bar and figures for bar, _, figures in bars)]
    heights = {name: height for height, name in enumerate(shown)}
    for name, attacker, figures in bars:
        if figures is None or figures.get("fnr") is None:
            continue
        place = heights[name] + offsets[attacker]
        value, low, high = (100 * figures[key] for key in ("fnr", "fnr_low", "fnr_high"))
        ax.barh(place, value, 0.24, color=colours[attacker], zorder=2)
        ax.plot([low, high], [place] * 2, color=INK, linewidth=1, zorder=3)
        ax.text(max(high, value) + 1, place, f"{value:.0f}", va="center", fontsize=8, color=INK)
    for attacker, words in ATTACKERS.items():
        ax.barh([0], [0], color=colours[attacker], label=words)
    ax.set_yticks(range(len(shown)), [DEFENCES[name][0] for name in shown])
    ax.invert_yaxis()
    ax.set_xlim(0, 108)
    ax.set_xlabel("of 100 malignant lesions, so many are called harmless (lines: 95% intervals)")
    ax.grid(axis="x", zorder=0)
    figure.legend(loc="outside lower center", ncols=1, frameon=False)
    return figure
