"""Detector curves: false alarms against attacks caught."""

from __future__ import annotations

from markupsafe import Markup
from matplotlib.figure import Figure

from salus.figures.style import BLUE, INK, MUTED, PINK, RULE, VERMILION, axes, inline, style
from salus.report import words
from salus.report.run_folder import Record
from salus.threats import threat_named


def roc_curve(cell: Record, *, key: str, kind: str) -> Markup:
    """Draw a cell's ROC over all attacked inputs and over those that fooled, and where the guard stands."""
    curves = cell["roc"]
    passes = threat_named(cell["threat_model"]).stops_at_threshold
    with style():
        # A third curve leaves no room for words inside: they stand below.
        below = 0.85 if curves.get("driven") else 0.0
        tall = 3.1 + below
        figure = Figure(figsize=(3.3, tall))
        figure.subplots_adjust(left=0.2, right=0.94, top=1 - 0.124 / tall, bottom=(0.496 + below) / tall)
        ax = axes(figure, grid="both")
        ax.plot([0, 100], [0, 100], color=RULE, linewidth=1.0)
        facts, height = [], -0.26 if below else 0.34
        for name, label, colour, dashes in (
            ("fooled", "fooled, threshold passed" if passes else "fooled inputs", VERMILION, "solid"),
            ("driven", "fooled, score driven down", PINK, (0, (1.2, 1.2))),
            ("all", "all attacked", BLUE, (0, (4, 1.6))),
        ):
            curve = curves.get(name)
            if not curve:
                continue
            ax.plot(
                [100 * v for v in curve["fpr"]],
                [100 * v for v in curve["tpr"]],
                color=colour,
                linestyle=dashes,
            )
            area = cell.get({"fooled": "detection_auc"}.get(name, f"detection_auc_{name}"))
            words_of_area = "" if area is None else f", AUC {area:.3f}"
            ax.text(0.98, height, f"{label}{words_of_area}", color=colour, ha="right", transform=ax.transAxes)
            facts.append(f"{label}{words_of_area}")
            height -= 0.09
        point = curves.get("operating_point") or {}
        if point.get("fpr") is not None and point.get("tpr") is not None:
            ax.plot(
                [100 * point["fpr"]],
                [100 * point["tpr"]],
                marker="D",
                markersize=6.5,
                color=INK,
                linestyle="none",
                clip_on=False,
                zorder=5,
            )
            ax.text(0.98, height, "◆ as calibrated", color=INK, ha="right", transform=ax.transAxes)
            facts.append(
                f"as calibrated {words.percent(point['fpr'])} false alarms, {words.percent(point['tpr'])} caught"
            )
        ax.set_xlim(-1, 101)
        ax.set_ylim(-1, 101)
        ax.set_xticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100%"])
        ax.set_yticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100%"])
        ax.set_xlabel("false alarms on clean inputs")
        ax.set_ylabel("attacked inputs caught")
        ax.tick_params(length=3, color=MUTED)
        return inline(figure, key, f"ROC of {words.title(cell, kind)}: {'; '.join(facts)}.")
