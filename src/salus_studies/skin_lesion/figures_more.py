"""Figures of the thesis that draw counts and curves: classes, trainings, all confusion matrices, flips, eps of UAP."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from salus.figures.style import BLUE, GREEN, INK, MUTED, ORANGE, VERMILION
from salus_studies.frame.markdown import Record, done, find
from salus_studies.frame.page import Picture
from salus_studies.frame.png import png
from salus_studies.skin_lesion import published, tables, tables_poisoning
from salus_studies.skin_lesion.measured import commonest, title
from salus_studies.skin_lesion.paper import paper
from salus_studies.skin_lesion.published import NETWORKS


def draw(results: Record) -> dict[str, Picture]:
    """List every figure for which there is something stored, by name."""
    pictures: dict[str, Picture] = {}
    counts = (results.get("meta") or {}).get("counts")
    if counts:
        pictures["classes"] = Picture(partial(classes_picture, counts))
    trained = [record for record in results.get("classifiers") or () if done(record) and record.get("curve")]
    if any(record["model"] == "plain" for record in trained):
        pictures["training"] = Picture(partial(training_picture, results, trained))
    run = {record["network"] for record in results.get("cells") or () if done(record)}
    for network in NETWORKS:
        if network in run:
            pictures[f"confusion-{network}"] = Picture(partial(confusion_picture, results, network))
    if any(done(row) and row.get("way") == "features" for row in results.get("poisoning") or ()):
        pictures["poisoning"] = Picture(partial(poisoning_picture, results))
    if any(done(record) and record.get("answered") for record in results.get("sweep") or ()):
        pictures["uap-curve"] = Picture(partial(curve_picture, results))
    return pictures


def classes_picture(counts: Record) -> bytes:
    """Draw Figures 3.6, 3.7 and 4.5: images of each class, of each health map, and what flips make of two classes."""
    total = {name: sum(part[name] for part in counts.values()) for name in next(iter(counts.values()))}
    shares = (0.0, *published.POISONED)
    with paper((10.5, 3.3)) as figure:
        left, middle, right = figure.subplots(1, 3, width_ratios=(1.3, 1, 1.4))
        left.bar(range(len(total)), list(total.values()), color=BLUE)
        left.set_xticks(range(len(total)), list(total), fontsize=7)
        left.set_title("images of each class (Figure 3.6)", fontsize=9)
        for place, health_map in enumerate(tables.MAPS):
            ill = sum(total[name] for name in published.POSITIVE[health_map])
            middle.bar(place, ill, color=VERMILION, label="disease" if place == 0 else None)
            middle.bar(place, sum(total.values()) - ill, bottom=ill, color=GREEN, label="none" if place == 0 else None)
            middle.text(place, ill / 2, f"{ill / sum(total.values()):.0%}", ha="center", color="white")
        middle.set_xticks(range(len(tables.MAPS)), list(tables.MAPS.values()), fontsize=7)
        middle.set_title("disease by each map (Figure 3.7)", fontsize=9)
        middle.legend(frameon=False, fontsize=7)
        train = counts["train"]
        moved = [share * train[published.POISONED_SOURCE] for share in shares]
        right.plot(
            [100 * share for share in shares],
            [train[published.POISONED_SOURCE] - each for each in moved],
            "-o",
            color=BLUE,
            markersize=4,
            label="labelled NV",
        )
        right.plot(
            [100 * share for share in shares],
            [train[published.POISONED_TARGET] + each for each in moved],
            "-o",
            color=ORANGE,
            markersize=4,
            label="labelled BKL",
        )
        right.set_xlabel("NV labelled BKL, %")
        right.set_title("training labels after flips (Figure 4.5)", fontsize=9)
        right.legend(frameon=False, fontsize=7)
        for ax in (left, middle, right):
            ax.grid(axis="y")
            ax.set_axisbelow(True)
            ax.set_ylim(0)
        middle.set_ylim(0, 1.25 * sum(total.values()))  # room for the legend
        return png(figure)


def training_picture(results: Record, trained: Sequence[Record]) -> bytes:
    """Draw Figure 4.1: accuracy and loss of both plain classifiers, epoch by epoch."""
    with paper((10.5, 5.6)) as figure:
        panels = figure.subplots(len(NETWORKS), 2, squeeze=False)
        for row, network in zip(panels, NETWORKS, strict=True):
            record = find(trained, network=network, model="plain")
            for ax in row:
                ax.grid(axis="y")
                ax.set_xlabel("epoch")
            row[0].set_title(f"{title(results, network)}: on validation images", fontsize=9)
            row[1].set_title(f"{title(results, network)}: loss", fontsize=9)
            if record is None:
                row[0].text(0.5, 0.5, "not run", transform=row[0].transAxes, ha="center", color=MUTED)
                continue
            curve = np.array(record["curve"], dtype=float)
            epochs = np.arange(1, len(curve) + 1)
            row[0].plot(epochs, 100 * curve[:, 2], "-o", markersize=3, color=BLUE, label="accuracy")
            row[0].plot(epochs, 100 * curve[:, 3], "-o", markersize=3, color=ORANGE, label="macro recall")
            row[1].plot(epochs, curve[:, 0], "-o", markersize=3, color=MUTED, label="training")
            row[1].plot(epochs, curve[:, 1], "-o", markersize=3, color=VERMILION, label="validation")
            row[0].set_ylabel("%")
            for ax in row:
                ax.legend(frameon=False, fontsize=8)
        return png(figure)


def confusion_picture(results: Record, network: str) -> bytes:
    """Draw the confusion matrices of all experiments of one network, in percent of each true class."""
    classes = (results.get("meta") or {}).get("classes") or ()
    matrices = tables.confusions(results, network)
    with paper((13.0, 2.7 * -(-len(matrices) // 5))) as figure:
        panels = figure.subplots(-(-len(matrices) // 5), 5, squeeze=False).ravel()
        for ax in panels[len(matrices) :]:
            ax.set_axis_off()
        for ax, (words, matrix) in zip(panels, matrices, strict=False):
            ax.set_title(words.replace("adversarial ", ""), fontsize=8)
            _matrix(ax, matrix, classes)
        return png(figure)


def _matrix(ax: Axes, matrix: list[list[int]] | None, classes: Sequence[str]) -> None:
    if not matrix:
        ax.text(0.5, 0.5, "not run", transform=ax.transAxes, ha="center", color=MUTED)
        ax.set_axis_off()
        return
    counts = np.array(matrix, dtype=float)
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for i, line in enumerate(shares):
        for j, share in enumerate(line):
            ax.text(j, i, f"{share:.0f}", ha="center", va="center", fontsize=5.5, color="white" if share > 55 else INK)
    ax.set_xticks(range(len(classes)), classes, fontsize=5)
    ax.set_yticks(range(len(classes)), classes, fontsize=5)
    ax.tick_params(length=0)
    ax.set_xlabel("answer", fontsize=6)
    ax.set_ylabel("true class", fontsize=6)


def poisoning_picture(results: Record) -> bytes:
    """Draw Figure 4.6 over several draws: accuracy, recall, and the attack's own aim, with and without cleaning."""
    lines = {"accuracy": ("accuracy", BLUE), "macro_recall": ("recall", ORANGE), "aim": ("NV answered BKL", VERMILION)}
    networks = [name for name in NETWORKS if tables_poisoning.rows_of(results, network=name, way="features")]
    with paper((5.25 * len(networks), 3.8)) as figure:
        panels = figure.subplots(1, len(networks), sharey=True, squeeze=False)[0]
        for ax, network in zip(panels, networks, strict=True):
            for labels, dash in (("poisoned", "-o"), ("cleaned", "--s")):
                rows = tables_poisoning.rows_of(results, network=network, way="features", weighting="none")
                shown = [row for row in rows if row["labels"] == labels or row["labels"] == "right"]
                shares = sorted({row["share"] for row in shown})
                for figure_name, (words, colour) in lines.items():
                    drawn = [[row for row in shown if row["share"] == share] for share in shares]
                    spread = [[100 * (row[figure_name] or 0) for row in each] for each in drawn]
                    middle = [float(np.mean(each)) for each in spread]
                    label = f"{words}{', cleaned' if labels == 'cleaned' else ''}"
                    if spread:
                        x = [100 * share for share in shares]
                        ax.plot(x, middle, dash, color=colour, markersize=4, label=label)
                        low, high = [min(each) for each in spread], [max(each) for each in spread]
                        ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
            ax.set_title(f"{title(results, network)}, clean test images", fontsize=9)
            ax.set_xlabel("NV labelled BKL, %")
            ax.grid(axis="y")
            ax.set_ylim(0, 103)
        panels[0].set_ylabel("%")
        if panels[0].get_legend_handles_labels()[0]:
            figure.legend(
                *panels[0].get_legend_handles_labels(),
                loc="outside lower center",
                ncols=3 * len(networks),
                frameon=False,
            )
        return png(figure)


def curve_picture(results: Record) -> bytes:
    """Draw what universal perturbations of growing eps do, and the share of the commonest answers."""
    swept = [row for row in results.get("sweep") or () if done(row)]
    networks = [name for name in NETWORKS if any(row["network"] == name for row in swept)]
    with paper((5.25 * len(networks), 3.8)) as figure:
        panels = figure.subplots(1, len(networks), sharey=True, squeeze=False)[0]
        for ax, network in zip(panels, networks, strict=True):
            rows = [row for row in swept if row["network"] == network]
            x = [255 * row["eps"] for row in rows]
            for words, values, colour, dash in (
                ("answers changed", [row["fooling_rate"] for row in rows], MUTED, "-o"),
                ("accuracy", [row.get("accuracy") for row in rows], BLUE, "-o"),
                ("macro recall", [row.get("macro_recall") for row in rows], ORANGE, "-o"),
                ("malignant missed", [row.get("fnr") for row in rows], VERMILION, "-o"),
                ("commonest answer", [_commonest(row, 1) for row in rows], INK, "--"),
                ("commonest two", [_commonest(row, 2) for row in rows], INK, ":"),
            ):
                shown = [np.nan if each is None else 100 * each for each in values]
                ax.plot(x, shown, dash, color=colour, markersize=4, label=words)
            ax.set_title(title(results, network), fontsize=9)
            ax.set_xlabel("eps, of 255")
            ax.grid(axis="y")
            ax.set_ylim(0, 103)
        panels[0].set_ylabel("%")
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3 * len(networks), frameon=False
        )
        return png(figure)


def _commonest(row: Record, most: int) -> float | None:
    return commonest(row["answered"], most) if row.get("answered") else None
