"""Where each stands: robust accuracy with its interval, beside the clean one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from salus.figures.style import BLUE, INK, MUTED, VERMILION, axes, inline, shorten, style
from salus.report import words

#: Lines of a figure.
MOST = 40
#: Inches of the figure, of a line with its label above, of the axis, and of the legend; letters of a label.
_WIDTH, _LINE, _FOOT, _HEAD, _LETTERS = 5.2, 0.4, 0.5, 0.5, 62


@dataclass(frozen=True)
class Mark:
    """One line of the figure.

    Attributes:
        label: what stands there.
        clean: accuracy before any attack.
        robust: accuracy under the worst attack, with the ends of its interval.
        seeds: robust accuracy with each seed; () with one.
    """

    label: str
    clean: float
    robust: tuple[float, float, float]
    seeds: tuple[float, ...] = ()


def standings_figure(marks: Sequence[Mark], constant: float | None, *, key: str, alt: str) -> Markup:
    """Draw a line for each, the first at the top; at most ``MOST``.

    Args:
        marks: what stands where, in its order.
        constant: the accuracy of always answering the commonest class, a line that no attack moves; None where it is
            not known.
        key: begins the ids of the figure.
        alt: what the figure shows, before the numbers.
    """
    marks = marks[:MOST]
    height = _HEAD + _FOOT + _LINE * len(marks)
    with style():
        figure = Figure(figsize=(_WIDTH, height))
        figure.subplots_adjust(left=0.03, right=0.95, top=1 - _HEAD / height, bottom=_FOOT / height)
        ax = axes(figure, grid="x")
        ax.spines["left"].set_visible(False)
        for place, mark in enumerate(marks):
            _draw(ax, place, mark)
        if constant is not None:
            dashed = (0, (5, 3))
            ax.axvline(
                100 * constant, color=MUTED, linewidth=0.9, linestyle=dashed, zorder=1, label="always the commonest"
            )
        ax.set_xlim(-1.5, 101.5)
        ax.set_xticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100%"])
        ax.set_ylim(len(marks) - 0.7, -0.8)
        ax.set_yticks([])
        ax.tick_params(length=3)
        ax.set_xlabel("accuracy")
        handles = {label: line for line, label in zip(*ax.get_legend_handles_labels(), strict=True)}  # each once
        figure.legend(handles.values(), handles.keys(), loc="upper left", ncols=2, frameon=False, fontsize=8)
        facts = [
            f"{mark.label}: {words.percent(mark.robust[0])} ({words.interval(*mark.robust[1:])}), clean "
            f"{words.percent(mark.clean)}"
            for mark in marks
        ]
        return inline(figure, key, f"{alt}. {'; '.join(facts)}.")


def _draw(ax: Axes, place: int, mark: Mark) -> None:
    value, low, high = (100 * each for each in mark.robust)
    ax.text(0, place - 0.3, shorten(mark.label, _LETTERS), va="center", size=8.5)
    ax.plot([low, high], [place, place], color=VERMILION, linewidth=2.2, alpha=0.55, zorder=2)
    ax.plot(value, place, "o", color=VERMILION, markersize=5.5, zorder=4, label="under the worst attack, 95% interval")
    ax.plot(100 * mark.clean, place, "D", color=BLUE, markersize=4, zorder=3, label="clean")
    if mark.seeds:
        seeds = [100 * each for each in mark.seeds]
        ax.plot(seeds, [place] * len(seeds), "|", color=INK, markersize=9, zorder=3, label="each seed")
