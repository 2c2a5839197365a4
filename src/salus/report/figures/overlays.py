"""One input before and after an attack: waveforms, images, or the features that changed most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from salus.figures.style import BLUE, INK, MUTED, RULE, VERMILION, inline, margin, shorten, style

_MOST_FEATURES = 8


def overlay(
    clean: NDArray[Any],
    attacked: NDArray[Any],
    *,
    bounds: tuple[float, float],
    features: Sequence[str],
    key: str,
    alt: str,
) -> Markup:
    """Draw one sample and its attacked form: a table row ``[F]``, signal ``[C, L]`` or image ``[C, H, W]``.

    Args:
        clean: the sample.
        attacked: the same after the attack.
        bounds: lowest and highest value of the data.
        features: names of a table's features, or nothing.
        key: begins the ids of the figure.
        alt: what the figure shows.
    """
    with style():
        if clean.ndim == 1:
            figure = _features(clean, attacked, features)
        elif clean.ndim == 2:
            figure = _waveform(clean, attacked)
        else:
            figure = _images(clean, attacked, bounds)
        return inline(figure, key, alt)


def _waveform(clean: NDArray[Any], attacked: NDArray[Any]) -> Figure:
    channel = int(np.abs(attacked - clean).max(1).argmax())
    before, after = clean[channel], attacked[channel]
    change = after - before
    factor = _factor(change, float(np.ptp(before)))
    figure = Figure(figsize=(4.4, 2.9))
    figure.subplots_adjust(left=0.11, right=0.98, top=0.9, bottom=0.13)
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1), "hspace": 0.12})
    above.plot(before, color=BLUE, linewidth=2.2)
    above.plot(after, color=VERMILION, linewidth=1.0)
    where = f" (channel {channel + 1} of {len(clean)})" if len(clean) > 1 else ""
    above.text(0, 1.05, "clean", color=BLUE, transform=above.transAxes)
    above.text(0.13, 1.05, f"attacked{where}", color=VERMILION, transform=above.transAxes)
    below.axhline(0, color=RULE, linewidth=0.8)
    below.plot(change * factor, color=INK, linewidth=0.9)
    below.text(
        1,
        1.02,
        f"difference × {factor:g}",
        color=INK,
        ha="right",
        va="bottom",
        transform=below.transAxes,
        size=8,
    )
    limit = float(np.abs(change * factor).max()) or 1.0
    below.set_ylim(-1.15 * limit, 1.15 * limit)
    below.set_yticks([0])
    for ax in (above, below):
        ax.tick_params(length=3, color=MUTED, labelsize=8)
        ax.margins(x=0.01)
    above.tick_params(axis="x", length=0)
    return figure


def _images(clean: NDArray[Any], attacked: NDArray[Any], bounds: tuple[float, float]) -> Figure:
    low, high = bounds
    title = "clean"
    if clean.ndim == 4:  # of a volume the slice that changed most
        at = int(np.abs(attacked - clean).sum(axis=(0, 2, 3)).argmax())
        clean, attacked, title = clean[:, at], attacked[:, at], f"clean, slice {at + 1} of {clean.shape[1]}"
    change = attacked - clean
    factor = _factor(change, high - low)
    figure = Figure(figsize=(4.4, 1.72))
    figure.subplots_adjust(left=0.01, right=0.99, top=0.87, bottom=0.02, wspace=0.06)
    panels: tuple[Axes, ...] = tuple(figure.subplots(1, 3))
    _show(panels[0], (clean - low) / (high - low), title)
    _show(panels[1], (attacked - low) / (high - low), "attacked")
    _show(panels[2], 0.5 + factor * change / (high - low) / 2, f"difference × {factor:g}")
    return figure


def _show(ax: Axes, image: NDArray[Any], title: str) -> None:
    pixels = np.clip(image, 0, 1)
    picture = pixels.transpose(1, 2, 0) if len(pixels) == 3 else np.repeat(pixels[0][..., None], 3, 2)
    ax.imshow(np.round(picture * 255).astype(np.uint8), interpolation="nearest")
    ax.set_title(title, size=8.5, loc="center", pad=3)
    ax.set_axis_off()


def _features(clean: NDArray[Any], attacked: NDArray[Any], features: Sequence[str]) -> Figure:
    change = attacked - clean
    order = np.argsort(-np.abs(change), kind="stable")[:_MOST_FEATURES]
    order = order[np.abs(change[order]) > 0]
    names = [shorten(features[i] if features else f"feature {i + 1}", 24) for i in order]
    height = 0.78 + 0.25 * max(len(order), 1)
    figure = Figure(figsize=(4.4, height))
    figure.subplots_adjust(left=margin(names, 4.4), right=0.97, top=1 - 0.27 / height, bottom=0.36 / height)
    ax = figure.add_subplot()
    ax.grid(axis="x")
    ax.set_axisbelow(True)
    rows = np.arange(len(order))
    ax.hlines(rows, clean[order], attacked[order], color=MUTED, linewidth=3, alpha=0.5)
    ax.plot(clean[order], rows, "o", color=BLUE, markersize=6)
    ax.plot(attacked[order], rows, "D", color=VERMILION, markersize=5)
    ax.set_yticks(rows, names)
    ax.set_ylim(len(order) - 0.4, -0.6)
    ax.margins(x=0.08)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", length=3, color=MUTED, labelsize=8)
    ax.spines["left"].set_visible(False)
    ax.text(0, 1.04, "● clean", color=BLUE, transform=ax.transAxes, va="bottom")
    ax.text(0.3, 1.04, "◆ attacked", color=VERMILION, transform=ax.transAxes, va="bottom")
    return figure


def _factor(change: NDArray[Any], span: float) -> float:
    """Choose a round factor that makes the largest change about as tall as the sample; never below 1."""
    largest = float(np.abs(change).max())
    if largest == 0 or span == 0:
        return 1.0
    exact = max(1.0, span / largest)
    power = 10.0 ** np.floor(np.log10(exact))
    return float(max(step * power for step in (1, 2, 5) if step * power <= exact * 1.0001))
