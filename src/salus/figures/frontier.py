"""The settings of a sweep side by side: what each keeps on clean samples, and what under attack."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from salus.figures.style import BLUE, INK, MUTED, VERMILION, axes, shorten, spread, style

Row = Mapping[str, Any]

#: Settings that are all named; of more, those on the frontier alone.
_NAMED = 14

#: Inches that the axes and what is left of them take.
_WIDTH = 4.8


def frontier_picture(grid: Mapping[str, Any]) -> bytes:
    """Draw clean against robust accuracy as PNG: a point a setting, a dot each of several seeds, and the frontier.

    The chosen setting has its 95% intervals, which say how far apart points must be to differ.

    Args:
        grid: what ``grid.json`` of a sweep holds.
    """
    rows: Sequence[Row] = grid["settings"]
    best = frontier(rows)
    with style(**{"savefig.transparent": False, "savefig.dpi": 150.0}):
        named = [row for row in rows if len(rows) <= _NAMED or row in best or row["chosen"]]
        height, room = max(3.6, 0.8 + 0.22 * len(named)), 0.3 + 0.082 * max(len(_label(row)) for row in named)
        figure = Figure(figsize=(_WIDTH + room, height))
        ax = axes(figure, grid="both")
        figure.subplots_adjust(
            left=0.6 / (_WIDTH + room), right=_WIDTH / (_WIDTH + room), bottom=0.5 / height, top=1 - 0.35 / height
        )
        for row in rows:
            colour = VERMILION if row["chosen"] else BLUE if row in best else MUTED
            _point(ax, row, colour, runs=grid["folds"] is None and len(row["runs"]) > 1)
        line = sorted(best, key=lambda row: float(row["clean_accuracy"]))
        ax.plot(
            [100 * row["clean_accuracy"] for row in line],
            [100 * row["robust_accuracy"] for row in line],
            color=BLUE,
            linewidth=1.0,
            zorder=2,
        )
        ax.margins(0.08)
        ax.autoscale_view()
        ax.autoscale(enable=False)
        for limits, set_limits in ((ax.get_xlim(), ax.set_xlim), (ax.get_ylim(), ax.set_ylim)):
            set_limits(max(limits[0], -1.0), min(limits[1], 101.0))
        share = 100 * grid["commonest"]["share"]
        if ax.get_ylim()[0] < share < ax.get_ylim()[1]:
            ax.axhline(share, color=MUTED, linewidth=0.8, linestyle=(0, (5, 3)), zorder=1)
            ax.annotate(
                f"always {shorten(grid['commonest']['label'], 16)!r}",
                (0, share),
                xycoords=("axes fraction", "data"),
                xytext=(4, 3),
                textcoords="offset points",
                color=MUTED,
                size=8,
            )
        _names(ax, named, best)
        ax.set_xlabel("right on clean samples, %")
        ax.set_ylabel("right under attack too, %")
        ax.set_title(
            f"{grid['method']} on {shorten(grid['data']['name'], 30)}: {grid['judge']['title']}, on {_on(grid)}"
        )
        content = io.BytesIO()
        figure.savefig(content, format="png", metadata={"Software": None})
        return content.getvalue()


def frontier(rows: Sequence[Row]) -> list[Row]:
    """Choose the settings that no other beats or equals in both accuracies while beating it in one."""
    return [row for row in rows if not any(_beats(other, row) for other in rows)]


def _beats(one: Row, other: Row) -> bool:
    pairs = [(one[name], other[name]) for name in ("clean_accuracy", "robust_accuracy")]
    return all(left >= right for left, right in pairs) and any(left > right for left, right in pairs)


def _on(grid: Mapping[str, Any]) -> str:
    return "validation" if grid["folds"] is None else f"{grid['folds']} folds held out"


def _point(ax: Axes, row: Row, colour: str, *, runs: bool) -> None:
    """Draw a setting, each of its trainings, and of the one that is chosen the intervals too."""
    x, y = _at(row)
    if runs:
        for run in row["runs"]:
            ax.plot(*_at(run), ".", color=colour, alpha=0.45, markersize=4, zorder=2)
    if row["chosen"]:
        clean, robust = (
            [100 * row[f"{name}_accuracy_{end}"] for end in ("low", "high")] for name in ("clean", "robust")
        )
        ax.plot(clean, [y, y], color=colour, linewidth=0.8, alpha=0.6, zorder=2)
        ax.plot([x, x], robust, color=colour, linewidth=0.8, alpha=0.6, zorder=2)
    ax.plot([x], [y], "o", color=colour, markersize=6 if row["chosen"] else 4.5, zorder=4)


def _names(ax: Axes, named: Sequence[Row], best: Sequence[Row]) -> None:
    """Write the settings' names right of the axes, each with a line to its point."""
    places = [ax.transAxes.inverted().transform(ax.transData.transform(_at(row))) for row in named]
    gap = min(0.055, 1 / max(1, len(named) - 1))
    heights = spread([float(place[1]) for place in places], gap, 0.0, 1.0)
    for row, place, height in zip(named, places, heights, strict=True):
        colour = VERMILION if row["chosen"] else BLUE if row in best else MUTED
        ax.plot(
            [place[0], 1.0, 1.03],
            [place[1], height, height],
            transform=ax.transAxes,
            color=colour,
            linewidth=0.5,
            alpha=0.45,
            clip_on=False,
            zorder=1,
        )
        ax.text(
            1.04,
            height,
            _label(row),
            transform=ax.transAxes,
            va="center",
            size=8.5,
            color=VERMILION if row["chosen"] else INK if row in best else MUTED,
            weight="bold" if row["chosen"] else "normal",
        )


def _label(row: Row) -> str:
    return shorten(row["setting"], 36) + (" (chosen)" if row["chosen"] else "")


def _at(row: Row) -> tuple[float, float]:
    return 100 * row["clean_accuracy"], 100 * row["robust_accuracy"]
