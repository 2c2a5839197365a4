"""What surrounds a heartbeat, as further channels beside it: neighbours, the patient's usual beat, the rhythm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from salus.errors import OptionError, nearest

Signal = NDArray[np.float64]

#: Every channel, and what it holds. Waves are min-max scaled by themselves, as the beat is, unless said.
CHANNELS = {
    "beat": "the beat itself",
    "usual": "the median of the 61 beats around it",
    "difference": "the beat less that median, in mV, as a share of twice its height, around 0.5",
    "previous": "the beat before",
    "next": "the beat after",
    "strip": "4.7 s around the beat, six samples averaged to one",
    "rhythm": "fourteen figures of the intervals around the beat and of its height, twenty samples each",
}

#: The figures of ``rhythm``, in their order; each in [0, 1]. Ratios are halved, so that 0.5 is "as usual".
RHYTHM = (
    "interval before / median of 21",
    "interval after / median of 21",
    "interval before the last / median of 21",
    "interval after the next / median of 21",
    "median of 21 intervals, s",
    "interval before / median of the record",
    "interval after / median of the record",
    "height / height of the usual beat, log2 / 4 + 0.5",
    "standard deviation of 21 intervals / their median, doubled",
    "share of 101 intervals below the one before",
    "median deviation of 21 intervals from their median, fourfold",
    "interval before / mean of the five before it",
    "interval before / upper quartile of 101",
    "interval after / upper quartile of 101",
)

#: Beats on either side that the usual beat is the median of.
_AROUND = 30
#: Samples that one of the strip averages.
_DECIMATION = 6


def check_inputs(inputs: Sequence[str]) -> None:
    """Refuse channels that there are not, or twice.

    Raises:
        OptionError: naming the first such channel.
    """
    for name in inputs:
        if name not in CHANNELS:
            raise OptionError(f"Option inputs: there is no channel {name!r}; {nearest(name, CHANNELS)}")
        if list(inputs).count(name) > 1:
            raise OptionError(f"Option inputs: channel {name!r} is named twice.")
    if not inputs:
        raise OptionError("Option inputs names no channel; 'beat' is the beat alone.")


def surroundings(
    signal: Signal, peaks: NDArray[np.int64], rows: NDArray[np.int64], window: int, inputs: Sequence[str]
) -> NDArray[np.float32]:
    """Compute channels for some beats of one record.

    They know nothing of labels, only where the beats are; neighbours and medians look at later beats too.

    Args:
        signal: one lead at 360 Hz, ``[T]``; gaps (NaN) are taken for its median.
        peaks: every beat of the record, in order ``[P]``.
        rows: those that channels are wanted for ``[B]``.
        window: samples of a beat.
        inputs: keys of :data:`CHANNELS`.

    Returns:
        ``[B, len(inputs), window]``, values in [0, 1].
    """
    filled = np.where(np.isfinite(signal), signal, np.nanmedian(signal))
    half = window // 2
    reach = half * _DECIMATION
    padded = np.pad(filled, reach, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, window)
    waves = windows[peaks + reach - half]  # [P, window]
    place = np.arange(len(peaks))
    wants_usual = {"usual", "difference", "rhythm"} & set(inputs)
    usual = _usual(waves, rows) if wants_usual else waves[rows]  # [B, window]
    height = np.maximum(np.ptp(usual, axis=1), 1e-3)
    channels = []
    for name in inputs:
        if name == "beat":
            channels.append(_scale(waves[rows]))
        elif name == "usual":
            channels.append(_scale(usual))
        elif name == "difference":
            apart = _centre(waves[rows]) - _centre(usual)
            channels.append(np.clip(0.5 + apart / (2 * height[:, None]), 0, 1))
        elif name == "previous":
            channels.append(_scale(waves[np.maximum(place - 1, 0)][rows]))
        elif name == "next":
            channels.append(_scale(waves[np.minimum(place + 1, len(place) - 1)][rows]))
        elif name == "strip":
            long = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach)[peaks[rows]]  # [B, 6 window]
            channels.append(_scale(long.reshape(len(rows), window, _DECIMATION).mean(2)))
        else:
            figures = _rhythm(peaks, rows, np.ptp(waves[rows], axis=1) / height)  # [B, 14]
            channels.append(np.repeat(figures, -(-window // len(RHYTHM)), axis=1)[:, :window])
    return np.stack(channels, axis=1).astype(np.float32)


def _usual(waves: Signal, rows: NDArray[np.int64]) -> Signal:
    """Take the median of the beats around each."""
    return np.stack([np.median(waves[max(0, row - _AROUND) : row + _AROUND + 1], axis=0) for row in rows])


def _rhythm(peaks: NDArray[np.int64], rows: NDArray[np.int64], height: Signal) -> Signal:
    """Compute the figures of :data:`RHYTHM`, ``[B, 14]``."""
    between = np.diff(peaks) / 360.0
    typical = float(np.median(between)) if len(between) else 1.0
    between = np.maximum(between, 1e-3)
    before = np.concatenate([[typical], between])
    after = np.concatenate([between, [typical]])
    last = len(before) - 1
    figures = []
    for row in rows:
        near, background = before[max(0, row - 10) : row + 11], before[max(0, row - 50) : row + 51]
        middle, quartile = float(np.median(near)), float(np.percentile(background, 75))
        five = before[max(0, row - 5) : row]
        figures.append(
            (
                before[row] / middle / 2,
                after[row] / middle / 2,
                before[max(row - 1, 0)] / middle / 2,
                after[min(row + 1, last)] / middle / 2,
                middle / 2,
                before[row] / typical / 2,
                after[row] / typical / 2,
                0.5,
                2 * np.std(near) / middle,
                np.mean(background < before[row]),
                4 * np.median(np.abs(near / middle - 1)),
                before[row] / (np.mean(five) if len(five) else before[row]) / 2,
                before[row] / quartile / 2,
                after[row] / quartile / 2,
            )
        )
    table = np.array(figures, dtype=np.float64).reshape(len(rows), len(RHYTHM))
    table[:, 7] = 0.5 + np.log2(np.maximum(height, 1e-6)) / 4
    clipped: Signal = np.clip(table, 0, 1)
    return clipped


def _scale(waves: Signal) -> Signal:
    low, high = waves.min(1, keepdims=True), waves.max(1, keepdims=True)
    scaled: Signal = (waves - low) / np.maximum(high - low, 1e-6)
    return scaled


def _centre(waves: Signal) -> Signal:
    centred: Signal = waves - np.median(waves, axis=1, keepdims=True)
    return centred
