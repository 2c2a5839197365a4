"""What the autoencoders of a repository make of a few samples."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from salus.atomic import write_bytes
from salus.figures.style import BLUE, INK, MUTED, shorten, style

if TYPE_CHECKING:
    from salus.data import Dataset

_COLUMNS = {"image": 10, "signal": 5, "table": 4}
_HEIGHT = {"image": 0.62, "signal": 0.72, "table": 0.72}  # inches a row
_FEATURES = 40


class Autoencoders(Protocol):
    """What is drawn: autoencoders with names and mean squared errors, as in :class:`salus.generative.Repository`."""

    @property
    def names(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def errors(self) -> tuple[float, ...]: ...  # noqa: D102

    def reconstruct(self, member: int, x: Tensor) -> Tensor: ...  # noqa: D102


def reconstructions_picture(repository: Autoencoders, data: Dataset, path: Path) -> Path:
    """Draw samples in the first row and each member's reconstructions of them below, as PNG.

    The samples are the first of each class, then the second, so that the picture is the same every time.

    Raises:
        StoreError: the picture cannot be written.
    """
    x = data.x[_first_of_each_class(data, _COLUMNS[data.kind])]
    with torch.no_grad():
        parts = [x, *(repository.reconstruct(i, x) for i in range(len(repository.names)))]
    rows = [(part.numpy() - data.bounds[0]) / (data.bounds[1] - data.bounds[0]) for part in parts]
    names = ["original", *repository.names]
    notes = ["mean squared error", *(f"{error:.2g}" for error in repository.errors)]
    height = 0.3 + _HEIGHT[data.kind] * len(rows)
    with style(**{"savefig.transparent": False, "figure.facecolor": "#ffffff", "savefig.facecolor": "#ffffff"}):
        figure = Figure(figsize=(8.0, height))
        title = f"{shorten(data.provenance.name, 40)}: samples that trained no autoencoder, and what each makes of them"
        figure.text(0.012, 1 - 0.08 / height, title, va="top", weight="bold", size=9.5)
        grid = figure.subplots(
            len(rows),
            len(x),
            squeeze=False,
            gridspec_kw={
                "left": 0.16,
                "right": 0.99,
                "top": 1 - 0.32 / height,
                "bottom": 0.05 / height,
                "wspace": 0.06,
                "hspace": 0.1,
            },
        )
        for row, (name, note) in enumerate(zip(names, notes, strict=True)):
            for column, ax in enumerate(grid[row]):
                ax.set_axis_off()
                _draw(ax, rows[row][column], rows[0][column] if row else None)
            box = grid[row, 0].get_position()
            middle = (box.y0 + box.y1) / 2
            figure.text(0.15, middle, name, ha="right", va="bottom", color=INK)
            figure.text(0.15, middle, note, ha="right", va="top", color=MUTED, size=7)
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=130, metadata={"Software": None})
    write_bytes(path, content.getvalue())
    return path


def _draw(ax: Axes, sample: NDArray[Any], original: NDArray[Any] | None) -> None:
    """Draw one sample, values in [0, 1]; the original of a reconstructed signal or table lies behind it."""
    if sample.ndim == 3:
        picture = sample.transpose(1, 2, 0) if len(sample) == 3 else np.repeat(sample[0][..., None], 3, 2)
        ax.imshow(np.clip(picture, 0, 1), interpolation="nearest")
        return
    ax.set_ylim(-0.05, 1.05)
    table = sample.ndim == 1
    for values, colour, width in ((original, MUTED, 2.2), (sample, INK if original is None else BLUE, 1.0)):
        if values is not None:
            line = values[:_FEATURES] if table else values[0]
            ax.plot(line, color=colour, linewidth=width, alpha=0.5 if width > 2 else 1, marker="." if table else None)


def _first_of_each_class(data: Dataset, count: int) -> Tensor:
    """Choose positions class by class: the first sample of each, then the second of each."""
    places = [(data.y == label).nonzero()[:count, 0] for label in range(len(data.classes))]
    rounds = [int(of_class[turn]) for turn in range(count) for of_class in places if turn < len(of_class)]
    return torch.tensor(rounds[:count])
