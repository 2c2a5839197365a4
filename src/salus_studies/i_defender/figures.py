"""Figures of the I-defender page, as PNG, from stored results alone."""

from __future__ import annotations

from functools import partial

from matplotlib.figure import Figure

from salus.figures.style import INK, MUTED, PALETTE, RULE, style
from salus.metrics.wording import present
from salus_studies.frame.markdown import Record, done, find
from salus_studies.frame.page import Picture
from salus_studies.frame.png import png
from salus_studies.i_defender.published import BLACK_BOX, EPSILONS
from salus_studies.i_defender.tables import attack_title, black_box, chosen


def draw(results: Record) -> dict[str, Picture]:
    """List every figure for which there is something stored, by name."""
    pictures: dict[str, Picture] = {}
    for data, paper in BLACK_BOX.items():
        by_strength = [black_box(results, data, f"fgsm-{eps:g}") for eps in EPSILONS]
        of_kinds = [black_box(results, data, name) for name in ("fgsm-0.3", "iter-linf", "iter-l2", "deepfool")]
        for figure, records in zip(paper.figures, (by_strength, of_kinds), strict=True):
            curves = [record for record in records if record is not None and done(record) and record.get("roc")]
            if curves:
                pictures[f"figure-{figure}"] = Picture(partial(roc_picture, curves))
        judged = [record for record in by_strength if record is not None and done(record)]
        if judged:
            pictures[f"layers-{data}"] = Picture(partial(layers_picture, judged, data))
    return pictures


def roc_picture(records: list[Record]) -> bytes:
    """Draw the chosen I-defender's ROC over all attacked images, a curve for each attack."""
    with style(**{"savefig.transparent": False}):
        figure = Figure(figsize=(5.6, 4.2), layout="constrained")
        ax = figure.add_subplot()
        ax.grid(zorder=0)
        ax.set_axisbelow(True)
        ax.plot([0, 1], [0, 1], color=RULE, linewidth=1.0)
        for record, colour in zip(records, PALETTE, strict=False):
            own = chosen(record)
            area = own["auc"] if own is not None else None
            label = attack_title(record) + (f": AUC {area:.3f}" if present(area) else "")
            ax.plot(record["roc"]["fpr"], record["roc"]["tpr"], color=colour, label=label)
        ax.set_xlim(-0.01, 1.01)
        ax.set_ylim(-0.01, 1.01)
        ax.set_xlabel("false alarms, share of clean images rejected")
        ax.set_ylabel("share of attacked images rejected")
        ax.tick_params(length=3, color=MUTED)
        ax.legend(loc="lower right", frameon=False)
        return png(figure)


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
            mark = " (chosen)" if one["key"] == records[0]["chosen"] else ""
            gaussians = f"{one['components']}, {one['covariance']}, {one['kept']} components"
            ax.plot(
                sizes,
                areas,
                "s--" if fixed else "o-",
                color=colours[one["layer"]],
                markersize=4.5,
                linewidth=2.4 if mark else 1.3,
                label=f"{one['title']}: {gaussians}{mark}",
            )
        ax.set_xticks(sizes)
        ax.set_xlabel("eps of FGSM")
        ax.set_ylabel("AUC, all attacked images")
        ax.tick_params(length=3, color=MUTED)
        figure.legend(loc="outside right center", frameon=False, fontsize=7.5)
        return png(figure)
