"""Which attack reached which sample, as a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from numpy.typing import NDArray

from salus.figures.style import MUTED, VERMILION, axes, inline, margin, shorten, style

#: What became of a sample under an attack.
STANDS, REACHED, REJECTED, WRONG_BEFORE = range(4)
_COLOURS = ((0.5, 0.5, 0.5, 0.13), to_rgba(VERMILION), to_rgba("#56b4e9"), (0.42, 0.44, 0.46, 1.0))


def reach_grid(states: NDArray[Any], names: Sequence[str], *, key: str, alt: str) -> Markup:
    """Draw a row for each attack and a column for each sample, those reached by most attacks first.

    Args:
        states: ``[A, N]`` of ``STANDS``, ``REACHED``, ``REJECTED``, ``WRONG_BEFORE``.
        names: of the attacks.
        key: begins the ids of the figure.
        alt: what the figure shows.
    """
    reached = (states == REACHED).sum(0)
    rejected = (states == REJECTED).sum(0)
    before = (states == WRONG_BEFORE).any(0)
    order = np.lexsort((-rejected, -reached, before))
    picture = np.array(_COLOURS)[states[:, order]]  # [A, N, 4]
    with style(**{"image.interpolation": "nearest"}):
        height = 0.62 + 0.27 * len(names)
        labels = [shorten(name, 24) for name in names]
        figure = Figure(figsize=(4.8, height))
        figure.subplots_adjust(left=margin(labels, 4.8), right=0.955, top=1 - 0.06 / height, bottom=0.46 / height)
        ax = axes(figure)
        ax.imshow(picture, aspect="auto", extent=(0, states.shape[1], len(names), 0))
        for row in range(1, len(names)):
            ax.axhline(row, color="#ffffff", linewidth=1.6)
        ax.set_yticks(np.arange(len(names)) + 0.5, labels)
        ax.set_xlabel(f"{states.shape[1]:,} samples, most often reached first")
        ax.tick_params(axis="y", length=0)
        ax.tick_params(axis="x", length=3, color=MUTED)
        for side in ax.spines.values():
            side.set_visible(False)
        return inline(figure, key, alt)


#: The legend: colour variable and words.
LEGEND = (
    ("reached", "reached: accepted and wrong"),
    ("rejected", "rejected by the guard"),
    ("before", "wrong or rejected already without attack"),
    ("stands", "stands: accepted and right"),
)
