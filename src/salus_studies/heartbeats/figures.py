"""The figures of docs/ecg.md, from stored results alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from salus.figures.style import BLUE, GREEN, INK, MUTED, ORANGE, RULE, VERMILION, VIOLET, style
from salus_studies.frame.markdown import Record
from salus_studies.frame.page import Picture
from salus_studies.frame.png import png
from salus_studies.heartbeats.goals import ON_VALIDATION
from salus_studies.heartbeats.measured import SPLITS, TOLD, curves, mean_f1

COLOURS = {"beats": BLUE, "patients": VERMILION}

#: Attacks in millivolts that a line joins, and how it is called.
FAMILIES = {
    "pgd": "PGD",
    "apgd-ce": "APGD, cross-entropy",
    "apgd-dlr": "APGD, ratio of logits",
    "square": "Square",
    "uap": "one waveform for all",
}

#: Changes when a figure is drawn otherwise.
_DRAWN = 1


def draw(results: Record) -> dict[str, Picture]:
    """List every figure for which there is something stored, by name."""
    pictures: dict[str, Picture] = {}
    lines = curves(results)
    if lines:
        pictures["ecg-curve"] = _picture(draw_curve, lines)
    if results.get("frontier"):
        pictures["ecg-frontier"] = _picture(draw_settings, results["frontier"])
    if volts := (results.get("patients") or {}).get("millivolts"):
        pictures["ecg-millivolts"] = _picture(draw_millivolts, volts, drawn=3)
    examples = results.get("examples") or {}
    for model in examples.get("attacked", {}):
        common = {key: examples[key] for key in ("attacks", "classes", "clean", "eps")}
        of_model = {key: examples[key][model] for key in ("attacked", "answers")}
        pictures[f"ecg-beats-{model}"] = _picture(draw_beats, common | of_model)
    return pictures


def _picture(drawing: Callable[[Any], Figure], source: Any, drawn: int = _DRAWN) -> Picture:
    return Picture(partial(_png, drawing, source), [source, drawn])


def _png(drawing: Callable[[Any], Figure], source: Any) -> bytes:
    with style(**{"savefig.transparent": False, "figure.facecolor": "white"}):
        return png(drawing(source), dpi=120)


def draw_curve(lines: Mapping[str, Sequence[Record]]) -> Figure:
    """Draw accuracy and macro-F1 over the size of the change."""
    figure = Figure(figsize=(8.6, 3.4), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True)
    for ax, key, title in zip(panels, ("accuracy", "macro_f1"), ("accuracy, %", "macro-F1"), strict=True):
        scale = 100 if key == "accuracy" else 1
        for split, line in lines.items():
            x, y = [point["eps"] for point in line], [scale * point[key] for point in line]
            ax.plot(x, y, "o-", color=COLOURS[split], markersize=4, label=f"split {SPLITS[split]}", clip_on=False)
            if key == "accuracy":
                low, high = ([scale * point[f"{key}_{end}"] for point in line] for end in ("low", "high"))
                ax.fill_between(x, low, high, color=COLOURS[split], alpha=0.13, linewidth=0)
        ax.set_title(title)
        ax.set_ylim(0, scale)
        ax.set_xlim(0)
        ax.grid(axis="y")
        ax.set_axisbelow(True)
    panels[0].legend(frameon=False, loc="lower left")
    figure.supxlabel("eps: how far every value may be moved (channels run from 0 to 1)", fontsize=9)
    return figure


def draw_millivolts(rows: Sequence[Record]) -> Figure:
    """Draw macro-F1 over the size of a change of the whole recording, attacked and blind; other attacks beside."""
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    ax = figure.subplots()
    attacked = [row for row in rows if not row["attack"].endswith("blind")]
    lines = {"blind, as large as PGD": [row for row in rows if row not in attacked and _family(row) == "pgd"]}
    lines |= {label: [row for row in attacked if _family(row) == name] for name, label in FAMILIES.items()}
    looks = zip((MUTED, VERMILION, ORANGE, VIOLET, GREEN, BLUE), "oosDv^", strict=True)
    for (label, of_line), (colour, marker) in zip(lines.items(), looks, strict=True):
        of_line.sort(key=lambda row: float(row["microvolts"]))
        places = [row["microvolts"] for row in of_line], [row["macro_f1"] for row in of_line]
        if of_line:
            ax.plot(*places, f"{marker}-", color=colour, markersize=5, label=label)
    others = [row for row in attacked if _family(row) not in FAMILIES]
    ax.plot([row["microvolts"] for row in others], [row["macro_f1"] for row in others], "x", color=INK, label="others")
    for row in others:
        place = (row["microvolts"], row["macro_f1"])
        words = ax.annotate(row["attack"], place, xytext=(-6, 0), textcoords="offset points", fontsize=7, color=INK)
        words.set(ha="right", va="center")
    lowest = min(row["macro_f1"] for row in rows)
    ax.set(ylim=(max(0, 0.1 * int(10 * lowest) - 0.1), None), xlim=(-7, None))
    ax.set(xlabel="largest change of a sample, µV", ylabel="macro-F1")
    ax.grid(axis="y")
    ax.set_axisbelow(True)
    ax.legend(frameon=False, loc="lower right", fontsize=8)
    return figure


def _family(row: Record) -> str:
    """Name an attack without its microvolts."""
    return str(row["attack"]).removesuffix(", blind").rpartition("-")[0]


def draw_settings(settings: Sequence[Record]) -> Figure:
    """Draw what each setting reached on validation data, clean and under attack; goals are broken lines."""
    splits = [split for split in SPLITS if any(setting["split"] == split for setting in settings)]
    figure = Figure(figsize=(4.4 * len(splits), 3.9), layout="constrained")
    for ax, split in zip(figure.subplots(1, len(splits), squeeze=False)[0], splits, strict=True):
        bars = ON_VALIDATION.get(split)
        scale = 100 if bars is not None else 1
        for number, setting in enumerate((each for each in settings if each["split"] == split), 1):
            marker, size = ("D", 7) if setting["chosen"] else ("o", 5)
            colour, ink = (COLOURS[split], INK) if setting["chosen"] else (MUTED, MUTED)
            place = (mean_f1(setting, "clean"), mean_f1(setting, "robust"))
            if bars is not None:
                place = (scale * setting[bars[0][0]], scale * setting[bars[1][0]])
            ax.plot(*place, marker, color=colour, zorder=3, markersize=size)
            ax.annotate(str(number), place, xytext=(5, 4), textcoords="offset points", fontsize=8, color=ink)
        for (_, bar), draw_line in zip(bars or (), (ax.axvline, ax.axhline), strict=bars is not None):
            draw_line(scale * bar, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        ax.margins(0.12)
        unit = "accuracy, %" if scale == 100 else f"mean F1 of {', '.join(TOLD)}"
        ax.set_title(f"split {SPLITS[split]}: {unit}")
        ax.set_xlabel("clean")
        ax.set_ylabel("under attack")
        ax.grid(color=RULE)
        ax.set_axisbelow(True)
    return figure


def draw_beats(examples: Record) -> Figure:
    """Draw clean and attacked beats over each other: a row for each attack, a column for each class."""
    attacks, classes = examples["attacks"], examples["classes"]
    figure = Figure(figsize=(2.5 * len(classes), 0.9 + 1.5 * len(attacks)), layout="constrained")
    panels = figure.subplots(len(attacks), len(classes), sharex=True, sharey=True, squeeze=False)
    for row, attack in zip(panels, attacks, strict=True):
        for column, (ax, name) in enumerate(zip(row, classes, strict=True)):
            _draw_beat(ax, examples["clean"][column], examples["attacked"][attack][column])
            answers = [examples["answers"][key][column] for key in ("clean", attack)]
            words, colour = _answer(name, *answers)
            ax.set_title(f"{attack}, {name}: {words}", fontsize=8, color=colour)
    figure.supxlabel("ms from the start of the beat", fontsize=9)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    return figure


def _draw_beat(ax: Axes, clean: Sequence[float], attacked: Sequence[float]) -> None:
    milliseconds = [1000 * place / 360 for place in range(len(clean))]
    ax.plot(milliseconds, clean, color=MUTED, linewidth=2.6, alpha=0.6, label="clean")
    ax.plot(milliseconds, attacked, color=VERMILION, linewidth=0.9, label="attacked")
    change = [-0.35 + 10 * (after - before) for before, after in zip(clean, attacked, strict=True)]
    ax.plot(milliseconds, change, color=BLUE, linewidth=0.7, label="the change, ten times as large")
    ax.set_yticks([0, 0.5, 1])
    ax.set_ylim(-0.55, 1.08)
    ax.tick_params(length=3, color=MUTED, labelsize=7.5)


def _answer(name: str, before: str, after: str) -> tuple[str, str]:
    """Say how a beat of a class is answered before and after an attack, and in what colour to say so."""
    if before != name:
        return f"read as {before} before any attack", MUTED
    return ("still right", INK) if after == name else (f"read as {after}", VERMILION)
