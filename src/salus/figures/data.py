"""One picture of a data set: how many samples each class has, and what they look like."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from salus.atomic import write_bytes
from salus.figures.signature import SIGNATURE
from salus.figures.style import BLUE, MUTED, PALETTE, VERMILION, shorten, style

if TYPE_CHECKING:
    from salus.data import Dataset, Splits

_MOST_CLASSES, _FEATURES = 12, 12


def dataset_picture(splits: Splits, path: Path) -> Path:
    """Draw class counts and a few samples of each class (waveforms, images, or features by class) as PNG.

    Samples are the first of each class in the training part (in the test part where all are test samples), so the
    picture is the same every time.

    Raises:
        StoreError: the picture cannot be written.
    """
    data = splits.train if len(splits.train) else splits.test
    classes = data.classes[:_MOST_CLASSES]
    k = len(classes)
    table = data.kind == "table"
    features = min(_FEATURES, data.x.shape[1]) if table else 0
    below = 0.55 + 0.2 * features * k if table else 0.85 * k
    above = 0.9 + 0.24 * k
    with style(**{"savefig.transparent": False, "figure.facecolor": "#ffffff", "savefig.facecolor": "#ffffff"}):
        figure = Figure(figsize=(8.0, above + below))
        parts: Any = figure.subfigures(2, 1, height_ratios=(above, below))
        _counts(parts[0], splits, classes, above)
        if table:
            _features(parts[1], data, classes, features, below)
        else:
            _samples(parts[1], data, classes)
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=130, metadata=SIGNATURE)
    write_bytes(path, content.getvalue())
    return path


def _counts(figure: SubFigure, splits: Splits, classes: Sequence[str], height: float) -> None:
    figure.subplots_adjust(left=0.2, right=0.92, top=1 - 0.5 / height, bottom=0.12 / height)
    ax = figure.add_subplot()
    rows, left = np.arange(len(classes)), np.zeros(len(classes))
    for place, (part, data) in enumerate(splits):
        counts = np.array([data.counts[name] for name in classes], dtype=float)
        ax.barh(rows, counts, left=left, height=0.68, color=PALETTE[(0, 5, 4, 1)[place]])
        left += counts
        ax.text(
            0.34 + 0.165 * place,
            1 + 0.12 / max(height - 0.6, 0.3),
            f"■ {part}",
            transform=ax.transAxes,
            color=PALETTE[(0, 5, 4, 1)[place]],
            va="bottom",
            size=8.5,
        )
    for row, total in enumerate(left):
        ax.text(total + 0.01 * left.max(), row, f"{int(total):,}", va="center", size=8.5)
    ax.set_yticks(rows, [shorten(name) for name in classes])
    ax.set_ylim(len(classes) - 0.5, -0.5)
    ax.set_xlim(0, left.max() * 1.02)
    ax.set_xticks([])
    ax.spines["bottom"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    more = len(splits.train.classes) - len(classes)
    title = f"{shorten(splits.name, 28)}: samples per class" + (f" ({more} more classes)" if more else "")
    figure.text(0.012, 1 - 0.09 / height, title, va="top", weight="bold", size=9.5)


def _samples(figure: SubFigure, data: Dataset, classes: Sequence[str]) -> None:
    count = 4 if data.kind == "signal" else 8
    grid = figure.subplots(
        len(classes),
        count,
        squeeze=False,
        gridspec_kw={"left": 0.2, "right": 0.985, "top": 0.97, "bottom": 0.03, "wspace": 0.08},
    )
    low, high = data.bounds
    for index, name in enumerate(classes):
        first = (data.y == index).nonzero()[:count, 0]
        for place in range(count):
            ax: Axes = grid[index, place]
            ax.set_axis_off()
            if place < len(first):
                x = data.x[first[place]].numpy()
                _waveform(ax, x) if data.kind == "signal" else _image(ax, (x - low) / (high - low))
        grid[index, 0].text(-0.06, 0.5, shorten(name), transform=grid[index, 0].transAxes, ha="right", va="center")


def _waveform(ax: Axes, x: NDArray[Any]) -> None:
    for channel, values in enumerate(x[:3]):
        ax.plot(values, color=(BLUE, VERMILION, MUTED)[channel], linewidth=1.0)


def _image(ax: Axes, x: NDArray[Any]) -> None:
    if x.ndim == 4:  # of a volume the slice in the middle
        x = x[:, x.shape[1] // 2]
    picture = x.transpose(1, 2, 0) if len(x) == 3 else np.repeat(x[0][..., None], 3, 2)
    ax.imshow(np.clip(picture, 0, 1), interpolation="nearest")


def _features(figure: SubFigure, data: Dataset, classes: Sequence[str], count: int, height: float) -> None:
    x, y = data.x.numpy(), data.y.numpy()
    present = [k for k in range(len(classes)) if (y == k).any()]
    means = np.stack([x[y == k].mean(0) for k in present])
    # The features that tell the classes apart best: spread of the class means over the spread within.
    apart = means.std(0) / (x.std(0) + 1e-12)
    order = np.argsort(-apart, kind="stable")[:count]
    figure.subplots_adjust(left=0.27, right=0.98, top=1 - 0.42 / height, bottom=0.26 / height)
    ax = figure.add_subplot()
    k = len(classes)
    for place, index in enumerate(present):
        colour = PALETTE[index % len(PALETTE)]
        centre = np.arange(count) + 0.8 * ((index + 0.5) / k - 0.5)
        low, first, middle, third, high = np.quantile(x[y == index][:, order], [0.05, 0.25, 0.5, 0.75, 0.95], axis=0)
        ax.hlines(centre, low, high, color=colour, linewidth=1.0)
        ax.hlines(centre, first, third, color=colour, linewidth=min(7.0, 9.0 / k + 2.5), alpha=0.55)
        ax.plot(middle, centre, "o", color=colour, markersize=3.2)
        if place < 6:
            ax.text(
                0.17 * place,
                1 + 0.07 / height,
                f"● {shorten(classes[index], 14)}",
                color=colour,
                transform=ax.transAxes,
                va="bottom",
                size=8.5,
            )
    names = [shorten(data.features[i] if data.features else f"feature {i + 1}", 28) for i in order]
    ax.set_yticks(np.arange(count), names)
    ax.set_ylim(count - 0.45, -0.55)
    ax.grid(axis="x")
    ax.set_axisbelow(True)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", length=3, color=MUTED)
    figure.text(0.012, 1 - 0.06 / height, "median, quartiles, 5–95%", va="top", size=8.5, color=MUTED)
