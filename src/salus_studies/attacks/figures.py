"""The figures of docs/attacks.md: curves of robust accuracy over the size of change."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from salus_studies.attacks.measured import LIBRARIES, NORMS, OWN
from salus_studies.frame.markdown import Record
from salus_studies.frame.page import Picture
from salus_studies.frame.png import png

SALUS, PEER, BEST = "#c8102e", "#0072b2", "0.55"


def draw(results: Record) -> dict[str, Picture]:
    """List the figure of each model, by name."""
    pictures = {}
    for model in results["models"]:
        curves = [curve for curve in results["curves"] if curve["model"] == model["model"]]
        if curves:
            pictures[name(model["model"])] = Picture(partial(_png, model["title"], curves), [model["title"], curves])
    return pictures


def name(model: str) -> str:
    """Name the figure of a model."""
    return f"attacks-{model}"


def _png(title: str, curves: Sequence[Record]) -> bytes:
    with mpl.rc_context():
        mpl.rcdefaults()
        return png(draw_curves(title, curves), dpi=100)


def draw_curves(title: str, curves: Sequence[Record]) -> Figure:
    """Draw a panel for each norm: the best of all attacks, of Salus's and of the peers'."""
    figure = Figure(figsize=(3.2 * len(curves), 3.0))
    axes = figure.subplots(1, len(curves), squeeze=False)[0]
    for ax, curve in zip(axes, curves, strict=True):
        _panel(ax, curve)
    axes[0].set_ylabel("right after the attack, %", fontsize=8)
    figure.suptitle(title, fontsize=11)
    figure.tight_layout()
    return figure


def _panel(ax: Axes, curve: Record) -> None:
    for label, shares in curve["lines"].items():
        library, _, attack = label.partition(" ")
        best = label == "best of all"
        colour = BEST if best else SALUS if library == OWN else PEER
        words = label if best else f"{LIBRARIES[library]} {attack}"
        sizes = np.linspace(0, curve["end"], len(shares))
        style = {"linewidth": 3.0} if best else {"linewidth": 1.2, "linestyle": "-" if library == OWN else "--"}
        ax.plot(sizes, [100 * share for share in shares], color=colour, label=words, **style)
    ax.set_title(f"{NORMS[curve['norm']]}, {curve['budget']:,} passes", fontsize=9)
    ax.set_xlabel("size of the change", fontsize=8)
    ax.set_ylim(0, 102)
    ax.set_xlim(0, curve["end"])
    ax.tick_params(labelsize=7)
    ax.legend(fontsize=6.5, frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
