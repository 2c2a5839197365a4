"""Accuracy, recall and specificity from stage to stage: clean, attacked, behind each guard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from salus.figures.style import BLUE, GREEN, MUTED, ORANGE, VERMILION, axes, inline, shorten, style
from salus.report import words

_COLOURS = (BLUE, ORANGE, GREEN)


def recap_curves(
    stages: Sequence[str],
    lines: Mapping[str, Sequence[float | None]],
    knowing: Sequence[float | None],
    *,
    key: str,
    alt: str,
) -> Markup:
    """Draw a line for each figure over the stages, and crosses where an attacker knows the guard.

    Args:
        stages: their names, in order.
        lines: shares by the figure's name, one for each stage; None where there is none.
        knowing: the first figure under the attacker who knows, one for each stage.
        key: begins the ids of the figure.
        alt: what the figure shows, before the numbers.
    """
    with style():
        labels = [shorten(stage, 22) for stage in stages]
        turned = len(stages) > 3
        figure = Figure(figsize=(4.8, 3.7 if turned else 3.3))
        figure.subplots_adjust(left=0.12, right=0.97, top=0.83, bottom=0.3 if turned else 0.14)
        ax = axes(figure, grid="y")
        for (name, values), colour in zip(lines.items(), _COLOURS, strict=True):
            heights = [np.nan if value is None else 100 * value for value in values]
            ax.plot(heights, "-o", markersize=4.5, color=colour, label=name, zorder=3)
        crosses = [(place, value) for place, value in enumerate(knowing) if value is not None]
        label = f"{next(iter(lines)).lower()}, attacker knows the guard"
        if crosses:
            at, heights = [place for place, _ in crosses], [100 * value for _, value in crosses]
            ax.plot(at, heights, "X", markersize=7, color=VERMILION, zorder=4, label=label)
        ax.set_ylim(-2, 102)
        ax.set_yticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100%"])
        ax.set_xlim(-0.3, len(stages) - 0.7)
        ax.set_xticks(range(len(stages)), labels, rotation=20 if turned else 0, ha="right" if turned else "center")
        ax.tick_params(length=3)
        ax.axhline(0, color=MUTED, linewidth=0.8, zorder=1)
        figure.legend(loc="upper center", ncols=2, frameon=False, fontsize=8)
        facts = [
            f"{name}: {', '.join(f'{stage} {words.percent(v)}' for stage, v in zip(stages, values, strict=True))}"
            for name, values in lines.items()
        ]
        if crosses:
            facts.append(f"{label}: {', '.join(f'{stages[place]} {words.percent(value)}' for place, value in crosses)}")
        return inline(figure, key, f"{alt}. {'; '.join(facts)}.")
