"""Accuracy against the size of the change."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from salus.figures.style import INK, MUTED, PALETTE, axes, inline, shorten, spread, style
from salus.metrics import Commonest
from salus.report import words
from salus.report.run_folder import Line, Record
from salus.threats.models import GrayBox, Oblivious, Transfer

_DASHES = {Transfer.name: (0, (1.2, 1.2)), Oblivious.name: (0, (4, 1.6)), GrayBox.name: (0, (4, 1.2, 1, 1.2))}
#: Radii further apart than this are drawn on a scale of ratios.
_WIDE = 20.0


def accuracy_curves(
    lines: Sequence[Line],
    clean: Record | None,
    constant: Commonest | None = None,
    *,
    key: str,
    kind: str,
    highest: float,
) -> Markup:
    """Draw robust accuracy against eps, one line for each attack and threat model, from the clean accuracy.

    Args:
        lines: attacks in one norm on one guard.
        clean: the cell of clean inputs, the point at eps 0.
        constant: always the commonest class, a line that no eps bends; None where it is not known.
        key: begins the ids of the figure.
        kind: of the data, for how eps is written.
        highest: end of the eps axis, the same for the panels beside it.
    """
    attacks = list(dict.fromkeys(line.name.split(",")[0] for line in lines))
    radii = sorted({cell["eps"] for line in lines for cell in line.cells})
    with style():
        figure = Figure(figsize=(4.6, max(3.1, 1.5 + 0.17 * len(lines))))
        figure.subplots_adjust(left=0.13, right=0.64, top=0.96, bottom=0.16)
        ax = axes(figure, grid="y")
        _eps_axis(ax, radii, highest, kind, lines[0].norm)
        shift = 0.006 * (highest if radii[-1] / radii[0] <= _WIDE else 0)
        if clean is not None:
            _point(ax, 0.0, clean, "clean_accuracy", INK, "D")
        ends, labels = [], []
        for place, line in enumerate(lines):
            colour = PALETTE[attacks.index(line.name.split(",")[0]) % len(PALETTE)]
            x = [cell["eps"] + shift * (place - (len(lines) - 1) / 2) for cell in line.cells]
            y = [100 * cell["robust_accuracy"] for cell in line.cells]
            if clean is not None:
                x, y = [0.0, *x], [100 * clean["clean_accuracy"], *y]
            ax.plot(x, y, color=colour, linestyle=_DASHES.get(line.threat, "solid"), zorder=3)
            for at, cell in zip(x[-len(line.cells) :], line.cells, strict=True):
                _point(ax, at, cell, "robust_accuracy", colour, "o")
            ends.append((x[-1], y[-1], colour))
            labels.append(shorten(line.name.replace(", white-box", ""), 27))
        if constant is not None:
            ax.axhline(100 * constant.share, color=MUTED, linewidth=0.8, linestyle=(0, (5, 3)), zorder=1)
            ends.append((highest, 100 * constant.share, MUTED))
            labels.append(shorten(f"always {constant.label!r}", 27))
        gap = 100 / max(14.0, 5.6 * (figure.get_size_inches()[1] - 0.6))
        heights = spread([y for _, y, _ in ends], gap, 0.0, 100.0)
        for (x_end, y_end, colour), height, label in zip(ends, heights, labels, strict=True):
            at = ax.transData.transform((x_end, y_end))
            foot = ax.transAxes.inverted().transform(at)
            ax.plot(
                [foot[0], 1.03],
                [y_end / 104 + 2 / 104, (height + 2) / 104],
                transform=ax.transAxes,
                color=colour,
                linewidth=0.6,
                alpha=0.6,
                clip_on=False,
            )
            ax.text(1.045, (height + 2) / 104, label, transform=ax.transAxes, color=colour, va="center", size=8.5)
        facts = [
            f"{line.name}: "
            + ", ".join(
                f"{words.percent(c['robust_accuracy'])} at eps {words.epsilon(c['eps'], kind)}" for c in line.cells
            )
            for line in lines
        ]
        start = f"Clean {words.percent(clean['clean_accuracy'])}. " if clean else ""
        start += f"{str(constant).capitalize()}. " if constant is not None else ""
        return inline(figure, key, f"Robust accuracy against eps. {start}{'; '.join(facts)}.")


def _eps_axis(ax: Axes, radii: Sequence[float], highest: float, kind: str, norm: str) -> None:
    linear = radii[-1] / radii[0] <= _WIDE
    if not linear:
        ax.set_xscale("symlog", linthresh=radii[0], linscale=0.6)
    ax.set_xlim(-0.03 * highest if linear else -0.25 * radii[0], highest * (1.03 if linear else 1.15))
    ax.set_ylim(-2, 102)
    ax.set_yticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100%"])
    ticks: list[float] = []
    for value in [*sorted(radii, reverse=True), 0.0]:
        place = ax.transData.transform((value, 0))[0]
        if value == 0.0 or all(abs(place - ax.transData.transform((tick, 0))[0]) > 34 for tick in ticks):
            ticks.append(value)
    if len(ticks) > 2 and abs(ax.transData.transform((ticks[-2], 0))[0] - ax.transData.transform((0, 0))[0]) < 34:
        ticks.pop(-2)
    ax.set_xticks(ticks, [words.epsilon(value, kind) if value else "clean" for value in ticks])
    ax.set_xticks([], minor=True)
    ax.set_xlabel(f"eps ({words.norm(norm or None)})")
    ax.tick_params(length=3)
    ax.axhline(0, color=MUTED, linewidth=0.8, zorder=1)


def _point(ax: Axes, x: float, cell: Record, rate: str, colour: str, marker: str) -> None:
    low, high = cell.get(f"{rate}_low"), cell.get(f"{rate}_high")
    if low is not None and high is not None:
        ax.plot([x, x], [100 * low, 100 * high], color=colour, linewidth=1.0, alpha=0.8, zorder=2)
    ax.plot([x], [100 * cell[rate]], marker=marker, markersize=4.5, color=colour, linestyle="none", zorder=4)
