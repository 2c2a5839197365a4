"""Figures of the MultiMagNet page, as PNG, from stored results alone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from salus.figures.style import BLUE, GREEN, INK, MUTED, ORANGE, RULE, SKY, VERMILION, style
from salus.metrics.wording import present
from salus_studies.frame.markdown import Record, done, find
from salus_studies.frame.page import Picture
from salus_studies.frame.png import png
from salus_studies.multimagnet.attacked import ARMS
from salus_studies.multimagnet.judging import READINGS
from salus_studies.multimagnet.measured import comparable, data_name, row
from salus_studies.multimagnet.published import ATTACKS, DATASETS, DEFENCES, detection

_FIGURES = {"accuracy": "ACC", "ppv": "PPV (legitimate accepted)", "npv": "NPV (attacked rejected)"}


def draw(results: Record, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Picture]:
    """List every figure for which there is something stored, by name."""
    pictures: dict[str, Picture] = {}
    for dataset in DATASETS:
        if any(one.get("dataset") == dataset and done(one) for one in results.get("rows") or ()):
            pictures[f"detection-{dataset}"] = Picture(partial(detection_picture, results, dataset))
        if any(key.startswith(f"grid|{dataset}-") for key in arrays):
            pictures[f"grid-{dataset}"] = Picture(partial(grid_picture, results, arrays, dataset))
        if any(key.startswith(f"picture|{dataset}-") for key in arrays):
            pictures[f"images-{dataset}"] = Picture(partial(images_picture, results, arrays, dataset))
    return pictures


def detection_picture(results: Record, dataset: str) -> bytes:
    """Draw Table 2 or 3: ACC, PPV and NPV of both defences, the paper's and ours, with deviations over batches."""
    lines = [(attack, defence) for attack in ATTACKS for defence in DEFENCES]
    with style(**{"savefig.transparent": False}):
        figure = Figure(figsize=(11, 3.9), layout="constrained")
        panels = figure.subplots(1, 3, sharey=True)
        for ax, (name, title) in zip(panels, _FIGURES.items(), strict=True):
            ax.set_title(title)
            ax.grid(axis="x")
            ax.set_axisbelow(True)
            for height, (attack, defence) in enumerate(lines):
                printed = getattr(detection(dataset, defence, attack), name)
                _point(ax, printed.mean, printed.deviation, height - 0.17, BLUE, "o")
                configuration = READINGS["Table 4's settings"][defence]
                record = row(results, dataset, attack, comparable(results, dataset, attack), configuration)
                ours = (record or {}).get(name) or {}
                if record is not None and done(record) and present(ours.get("mean")):
                    _point(ax, 100 * ours["mean"], 100 * ours["batches"], height + 0.17, VERMILION, "D")
                else:
                    ax.text(1, height + 0.17, "not run", color=MUTED, va="center", fontsize=7.5)
            ax.set_xlim(0, 103)
            ax.set_xlabel("%")
        panels[0].set_yticks(
            range(len(lines)), [f"{DEFENCES[defence]}, {ATTACKS[attack]}" for attack, defence in lines]
        )
        panels[0].set_ylim(len(lines) - 0.5, -0.5)
        for ax in panels:
            ax.tick_params(axis="y", length=0)
            for height in range(2, len(lines), 2):
                ax.axhline(height - 0.5, color=RULE, linewidth=0.6)
        handles = [
            panels[0].plot([], [], mark, color=colour, markersize=5)[0]
            for mark, colour in (("o", BLUE), ("D", VERMILION))
        ]
        words = (
            "paper",
            f"ours, {data_name(results, dataset)}, by Table 4's settings, in the arm nearest to the paper",
        )
        figure.legend(handles, words, loc="outside lower center", ncols=2, frameon=False)
        return png(figure)


def _point(ax: Axes, mean: float, deviation: float, height: float, colour: str, mark: str) -> None:
    ends = [max(0.0, mean - deviation), min(100.0, mean + deviation)]
    ax.plot(ends, [height, height], color=colour, linewidth=1.2)
    ax.plot(mean, height, mark, color=colour, markersize=5, clip_on=False, zorder=3)


def grid_picture(results: Record, arrays: Mapping[str, NDArray[Any]], dataset: str) -> bytes:
    """Draw what every combination of the grid came to on validation images, and which were chosen."""
    with style(**{"savefig.transparent": False}):
        figure = Figure(figsize=(11, 3.5), layout="constrained")
        panels = figure.subplots(1, len(ATTACKS), sharex=True, sharey=True)
        for ax, (attack, title) in zip(panels, ATTACKS.items(), strict=True):
            arm = comparable(results, dataset, attack)
            ax.set_title(f"{title}, {ARMS[arm]}", fontsize=8.5)
            ax.grid()
            ax.set_axisbelow(True)
            ax.set_xlabel("legitimate rejected, %")
            scored = arrays.get(f"grid|{dataset}-{attack}-{arm}")
            if scored is None:
                ax.text(0.5, 0.5, "not run", transform=ax.transAxes, ha="center", color=MUTED)
            else:
                for divergence, colour in ((0, SKY), (1, ORANGE)):
                    part = scored[scored[:, 2] == divergence]
                    ax.plot(100 * (1 - part[:, 0]), 100 * part[:, 1], ".", color=colour, markersize=3.5, alpha=0.6)
            printed = detection(dataset, "multimagnet", attack)
            ax.plot(100 - printed.ppv.mean, printed.npv.mean, "o", color=BLUE, markersize=7, clip_on=False)
            for configuration, colour, mark in (
                ("table-4", INK, "^"),
                ("multimagnet", VERMILION, "D"),
                ("clean", GREEN, "s"),
            ):
                record = row(results, dataset, attack, arm, configuration)
                if record is not None and done(record):
                    place = 100 * (1 - record["ppv"]["mean"]), 100 * record["npv"]["mean"]
                    ax.plot(*place, mark, color=colour, markersize=6, clip_on=False, zorder=4)
        panels[0].set_ylabel("attacked rejected, %")
        panels[0].set_xlim(-2, 102)
        panels[0].set_ylim(-2, 102)
        marks = (
            (".", SKY, "grid, RE"),
            (".", ORANGE, "grid, JSD"),
            ("o", BLUE, "paper"),
            ("^", INK, "Table 4's settings"),
            ("D", VERMILION, "chosen for the attack"),
            ("s", GREEN, "chosen on clean images"),
        )
        handles = [panels[0].plot([], [], mark, color=colour, markersize=6)[0] for mark, colour, _ in marks]
        figure.legend(handles, [words for *_, words in marks], loc="outside lower center", ncols=6, frameon=False)
        return png(figure)


def images_picture(results: Record, arrays: Mapping[str, NDArray[Any]], dataset: str) -> bytes:
    """Draw images before and after each attack, the change itself, and what a reformer makes of them."""
    columns = [
        (attack, comparable(results, dataset, attack), number)
        for attack in ATTACKS
        for number in range(len(arrays.get(_key(results, dataset, attack, "clean"), ())))
    ]
    classes = (((results.get("meta") or {}).get("data") or {}).get(dataset) or {}).get("classes") or ()
    lines = ("clean", "attacked", "change", "reformed")
    with style(**{"savefig.transparent": False}):
        figure = Figure(figsize=(0.9 + 1.15 * len(columns), 5.4), layout="constrained")
        panels = figure.subplots(len(lines), len(columns), squeeze=False)
        for place, (attack, arm, number) in enumerate(columns):
            shown = {
                what: arrays[_key(results, dataset, attack, what)][number] for what in ("clean", "attacked", "reformed")
            }
            change = shown["attacked"] - shown["clean"]
            size = float(np.abs(change).max())
            shown["change"] = 0.5 + change / (2 * size) if size else np.full_like(change, 0.5)
            answers = dict(
                zip(
                    ("clean", "attacked", "reformed"),
                    arrays[_key(results, dataset, attack, "answers")][:, number],
                    strict=True,
                )
            )
            for height, what in enumerate(lines):
                ax = panels[height, place]
                _image(ax, shown[what])
                said = answers.get(what)
                words = f"largest {size:.2g}" if said is None else f"“{classes[said] if classes else said}”"
                ax.set_xlabel(words, fontsize=7.5, color=INK if said is None or said == answers["clean"] else VERMILION)
                if place == 0:
                    ax.set_ylabel(what)
            if number == 0:
                record = find(results.get("attacks"), dataset=dataset, attack=attack, arm=arm)
                eps = ((record or {}).get("parameters") or {}).get("eps")
                radius = f", eps {eps:.2g}" if present(eps) else ""
                panels[0, place].set_title(f"{ATTACKS[attack]}{radius}", fontsize=8.5)
        return png(figure)


def _key(results: Record, dataset: str, attack: str, what: str) -> str:
    return f"picture|{dataset}-{attack}-{comparable(results, dataset, attack)}|{what}"


def _image(ax: Axes, image: NDArray[Any]) -> None:
    values = image.transpose(1, 2, 0).clip(0, 1)
    if values.shape[2] == 1:
        ax.imshow(values[..., 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    else:
        ax.imshow(values, interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
