"""Accuracy against the distance that an attack had to go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray

from salus.figures.style import PALETTE, axes, inline, style
from salus.report import words


@dataclass(frozen=True, eq=False)
class DistanceCurve:
    """How far one attack had to go.

    Attributes:
        name: of the attack.
        distances: of the inputs that fell, rising.
        good: how many inputs were right before.
        n: how many inputs there are.
    """

    name: str
    distances: NDArray[Any]
    good: int
    n: int


def distance_curves(lines: Sequence[DistanceCurve], *, norm: str, key: str) -> Markup:
    """Draw the share of inputs that stays right as the change may grow, one line for each attack."""
    with style():
        figure = Figure(figsize=(4.6, 3.1))
        figure.subplots_adjust(left=0.13, right=0.97, top=0.96, bottom=0.16)
        ax = axes(figure, grid="y")
        ends = [float(np.quantile(line.distances, 0.95)) for line in lines if len(line.distances)]
        most = 1.15 * max(ends, default=1.0) or 1.0
        facts = []
        for place, line in enumerate(lines):
            fallen = np.arange(len(line.distances) + 1)
            at = np.concatenate([[0.0], line.distances])
            right = 100 * (line.good - fallen) / line.n
            ax.step(
                np.append(at, max(most, at[-1])),
                np.append(right, right[-1]),
                where="post",
                color=PALETTE[place % len(PALETTE)],
                label=line.name,
            )
            if len(line.distances):
                facts.append(f"{line.name}: half of those that fall need {np.median(line.distances):.3g} or less")
        ax.set_xlim(0, most)
        ax.set_ylim(-2, 102)
        ax.set_yticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100%"])
        ax.set_xlabel(f"size of the change ({words.norm(norm)})")
        ax.legend(frameon=False, fontsize=8.5, loc="upper right")
        return inline(figure, key, f"Share of inputs still right against the size of the change. {'; '.join(facts)}.")
