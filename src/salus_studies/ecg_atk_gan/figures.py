"""Figures of the ECG-ATK-GAN page, as PNG, from stored results alone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from salus.figures.style import BLUE, INK, MUTED, PALETTE, RULE, VERMILION, style
from salus.metrics.wording import present
from salus_studies.ecg_atk_gan.naming import COLUMNS, NAMES, SPLITS, attack_name, column_name, trained_name
from salus_studies.ecg_atk_gan.published import ARCHITECTURES, FOUR, SIX, classification, six_row
from salus_studies.ecg_atk_gan.tables import cell_of, printed_row
from salus_studies.ecg_atk_gan.tables_honest import bare
from salus_studies.frame.markdown import Record, done
from salus_studies.frame.page import Picture
from salus_studies.frame.png import png


def draw(results: Record, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Picture]:
    """List every figure for which there is something stored, by name."""
    pictures: dict[str, Picture] = {}
    for split in SPLITS:
        if any(row.get("split") == split and done(row) for row in results.get("cells") or ()):
            pictures[f"accuracy-{split}"] = Picture(partial(accuracy_picture, results, split))
    overlays = results.get("overlays")
    for name, other, words in (
        ("attacked", "overlay_attacked", ("clean", "attacked")),
        ("generated", "overlay_generated", ("original", "generated")),
    ):
        if overlays and "overlay_clean" in arrays and other in arrays:
            pictures[name] = Picture(partial(overlay_picture, arrays["overlay_clean"], arrays[other], overlays, words))
    for split in SPLITS:
        if any(done(row) for row in bare(results, split)):
            pictures[f"robust-{split}"] = Picture(partial(robust_picture, results, split))
    return pictures


def accuracy_picture(results: Record, split: str) -> bytes:
    """Draw Table 1: accuracy as the papers count it, theirs and ours, a panel for each attack."""
    with style(**{"savefig.transparent": False}):
        figure = Figure(figsize=(11, 4.4), layout="constrained")
        panels = figure.subplots(2, 4, sharex=True, sharey=True).ravel()
        for ax, (column, attack) in zip(panels, COLUMNS.items(), strict=False):
            ax.set_title(column_name(column))
            ax.grid(axis="x")
            ax.set_axisbelow(True)
            for height, architecture in enumerate(ARCHITECTURES):
                four, six = classification(FOUR, attack, architecture), six_row(attack, architecture)
                shown = [
                    (cell, face)
                    for paper, face in ((FOUR, "none"), (SIX, VERMILION))
                    if printed_row(paper, column, architecture) is not None
                    and (paper == SIX or architecture == "proposed")
                    and (cell := cell_of(results, split, column, architecture, paper)) is not None
                    and done(cell)
                ]
                for cell, face in shown:
                    ours = 100 * cell["paper_accuracy"]
                    ax.plot([six.accuracy, ours], [height, height], color=RULE, linewidth=4, zorder=1)
                    ax.plot(ours, height, "D", color=VERMILION, markerfacecolor=face, markersize=6, zorder=4)
                if not shown:
                    aside, side = (1.2, "left") if six.accuracy < 85 else (-1.2, "right")
                    ax.text(six.accuracy + aside, height, "not run", color=MUTED, va="center", ha=side, fontsize=7.5)
                if four is not None:
                    ax.plot(four.accuracy, height, "o", color=INK, markersize=9, markerfacecolor="none", zorder=2)
                ax.plot(six.accuracy, height, "o", color=BLUE, markersize=5.5, zorder=3)
            ax.set_yticks(range(len(ARCHITECTURES)), NAMES.values())
            ax.set_ylim(len(ARCHITECTURES) - 0.5, -0.5)
            ax.tick_params(axis="y", length=0)
            ax.tick_params(axis="x", labelbottom=True, labelsize=8)
        figure.supxlabel("accuracy as the papers count it, %", fontsize=9)
        low, high = panels[0].get_xlim()
        panels[0].set_xlim(low, min(high, 101))
        legend = panels[7]
        legend.set_axis_off()
        for height, (mark, colour, face, words) in enumerate(
            (
                ("o", INK, "none", "four-attack paper"),
                ("o", BLUE, BLUE, "six-attack paper"),
                ("D", VERMILION, "none", "ours, four-attack preset"),
                ("D", VERMILION, VERMILION, f"ours, split {SPLITS[split]}"),
            )
        ):
            y = 0.8 - 0.18 * height
            legend.plot(0.08, y, mark, color=colour, markerfacecolor=face, markersize=7, transform=legend.transAxes)
            legend.text(0.16, y, words, transform=legend.transAxes, va="center")
        return png(figure)


def overlay_picture(beats: NDArray[Any], others: NDArray[Any], overlays: Record, words: tuple[str, str]) -> bytes:
    """Draw beats ``[A, K, L]`` in red under others in blue, as the papers' figures do: a row for each attack."""
    attacks, classes = list(overlays["attacks"]), list(overlays["classes"])
    with style(**{"savefig.transparent": False}):
        figure = Figure(figsize=(2.5 * len(classes), 0.5 + 1.3 * len(attacks)), layout="constrained")
        panels = figure.subplots(len(attacks), len(classes), sharex=True, sharey=True, squeeze=False)
        for row, (attack, line) in enumerate(zip(attacks, panels, strict=True)):
            for column, (name, ax) in enumerate(zip(classes, line, strict=True)):
                _overlay(ax, beats[row, column].ravel(), others[row, column].ravel())
                if row == 0:
                    ax.set_title(name)
                if column == 0:
                    ax.set_ylabel(column_name(attack))
        handles = panels[0, 0].get_lines()[:2]
        figure.legend(handles, words, loc="outside lower center", ncols=2, frameon=False)
        return png(figure)


def _overlay(ax: Axes, beat: NDArray[Any], other: NDArray[Any]) -> None:
    ax.plot(beat, color="#e41a1c", linewidth=2.4, alpha=0.75)
    ax.plot(other, color="#1f4fe0", linewidth=0.9)
    ax.set_yticks([0, 0.5, 1])
    ax.tick_params(length=3, color=MUTED, labelsize=7.5)
    if not (np.isfinite(beat).any() and np.isfinite(other).any()):
        ax.text(0.5, 0.5, "not run", transform=ax.transAxes, ha="center", color=MUTED)


def robust_picture(results: Record, split: str) -> bytes:
    """Draw honest robust accuracy with its interval: a panel for each architecture, a line for each attack."""
    rows = [row for row in bare(results, split) if done(row)]
    attacks = list(dict.fromkeys(_label(row) for row in sorted(rows, key=lambda row: row.get("attack") is not None)))
    trained = [name for name in COLUMNS if any(row["trained_on"] == name for row in rows)]
    shown = {(_label(row), row["trained_on"]) for row in rows}
    colours = dict(zip(trained, PALETTE, strict=False))
    with style(**{"savefig.transparent": False}):
        figure = Figure(figsize=(11, 1.15 + 0.42 * len(attacks)), layout="constrained")
        panels = figure.subplots(1, len(ARCHITECTURES), sharex=True, sharey=True)
        for ax, architecture in zip(panels, ARCHITECTURES, strict=True):
            ax.set_title(NAMES[architecture])
            ax.grid(axis="x")
            ax.set_axisbelow(True)
            of = [row for row in rows if row["architecture"] == architecture]
            if not of:
                ax.text(0.5, 0.5, "not run", transform=ax.transAxes, ha="center", color=MUTED)
            for row in of:
                rate = "clean_accuracy" if row.get("attack") is None else "robust_accuracy"
                value, low, high = (row.get(f"{rate}{end}") for end in ("", "_low", "_high"))
                if value is None:
                    continue
                beside = [name for name in trained if (_label(row), name) in shown]
                spread = 0.5 * (beside.index(row["trained_on"]) + 0.5) / len(beside) - 0.25
                height, colour = attacks.index(_label(row)) + spread, colours[row["trained_on"]]
                if present(low) and present(high):
                    ax.plot([100 * low, 100 * high], [height, height], color=colour, linewidth=1.2)
                ax.plot(100 * value, height, "o", color=colour, markersize=4.5, clip_on=False)
            ax.set_yticks(range(len(attacks)), attacks)
            ax.set_ylim(len(attacks) - 0.5, -0.5)
            ax.set_xlim(-2, 102)
            ax.set_xticks([0, 25, 50, 75, 100])
            ax.tick_params(axis="x", labelsize=8)
            ax.set_xlabel("robust accuracy, %")
            ax.tick_params(axis="y", length=0)
        words = [f"trained on {trained_name(name)}" for name in trained]
        handles = [panels[0].plot([], [], "o", color=colours[name])[0] for name in trained]
        figure.legend(handles, words, loc="outside lower center", ncols=4, frameon=False)
        return png(figure)


def _label(row: Record) -> str:
    return attack_name(row) + (f", eps {row['eps']:g}" if present(row.get("eps")) else "")
