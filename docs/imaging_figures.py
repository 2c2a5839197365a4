"""The figures of docs/imaging.md, as PNG, from stored results alone; each carries the hash of what it shows."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from imaging_numbers import ATTACKERS, DEFENCES, Record, missed
from matplotlib.figure import Figure
from PIL import Image
from stamps import described

from salus.figures.style import BLUE, INK, MUTED, VERMILION, style

#: Changes when a figure is drawn otherwise.
_DRAWN = 1

#: By how much changes are enlarged to be seen.
ENLARGED = {"fgsm": 20, "uap": 8}


def shown(stored: Record) -> dict[str, Any]:
    """List the figures that something is stored for, and what each is drawn from."""
    found: dict[str, Any] = {}
    if stored.get("pictures"):
        found["lesions"] = [stored["meta"]["classes"], stored["pictures"]]
    bars = [(name, attacker, missed(stored, name, attacker)) for name in DEFENCES for attacker in ATTACKERS]
    if any(record is not None for _, _, record in bars):
        found["missed"] = bars
    return found


def image(page: Path, name: str) -> Path:
    """Say where a figure lies."""
    return page.parent / "images" / f"imaging-{name}.png"


def drawn_from(what: Any) -> list[Any]:
    """Say what a figure of :func:`shown` depends on."""
    return [what, _DRAWN]


def draw(name: str, what: Any, path: Path) -> None:
    """Draw one of the figures of :func:`shown`."""
    drawn = {"lesions": draw_lesions, "missed": draw_missed}[name]
    with style(**{"savefig.transparent": False, "figure.facecolor": "white"}):
        figure = drawn(what)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130, metadata=described(drawn_from(what)))


def draw_lesions(what: Any) -> Figure:
    """Draw lesions as they are and attacked, the change enlarged, and what the classifier says to each."""
    classes, pictures = what
    figure = Figure(figsize=(1.75 * len(pictures) + 0.5, 5.6), layout="constrained")
    panels = figure.subplots(3, len(pictures), squeeze=False)
    for column, record in zip(panels.T, pictures, strict=True):
        clean, attacked = (_read(record[name]) for name in ("clean", "attacked"))
        change = 0.5 + ENLARGED[record["attack"]] * (attacked - clean)
        true, before, after = (classes[record[name]] for name in ("y", "before", "after"))
        title = f"a {true}; {record['attack'].upper()}, {255 * record['largest']:.0f}/255"
        column[0].set_title(title, fontsize=8.5)
        told = (
            (clean, f"answer: {before}", INK),
            (attacked, f"answer: {after}", VERMILION),
            (change, f"change × {ENLARGED[record['attack']]}", MUTED),
        )
        for ax, (pixels, words, colour) in zip(column, told, strict=True):
            ax.imshow(pixels.clip(0, 1), interpolation="nearest")
            ax.set_xlabel(words, fontsize=9, color=colour)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_visible(False)
    for ax, words in zip(panels[:, 0], ("as it is", "attacked", "the change"), strict=True):
        ax.set_ylabel(words)
    return figure


def _read(content: str) -> Any:
    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
        return np.asarray(picture.convert("RGB"), dtype=np.float64) / 255


def draw_missed(bars: Any) -> Figure:
    """Draw the malignant lesions missed behind each defence, by each attacker."""
    figure = Figure(figsize=(8.6, 5.2), layout="constrained")
    ax = figure.subplots()
    colours = {"none": MUTED, "copy": BLUE, "knows": VERMILION}
    for height, name in enumerate(DEFENCES):
        for offset, attacker in zip((-0.26, 0, 0.26), ATTACKERS, strict=True):
            record = next(each for word, who, each in bars if (word, who) == (name, attacker))
            if record is None or record["fnr"] is None:
                continue
            value, low, high = (100 * record[key] for key in ("fnr", "fnr_low", "fnr_high"))
            ax.barh(height + offset, value, 0.24, color=colours[attacker], zorder=2)
            ax.plot([low, high], [height + offset] * 2, color=INK, linewidth=1, zorder=3)
            ax.text(max(high, value) + 1, height + offset, f"{value:.0f}", va="center", fontsize=8, color=INK)
    for attacker, words in ATTACKERS.items():
        ax.barh([0], [0], color=colours[attacker], label=words)
    ax.set_yticks(range(len(DEFENCES)), list(DEFENCES.values()))
    ax.invert_yaxis()
    ax.set_xlim(0, 108)
    ax.set_xlabel("of 100 malignant lesions, so many are called harmless (lines: 95% intervals)")
    ax.grid(axis="x", zorder=0)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure
