"""The figures of docs/attacks.md: what each attack reaches beside its peers, and in what time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from salus_studies.attacks.measured import (
    LIBRARIES,
    NORMS,
    TITLES,
    Result,
    datasets,
    median_distance,
    milliseconds,
    own_result,
    smallest_ball,
    success_rate,
    title,
)
from salus_studies.frame.markdown import Record
from salus_studies.frame.page import Picture
from salus_studies.frame.png import png

COLOURS = {
    "salus": "#c8102e",
    "adv-lib": "#0072b2",
    "adversarial-robustness-toolbox": "#e69f00",
    "foolbox": "#009e73",
    "pyautoattack": "#56b4e9",
    "torchattacks": "#7f5fa8",
}


def draw(results: Record) -> dict[str, Picture]:
    """List the figure of each data set, by name."""
    pictures = {}
    for data in datasets(results):
        records = smallest_ball(results, data)
        if records:
            pictures[name(data)] = Picture(partial(_png, data, records), [records, COLOURS])
    return pictures


def name(data: str) -> str:
    """Name the figure of a data set."""
    return "attacks" if data == "beats" else f"attacks-{data}"


def _png(data: str, records: Sequence[Record]) -> bytes:
    with mpl.rc_context():
        mpl.rcdefaults()
        return png(draw_benchmark(data, records))


def draw_benchmark(data: str, records: Sequence[Record]) -> Figure:
    """Draw success or distance over time, a panel for each attack."""
    columns = min(4, len(records))
    rows = -(-len(records) // columns)
    height = 2.6 * rows + 0.8
    figure = Figure(figsize=(3.3 * columns, height))
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat[len(records) :]:
        ax.set_visible(False)
    for ax, record in zip(axes.flat, records, strict=False):
        own = own_result(record)
        if own is not None:
            draw_panel(ax, record, own)
    drawn = {result["library"] for record in records for result in record["results"]}
    libraries = [library for library in LIBRARIES if library in drawn]
    marks = [Line2D([], [], linestyle="", color=COLOURS[library], marker=_marker(library)) for library in libraries]
    labels = [LIBRARIES[library] for library in libraries]
    figure.legend(marks, labels, loc="lower center", ncols=len(libraries), frameon=False)
    figure.suptitle(f"{TITLES[data]}: what each attack reaches, and in what time", fontsize=12)
    figure.supxlabel("time a sample over Salus's (further left is faster)", fontsize=10, y=0.4 / height)
    figure.tight_layout(rect=(0, 0.6 / height, 1, 1 - 0.1 / height))
    return figure


def draw_panel(ax: Axes, record: Record, own: Result) -> None:
    """Draw one attack; times, and distances where they count, over those of Salus."""
    nearest = record["goal"] == "nearest"
    drawn = [result for result in record["results"] if not result["error"] and (success_rate(result) or not nearest)]
    heights = [_height(result, own, nearest) for result in drawn]
    for result, height in zip(drawn, heights, strict=True):
        library = result["library"]
        size, order = (60, 4) if library == "salus" else (40, 3)
        time = milliseconds(result) / milliseconds(own)
        colours: dict[str, Any] = {"color": COLOURS[library], "edgecolor": "white", "alpha": 0.9}
        ax.scatter(time, height, s=size, zorder=order, marker=_marker(library), **colours)
    ax.axvline(1, color="0.8", linewidth=1, zorder=1)
    ax.set_xscale("log")
    left, right = ax.get_xlim()
    ax.set_xlim(min(left, 0.3), max(right, 12))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    ax.xaxis.set_minor_formatter(lambda value, _: "")
    if nearest:
        ax.axhline(1, color="0.8", linewidth=1, zorder=1)
        ax.set_ylim(min(0.9, min(heights) - 0.1), max(1.2, 1.05 * max(heights)))
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}×")
        ax.set_ylabel(f"median {NORMS[record['norm']]}\n(lower is better)", fontsize=8)
    else:
        ax.set_ylim(max(-3, min(heights) - 15), 103)
        ax.set_ylabel("success %\n(higher is better)", fontsize=8)
    ax.set_title(title(record), fontsize=9)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)


def _height(result: Result, own: Result, nearest: bool) -> float:
    if not nearest:
        return 100 * success_rate(result)
    return median_distance(result) / median_distance(own, result["samples"])  # on the samples that the peer attacked


def _marker(library: str) -> str:
    return "D" if library == "salus" else "o"
