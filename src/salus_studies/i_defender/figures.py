"""Figures of the I-defender page, as PNG, from stored results alone."""

from __future__ import annotations

from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from salus.figures.style import INK, MUTED, PALETTE, RULE, style
from salus.metrics.wording import present
from salus_studies.frame.markdown import Record, done, find
from salus_studies.frame.page import Picture
from salus_studies.frame.png import png
from salus_studies.i_defender.choice import BLENDS
from salus_studies.i_defender.published import BLACK_BOX, EPSILONS
from salus_studies.i_defender.tables import RULE_NAMES, attack_title, black_box, chosen


def draw(results: Record) -> dict[str, Picture]:
    """List every figure for which there is something stored, by name."""
    pictures: dict[str, Picture] = {}
    for data, paper in BLACK_BOX.items():
        by_strength = [black_box(results, data, f"fgsm-{eps:g}") for eps in EPSILONS]
        of_kinds = [black_box(results, data, name) for name in ("fgsm-0.3", "iter-linf", "iter-l2", "deepfool")]
        for figure, records in zip(paper.figures, (by_strength, of_kinds), strict=True):
            curves = [record for record in records if record is not None and done(record)]
            if curves:
                pictures[f"figure-{figure}"] = Picture(partial(roc_picture, curves))
        judged = [record for record in by_strength if record is not None and done(record)]
        if judged:
            pictures[f"layers-{data}"] = Picture(partial(layers_picture, judged, data))
    for record in results.get("figure_1") or ():
        if done(record):
            pictures[f"figure-1-{record['data']}"] = Picture(partial(states_picture, record))
    return pictures


def roc_picture(records: list[Record]) -> bytes:
    """Draw I-defender's ROC over all attacked images, a panel for each rule, a curve for each attack."""
    with style(**{"savefig.transparent": False}):
        figure = Figure(figsize=(11.4, 4.1), layout="constrained")
        panels = figure.subplots(1, len(RULE_NAMES), sharey=True)
        for ax, (rule, words) in zip(panels, RULE_NAMES.items(), strict=True):
            ax.grid(zorder=0)
            ax.set_axisbelow(True)
            ax.plot([0, 1], [0, 1], color=RULE, linewidth=1.0)
            for record, colour in zip(records, PALETTE, strict=False):
                own, curve = chosen(record, rule), record["roc"][rule]
                area = own["auc"] if own is not None else None
                label = attack_title(record) + (f": AUC {area:.3f}" if present(area) else "")
                if curve is not None:
                    ax.plot(curve["fpr"], curve["tpr"], color=colour, label=label)
            ax.set_title(words, fontsize=9)
            ax.set_xlim(-0.01, 1.01)
            ax.set_ylim(-0.01, 1.01)
            ax.set_xlabel("false alarms, share of clean images rejected")
            ax.tick_params(length=3, color=MUTED)
            ax.legend(loc="lower right", frameon=False, fontsize=7.5)
        panels[0].set_ylabel("share of attacked images rejected")
        return png(figure)


def states_picture(record: Record) -> bytes:
    """Draw hidden states of two classes, and of one class beside attacked images that are taken for it."""
    with style(**{"savefig.transparent": False}):
        figure = Figure(figsize=(9.6, 4.3), layout="constrained")
        left, right = figure.subplots(1, 2)
        clouds = [
            (left, f"class {name}", points, colour)
            for name, points, colour in zip(record["classes"], record["clean"], PALETTE, strict=False)
        ]
        taken = record["taken_for"]
        clouds += [
            (right, f"class {taken}, clean", record["own"], PALETTE[2]),
            (right, f"attacked, taken for {taken}", record["attacked"], PALETTE[3]),
        ]
        for ax, label, points, colour in clouds:
            if points:
                ax.scatter(*zip(*points, strict=True), s=9, color=colour, alpha=0.65, linewidths=0, label=label)
        for gaussians, colour in zip(record["mixtures"], PALETTE, strict=False):
            _levels(left, gaussians, colour)
        _levels(right, record["own_mixture"], PALETTE[2])
        for ax in (left, right):
            ax.set_xlabel("first principal component")
            ax.tick_params(length=3, color=MUTED)
            ax.legend(loc="best", frameon=False, fontsize=8)
        left.set_ylabel("second principal component")
        attack = attack_title({**record, "eps": float(f"{record['eps']:.3g}")})
        figure.suptitle(f"{record['title']}; attacked by {attack}", fontsize=9)
        return png(figure)


def _levels(ax: Axes, gaussians: list[Record], colour: str) -> None:
    """Draw where a mixture's density in the plane is 0.5, 0.1 and 0.01 of its highest."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    x, y = np.meshgrid(np.linspace(left, right, 160), np.linspace(low, high, 160))
    points = np.stack([x, y], -1)  # [160, 160, 2]
    density = np.zeros_like(x)
    for one in gaussians:
        covariance, apart = np.array(one["covariance"]), points - np.array(one["mean"])
        squared = np.einsum("...i,ij,...j->...", apart, np.linalg.inv(covariance), apart)
        density += one["weight"] * np.exp(-squared / 2) / np.sqrt(np.linalg.det(covariance))
    if density.max() > 0:
        ax.contour(x, y, density / density.max(), levels=[0.01, 0.1, 0.5], colors=[colour], linewidths=0.9)


def layers_picture(records: list[Record], data: str) -> bytes:
    """Draw AUC by eps, a line for each I-defender of the table of layers, the paper's among them."""
    sizes = [record["eps"] for record in records]
    paper = {line.eps: line.i_defender for line in BLACK_BOX[data].strengths}
    with style(**{"savefig.transparent": False}):
        figure = Figure(figsize=(9.4, 3.9), layout="constrained")
        ax = figure.add_subplot()
        ax.grid(axis="y")
        ax.set_axisbelow(True)
        ax.plot(sizes, [paper[eps] for eps in sizes], "o-", color=INK, linewidth=2.2, label="paper")
        layers = list(dict.fromkeys(one["layer"] for one in records[0]["detectors"]))
        colours = dict(zip(layers, PALETTE, strict=False))
        for one in records[0]["detectors"]:
            own = [find(record["detectors"], key=one["key"]) for record in records]
            areas = [
                detector["auc"] if detector is not None and present(detector["auc"]) else float("nan")
                for detector in own
            ]
            fixed = one["how"] == "fixed"
            rules = [RULE_NAMES[rule] for rule, key in records[0]["chosen"].items() if key == one["key"]]
            mark = f" (chosen: {rules[0]})" if rules else ""
            gaussians = f"{one['components']}, {one['covariance']}"
            ax.plot(
                sizes,
                areas,
                "s--" if fixed else "^:" if one["how"] == f"by {BLENDS}" else "o-",
                color=colours[one["layer"]],
                markersize=4.5,
                linewidth=2.4 if mark else 1.3,
                label=f"{one['title']}: {gaussians}, {one['how']}{mark}",
            )
        ax.set_xticks(sizes)
        ax.set_xlabel("eps of FGSM")
        ax.set_ylabel("AUC, all attacked images")
        ax.tick_params(length=3, color=MUTED)
        figure.legend(loc="outside right center", frameon=False, fontsize=7.5)
        return png(figure)
