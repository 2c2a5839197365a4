"""The figures of docs/ecg.md, as PNG, from stored results alone; each carries the hash of what it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ecg_goals import ON_VALIDATION, attacked
from matplotlib.figure import Figure
from stamps import described

from salus.figures.style import BLUE, INK, MUTED, RULE, VERMILION, style

Record = dict[str, Any]

SPLITS = {"beats": "by beats", "patients": "by patients"}
COLOURS = {"beats": BLUE, "patients": VERMILION}
#: Changes when a figure is drawn otherwise.
_DRAWN = 1


def shown(stored: Record | None) -> dict[str, Any]:
    """List the figures that something is stored for, and what each is drawn from."""
    if stored is None:
        return {}
    lines = {split: curve(stored[split]) for split in SPLITS if split in stored}
    found: dict[str, Any] = {"curve": lines} if any(len(line) > 2 for line in lines.values()) else {}
    if stored.get("frontier"):
        found["frontier"] = stored["frontier"]
    examples = stored.get("examples") or {}
    for model in examples.get("attacked", {}):
        kept = {key: examples[key] for key in ("attacks", "classes", "clean", "eps")}
        found[f"beats-{model}"] = kept | {key: examples[key][model] for key in ("attacked", "answers")}
    return found


def curve(result: Record) -> list[Record]:
    """List accuracy over eps, from 0 upwards."""
    points = [{"eps": 0.0, **_point(result["clean"])}]
    for name, part in result.get("attacked", {}).items():
        if name.startswith("curve-"):
            points.append({"eps": float(name.removeprefix("curve-")), **_point(part)})
    strong = attacked(result, "pgd")
    if strong is not None:
        points.append({"eps": result["eps"], **_point(strong)})
    return sorted(points, key=lambda point: float(point["eps"]))


def _point(part: Record) -> Record:
    return {key: part[key] for key in ("n", "accuracy", "accuracy_low", "accuracy_high", "macro_f1")}


def image(page: Path, name: str) -> Path:
    """Say where a figure lies."""
    return page.parent / "images" / f"ecg-{name}.png"


def drawn_from(what: Any) -> list[Any]:
    """Say what a figure of :func:`shown` depends on."""
    return [what, _DRAWN]


def draw(name: str, what: Any, path: Path) -> None:
    """Draw one of the figures of :func:`shown`."""
    drawn = {"curve": draw_curve, "frontier": draw_frontier}.get(name, draw_beats)
    with style(**{"savefig.transparent": False, "figure.facecolor": "white"}):
        figure = drawn(what)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120, metadata=described(drawn_from(what)))


def draw_curve(lines: dict[str, list[Record]]) -> Figure:
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


def draw_frontier(settings: list[Record]) -> Figure:
    """Draw what each setting reached on validation data, clean and under attack; goals are broken lines."""
    present = [split for split in SPLITS if any(one["split"] == split for one in settings)]
    figure = Figure(figsize=(4.4 * len(present), 3.9), layout="constrained")
    for ax, split in zip(figure.subplots(1, len(present), squeeze=False)[0], present, strict=True):
        (clean, clean_bar), (robust, robust_bar) = ON_VALIDATION[split]
        scale = 100 if clean.endswith("accuracy") else 1
        own = [one for one in settings if one["split"] == split]
        for one in own:
            chosen = one["chosen"]
            place = (scale * one[clean], scale * one[robust])
            ax.plot(*place, "D" if chosen else "o", color=COLOURS[split] if chosen else MUTED, zorder=3,
                    markersize=7 if chosen else 5)  # fmt: skip
            ax.annotate(str(own.index(one) + 1), place, xytext=(5, 4), textcoords="offset points", fontsize=8,
                        color=INK if chosen else MUTED)  # fmt: skip
        ax.axvline(scale * clean_bar, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        ax.axhline(scale * robust_bar, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        ax.margins(0.12)
        unit = "accuracy, %" if scale == 100 else "macro-F1"
        ax.set_title(f"split {SPLITS[split]}: {unit}")
        ax.set_xlabel("clean")
        ax.set_ylabel("under attack")
        ax.grid(color=RULE)
        ax.set_axisbelow(True)
    return figure


def draw_beats(what: Record) -> Figure:
    """Draw clean and attacked beats over each other: a row for each attack, a column for each class."""
    attacks, classes = what["attacks"], what["classes"]
    figure = Figure(figsize=(2.5 * len(classes), 0.9 + 1.5 * len(attacks)), layout="constrained")
    panels = figure.subplots(len(attacks), len(classes), sharex=True, sharey=True, squeeze=False)
    for row, attack in enumerate(attacks):
        for column, name in enumerate(classes):
            ax, clean, moved = panels[row, column], what["clean"][column], what["attacked"][attack][column]
            milliseconds = [1000 * place / 360 for place in range(len(clean))]
            ax.plot(milliseconds, clean, color=MUTED, linewidth=2.6, alpha=0.6, label="clean")
            ax.plot(milliseconds, moved, color=VERMILION, linewidth=0.9, label="attacked")
            change = [-0.35 + 10 * (after - before) for before, after in zip(clean, moved, strict=True)]
            ax.plot(milliseconds, change, color=BLUE, linewidth=0.7, label="the change, ten times as large")
            before, after = what["answers"]["clean"][column], what["answers"][attack][column]
            words, colour = ("still right", INK) if after == name else (f"read as {after}", VERMILION)
            if before != name:
                words, colour = f"read as {before} before any attack", MUTED
            ax.set_title(f"{attack}, {name}: {words}", fontsize=8, color=colour)
            ax.set_yticks([0, 0.5, 1])
            ax.set_ylim(-0.55, 1.08)
            ax.tick_params(length=3, color=MUTED, labelsize=7.5)
    figure.supxlabel("ms from the start of the beat", fontsize=9)
    handles, words = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, words, loc="outside upper center", ncols=3, frameon=False)
    return figure
