"""A kept input for people: a waveform, a picture, or a row in its own units; and bars of scores."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from markupsafe import Markup
from numpy.typing import NDArray

from salus.preprocessing.recordings import RecordingPreprocessor
from salus.preprocessing.tables import TablePreprocessor

if TYPE_CHECKING:
    from salus.guard import Guard

#: Channels of a signal, and points of each, that are drawn.
_MOST_CHANNELS, _MOST_POINTS = 12, 1200

#: Width and height of a drawn channel, in units of its SVG.
_WIDTH, _HEIGHT, _EDGE = 600, 150, 6

#: Rows of a table of features.
_MOST_ROWS = 500


@dataclass(frozen=True)
class Waveform:
    """A drawn channel of a signal.

    Attributes:
        name: of the channel.
        alt: what there is to see.
        points: of the line, as SVG writes them.
        low: the lowest value.
        high: the highest value.
    """

    name: str
    alt: str
    points: str
    low: float
    high: float
    width: int = _WIDTH
    height: int = _HEIGHT


@dataclass(frozen=True)
class Drawn:
    """An input as a page shows it; one of its parts is there.

    Attributes:
        waveforms: of a signal.
        picture: of an image: its width and height.
        features: of a table: name, value in its own unit, prepared value.
        left_out: what is not drawn, in words.
    """

    waveforms: tuple[Waveform, ...] = ()
    picture: tuple[int, int] | None = None
    features: tuple[tuple[str, float, float], ...] = ()
    left_out: str = ""


def values_of(content: bytes, guard: Guard) -> NDArray[np.float32] | None:
    """Read a kept input; None where it has not the guard's shape."""
    shape = guard.classifier.shape
    if len(content) != 4 * math.prod(shape):
        return None
    return np.frombuffer(content, "<f4").reshape(shape)


def draw(x: NDArray[np.float32], guard: Guard) -> Drawn:
    """Draw a prepared input, ``[F]``, ``[C, L]`` or ``[C, H, W]``."""
    if x.ndim == 1:
        return _features(x, guard)
    if x.ndim == 2:
        channels = len(x)
        left_out = f"The first {_MOST_CHANNELS} of {channels} channels." if channels > _MOST_CHANNELS else ""
        names = _channel_names(guard, channels)
        return Drawn(
            waveforms=tuple(waveform(line, name) for line, name in zip(x[:_MOST_CHANNELS], names, strict=False)),
            left_out=left_out,
        )
    if x.ndim == 3:
        return Drawn(picture=(x.shape[2], x.shape[1]), left_out="" if len(x) in (1, 3) else "The first channel alone.")
    return Drawn(left_out=f"Inputs of the shape {list(x.shape)} are not drawn.")


def _channel_names(guard: Guard, channels: int) -> tuple[str, ...]:
    preprocessor = guard.preprocessor
    if isinstance(preprocessor, RecordingPreprocessor) and len(preprocessor.inputs) == channels:
        return preprocessor.inputs
    return tuple(f"channel {number}" for number in range(1, channels + 1))


def _features(x: NDArray[np.float32], guard: Guard) -> Drawn:
    preprocessor = guard.preprocessor
    names: Sequence[str] = [f"feature {number}" for number in range(1, len(x) + 1)]
    raw = x
    if preprocessor is not None:
        raw = preprocessor.inverse(torch.from_numpy(x.copy())[None])[0].numpy()
    if isinstance(preprocessor, TablePreprocessor) and len(preprocessor.features) == len(x):
        names = preprocessor.features
    rows = tuple((name, float(own), float(value)) for name, own, value in zip(names, raw, x, strict=True))
    left_out = f"The first {_MOST_ROWS} of {len(rows)} features." if len(rows) > _MOST_ROWS else ""
    return Drawn(features=rows[:_MOST_ROWS], left_out=left_out)


def waveform(line: NDArray[np.float32], name: str) -> Waveform:
    """Draw ``[L]`` values; of many, the lowest and highest of each stretch, so that no spike is lost."""
    finite = np.nan_to_num(line.astype(np.float64))
    low, high = float(finite.min()), float(finite.max())
    places = np.arange(len(finite), dtype=np.float64)
    if len(finite) > _MOST_POINTS:
        stretches = np.array_split(np.arange(len(finite)), _MOST_POINTS // 2)
        kept = [sorted((s[finite[s].argmin()], s[finite[s].argmax()])) for s in stretches]
        rows = np.array(kept).ravel()
        places, finite = places[rows], finite[rows]
    across = _EDGE + places / max(len(line) - 1, 1) * (_WIDTH - 2 * _EDGE)
    span = high - low or 1.0
    down = _HEIGHT - _EDGE - (finite - low) / span * (_HEIGHT - 2 * _EDGE)
    points = " ".join(f"{right:.1f},{below:.1f}" for right, below in zip(across, down, strict=True))
    alt = f"{name}: {len(line)} values from {low:.3g} to {high:.3g}, the highest at number {int(line.argmax()) + 1}."
    return Waveform(name, alt, points, low, high)


def png(x: NDArray[np.float32], bounds: tuple[float, float]) -> bytes:
    """Write an image ``[C, H, W]`` as PNG, black at the lower bound and white at the upper; grey unless C is 3."""
    low, high = bounds
    levels = np.nan_to_num((x.astype(np.float64) - low) / (high - low)).clip(0, 1)
    channels = levels if len(levels) == 3 else levels[:1]
    pixels = (channels * 255).round().astype(np.uint8).transpose(1, 2, 0)  # [H, W, C]
    height, width, depth = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], 1)  # 0: no filter
    head = struct.pack(">IIBBBBB", width, height, 8, 2 if depth == 3 else 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


@dataclass(frozen=True)
class ScoreBar:
    """A detector's score beside its threshold.

    Attributes:
        name: of the detector.
        score: None where it gave none.
        threshold: above it, it rejects.
        rejects: whether it did.
        picture: both as an SVG, for the eye; the numbers stand beside it.
    """

    name: str
    score: float | None
    threshold: float
    rejects: bool
    picture: Markup


def score_bar(name: str, score: float | None, threshold: float, *, rejects: bool) -> ScoreBar:
    """Draw a score as a bar up to it, and its threshold as a line."""
    top = max(threshold * 1.25, score or 0.0, 1e-9)
    long = 0.0 if score is None else 200 * min(max(score / top, 0.0), 1.0)
    mark = 200 * min(max(threshold / top, 0.0), 1.0)
    picture = Markup(
        '<svg class="bar{}" viewBox="0 0 204 20" width="204" height="20" aria-hidden="true" focusable="false">'
        '<rect class="rail" x="0" y="4" width="200" height="12"></rect>'
        '<rect class="fill" x="0" y="4" width="{}" height="12"></rect>'
        '<line class="limit" x1="{}" x2="{}" y1="0" y2="20"></line></svg>'
    ).format(" above" if rejects else "", f"{long:.1f}", f"{mark:.1f}", f"{mark:.1f}")
    return ScoreBar(name, score, threshold, rejects, picture)
