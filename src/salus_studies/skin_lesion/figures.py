"""Figures of the skin-lesion page, as PNG, from stored results alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from salus.figures.style import BLUE, GREEN, INK, MUTED, ORANGE, VERMILION
from salus.metrics.wording import present
from salus_studies.frame.markdown import Record, done, find
from salus_studies.frame.page import Picture
from salus_studies.frame.png import png
from salus_studies.skin_lesion import figures_more, measured
from salus_studies.skin_lesion.cells import KNOWS
from salus_studies.skin_lesion.measured import printed, title, value
from salus_studies.skin_lesion.paper import paper
from salus_studies.skin_lesion.published import NETWORKS

Arrays = Mapping[str, NDArray[Any]]

#: The stages of the thesis's recap curves: words, attack or none, defence.
_STAGES = (
    ("no attack", False, "none"),
    ("attacked", True, "none"),
    ("retrained", True, "retraining"),
    ("WebP + flip", True, "low-level"),
    ("both", True, "both"),
)
_LINES = {
    "seven classes": {
        "accuracy": ("accuracy", BLUE),
        "recall": ("recall", ORANGE),
        "specificity": ("specificity", GREEN),
    },
    "cancerous or not, the thesis's map": {
        "health_accuracy": ("accuracy", BLUE),
        "health_sensitivity": ("sensitivity", ORANGE),
        "npv": ("NPV", GREEN),
    },
}
_PICTURES = {"fgsm": "FGSM", "uap": "UAP", "pgd-harm": "PGD, harm"}


def draw(results: Record, arrays: Arrays) -> dict[str, Picture]:
    """List every figure for which there is something stored, by name."""
    pictures: dict[str, Picture] = {}
    if any(done(record) for record in results.get("cells") or ()):
        for attack in ("fgsm", "uap"):
            pictures[f"recap-{attack}"] = Picture(partial(recap_picture, results, attack))
    if any(name.startswith("picture|") for name in arrays):
        pictures["lesions"] = Picture(partial(lesions_picture, results, arrays))
    if any(name.startswith("perturbation|") for name in arrays):
        pictures["perturbation"] = Picture(partial(perturbation_picture, results, arrays))
    records = [record for record in results.get("thresholds") or () if done(record)]
    if records:
        pictures["thresholds"] = Picture(partial(thresholds_picture, records))
    return pictures | figures_more.draw(results)


def recap_picture(results: Record, attack: str) -> bytes:
    """Draw Figure 5.1 or 5.2: the figures from stage to stage, the thesis's and ours."""
    look = measured.ours(results)
    with paper((10.5, 6.4)) as figure:
        panels = figure.subplots(len(NETWORKS), len(_LINES), sharex=True, sharey=True)
        for row, network in zip(panels, NETWORKS, strict=True):
            for ax, (words, lines) in zip(row, _LINES.items(), strict=True):
                ax.set_title(f"{title(results, network)}: {words}", fontsize=9)
                ax.grid(axis="y")
                ax.set_axisbelow(True)
                for figure_name, (called, colour) in lines.items():
                    stages = [(attack if hit else "none", defence) for _, hit, defence in _STAGES]
                    for source, dash, mark in ((printed, "--", "o"), (look, "-", "D")):
                        values = [source(network, *stage, figure_name) for stage in stages]
                        _line(ax, values, colour, dash, mark, called if source is look else None)
                    if figure_name in ("accuracy", "health_accuracy"):
                        _known(ax, results, network, attack, figure_name)
                ax.set_xticks(range(len(_STAGES)), [words for words, *_ in _STAGES])
                ax.set_ylim(-3, 103)
                ax.set_ylabel("%")
        for column in panels.T:
            column[0].legend(loc="lower right", frameon=False, fontsize=8)
        handles = [
            panels[0, 0].plot([], [], dash, marker=mark, color=colour, markersize=5)[0]
            for dash, mark, colour in (("--", "o", MUTED), ("-", "D", MUTED), ("None", "X", VERMILION))
        ]
        names = ("thesis", "ours, counted as in the thesis", "ours, accuracy under the attacker who knows the defence")
        figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False)
        return png(figure)


def _line(ax: Axes, values: list[float | None], colour: str, dash: str, mark: str, label: str | None) -> None:
    shown = [np.nan if each is None else each for each in values]
    ax.plot(shown, dash, marker=mark, markersize=4.5, color=colour, label=label, clip_on=False)


def _known(ax: Axes, results: Record, network: str, attack: str, figure_name: str) -> None:
    for place, (_, hit, defence) in enumerate(_STAGES):
        if not hit or defence == "none":
            continue
        share = value(measured.cell(results, network, attack, defence, attacker=KNOWS), figure_name)
        if present(share):
            ax.plot(place, 100 * share, "X", color=VERMILION, markersize=7, clip_on=False, zorder=4)


def lesions_picture(results: Record, arrays: Arrays) -> bytes:
    """Draw lesions before and after each attack, and the change, with what the plain classifier says."""
    classes = (results.get("meta") or {}).get("classes") or ()
    columns = [
        (network, attack, number)
        for network in NETWORKS
        for attack in _PICTURES
        for number in range(min(2, len(arrays.get(f"picture|{network}-{attack}|clean", ()))))
    ]
    rows = ("clean", "attacked", "change")
    with paper((0.7 + 1.25 * max(len(columns), 1), 4.6)) as figure:
        panels = figure.subplots(len(rows), max(len(columns), 1), squeeze=False)
        for place, (network, attack, number) in enumerate(columns):
            images = {
                name: arrays[f"picture|{network}-{attack}|{name}"][number]
                for name in ("clean", "attacked", "y", "before", "after")
            }
            change = images["attacked"] - images["clean"]
            size = float(np.abs(change).max()) or 1.0
            shown = {"clean": images["clean"], "attacked": images["attacked"], "change": 0.5 + change / (2 * size)}
            words = {
                "clean": f"{classes[int(images['before'])]}",
                "attacked": f"{classes[int(images['after'])]}",
                "change": f"largest {255 * size:.0f}/255",
            }
            for height, name in enumerate(rows):
                ax = panels[height, place]
                ax.imshow(shown[name].transpose(1, 2, 0).clip(0, 1), interpolation="nearest")
                wrong = name == "attacked" and int(images["after"]) != int(images["y"])
                ax.set_xlabel(words[name], fontsize=8, color=VERMILION if wrong else INK)
                ax.set_xticks([])
                ax.set_yticks([])
                ax.spines[:].set_visible(False)
                if place == 0:
                    ax.set_ylabel(name)
            if number == 0:
                short = title(results, network).split(" for ")[0]
                panels[0, place].set_title(f"{short},\n{_PICTURES[attack]}", fontsize=8)
        return png(figure)


def perturbation_picture(results: Record, arrays: Arrays) -> bytes:
    """Draw the universal perturbation of each network, its channels as colours."""
    networks = [network for network in NETWORKS if f"perturbation|{network}" in arrays]
    with paper((3.1 * len(networks), 3.4)) as figure:
        for ax, network in zip(np.atleast_1d(figure.subplots(1, len(networks))), networks, strict=True):
            delta = arrays[f"perturbation|{network}"]
            size = float(np.abs(delta).max()) or 1.0
            ax.imshow((0.5 + delta / (2 * size)).transpose(1, 2, 0).clip(0, 1), interpolation="nearest")
            record = find(results.get("sweep"), network=network, chosen=True)
            share = "" if record is None else f"\nchanges {100 * record['fooling_rate']:.0f}% of the answers"
            ax.set_title(f"{title(results, network)}, eps {255 * size:.0f}/255{share}", fontsize=8.5)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_visible(False)
        return png(figure)


def thresholds_picture(records: Sequence[Record]) -> bytes:
    """Draw what the hardened and the plain model miss at each threshold, clean and attacked."""
    with paper((5.6, 4.0)) as figure:
        ax = figure.subplots()
        most = 10.0
        for record in records:
            clean, attacked = ([100 * (row[name] or 0.0) for row in record["rows"]] for name in ("fnr", "fnr_attacked"))
            most = max(most, *clean)
            dash, colour = ("-D", VERMILION) if record["model"] == "hardened" else ("--s", BLUE)
            ax.plot(clean, attacked, dash, color=colour, markersize=5, label=f"{record['model']} model")
        ax.plot([0, most], [0, 2 * most], "--", color=MUTED, label="twice the clean rate")
        ax.plot([0, most], [0, most], ":", color=MUTED, label="the clean rate")
        ax.set_xlabel("malignant lesions missed, clean, %")
        ax.set_ylabel("missed under attack, %")
        ax.grid()
        ax.set_axisbelow(True)
        ax.legend(frameon=False)
        return png(figure)
