"""Pictures of a training while it runs: its losses, and what its generator makes."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from salus.figures.style import BLUE, MUTED, PALETTE, VERMILION, style

#: Each panel's title and the losses it shows.
_PANELS = (
    ("least squares", ("real", "fooling")),
    ("heads", ("attacked", "classes")),
    ("generator: squared error", ("mse",)),
    ("held-out accuracy", ("score",)),
)


def losses_picture(epochs: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw losses by epoch as PNG; each epoch has the fields of ``salus.hardening.ecg_atk_gan.GANEpoch``."""
    number = [epoch["epoch"] for epoch in epochs]
    with style(**{"savefig.transparent": False}):
        figure = Figure(figsize=(11, 2.6), layout="constrained")
        for ax, (title, names) in zip(figure.subplots(1, len(_PANELS)), _PANELS, strict=True):
            for colour, name in zip(PALETTE, names, strict=False):
                ax.plot(number, [epoch[name] for epoch in epochs], ".-", color=colour, label=name)
            ax.set_title(title)
            ax.set_xlabel("epoch")
            ax.xaxis.get_major_locator().set_params(integer=True)
            ax.grid(axis="y")
            if len(names) > 1:
                ax.legend(frameon=False)
        return _png(figure)


def samples_picture(originals: NDArray[Any], outputs: NDArray[Any], names: Sequence[str]) -> bytes:
    """Draw beats ``[N, C, L]`` (red) under what was made of them (blue), the papers' colours, as PNG."""
    with style(**{"savefig.transparent": False}):
        figure = Figure(figsize=(2.75 * len(names), 2.4), layout="constrained")
        for ax, original, output, name in zip(
            np.atleast_1d(figure.subplots(1, len(names), sharey=True)), originals, outputs, names, strict=True
        ):
            ax.plot(original[0], color=VERMILION, linewidth=2.0, label="original")
            ax.plot(output[0], color=BLUE, linewidth=1.0, label="other")
            ax.set_title(name)
            ax.tick_params(length=3, color=MUTED, labelsize=8)
        figure.legend(["original", "made of it"], loc="outside lower center", ncols=2, frameon=False)
        return _png(figure)


def grid_picture(samples: NDArray[Any]) -> bytes:
    """Draw signals ``[N, C, L]`` (the first channel) or images ``[N, C, H, W]``, values in [0, 1], as PNG.

    As many stand side by side as below one another; N is a square number.
    """
    side = math.isqrt(len(samples))
    with style(**{"savefig.transparent": False}):
        figure = Figure(figsize=(6, 6), layout="constrained")
        ax = figure.subplots()
        ax.set_axis_off()
        if samples.ndim == 3:
            length = samples.shape[2]
            row, column = np.divmod(np.arange(len(samples)), side)
            x = np.arange(length)[:, None] + 1.1 * length * column  # [L, N]
            ax.plot(x, samples[:, 0].T - 1.1 * row, color=BLUE, linewidth=0.8)
        else:
            tiles = samples.reshape(side, side, *samples.shape[1:]).transpose(0, 3, 1, 4, 2)  # [row, H, column, W, C]
            page = tiles.reshape(side * samples.shape[2], side * samples.shape[3], samples.shape[1])
            ax.imshow(page if page.shape[2] == 3 else page[..., 0], cmap="gray", vmin=0, vmax=1)
        return _png(figure)


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
