"""Heartbeats beside what their record has shown so far: the figures of ``sinus``, by the past alone.

A monitor cannot wait until the recording has ended. Here the sinus beat, the mean interval, the usual departure, the
irregularity and the share of early departing beats are those of the beats up to the one that is judged; of what comes
after it one thing is looked at, when the next beat comes, and so an answer comes one beat late. The sinus beat and the
usual departure are found anew whenever the beats so far have grown by half: after 1, 2, 3, 5, 8, 12, 18, ... of them.
Where beats are is another matter: annotators have seen the whole recording, and so has a detector that is run on it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from salus.preprocessing.sinus import EARLY, LOWEST, PAIRS, SHIFT, SHORTEST, departure_sizes, fit, shifts, spread_of


def departures_so_far(signals: Tensor, peaks: NDArray[np.int64], window: int) -> Tensor:
    """Compare every beat with the sinus beat of its record so far; differentiable in the signals.

    Args:
        signals: leads at 360 Hz, in mV, without gaps ``[L, T]``.
        peaks: every beat of the record, in order ``[P]``.
        window: samples of a beat.

    Returns:
        As :func:`salus.preprocessing.sinus.departures`, ``[P, L, window]``; no later beat changes a row.
    """
    half = window // 2 + SHIFT
    padded = torch.cat([signals[:, :1].expand(-1, half), signals, signals[:, -1:].expand(-1, half)], dim=1)
    at = torch.from_numpy(peaks.clip(0, signals.shape[1] - 1))
    around = at[:, None] + torch.arange(2 * half)  # [P, window + 2 SHIFT]
    still = padded[:, around[:, SHIFT:-SHIFT]].transpose(0, 1).median(2, keepdim=True).values  # [P, L, 1]
    with torch.no_grad():
        wide = padded[:, around].transpose(0, 1) - still  # [P, L, window + 2 SHIFT]
    before, _ = intervals_so_far(peaks)

    def shifted(rows: Tensor, by: Tensor) -> Tensor:
        places = (at[rows] + SHIFT + by)[:, None] + torch.arange(window)
        return padded[:, places].transpose(0, 1) - still[rows]  # [b, L, window]

    departed = []
    for seen, start, stop in _refits(len(peaks)):
        with torch.no_grad():
            shift, sinus = fit(wide[:seen], before[:seen])
        chosen = sinus.nonzero()[:, 0]
        template = shifted(chosen, shift[chosen]).mean(0)  # [L, window]
        height = (template.amax(1) - template.amin(1)).clamp(min=LOWEST)
        rows = torch.arange(start, stop)
        own = shifted(rows, shifts(wide[start:stop], template.detach()))
        departed.append((own - template) / height[:, None])
    return torch.cat(departed) if departed else signals.new_empty(0, len(signals), window)


def timing_so_far(peaks: NDArray[np.int64], departed: Tensor) -> Tensor:
    """Compute the figures of ``salus.preprocessing.sinus.TIMING`` by the past alone, float64 ``[P, 5]``.

    Args:
        peaks: every beat of the record, in order ``[P]``.
        departed: of :func:`departures_so_far`, ``[P, L, window]``.
    """
    before, after = intervals_so_far(peaks)
    size = departure_sizes(departed)  # [P]
    parts = [(size[start:stop] / size[:seen].median()).log() for seen, start, stop in _refits(len(peaks))]
    unusual = torch.cat(parts) if parts else size
    ectopic = ((unusual.detach() > np.log(2.5)) & torch.from_numpy(before < EARLY)).double()
    share = ectopic.cumsum(0) / torch.arange(1, len(peaks) + 1)
    figures = torch.stack(
        [
            torch.from_numpy(before) / 2,
            torch.from_numpy(after) / 2,
            torch.from_numpy(np.log((irregularity_so_far(peaks) + 0.01) / 0.03)) / 4,
            unusual / 6,
            ((share + 0.002) / 0.02).log() / 6,
        ],
        dim=1,
    )
    return (0.5 + figures).clamp(0, 1)


def intervals_so_far(peaks: NDArray[np.int64], rate: float = 360.0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Logarithms of the intervals before and after each beat over the mean of those before it ``[P]``, ``[P]``.

    0 where there is no such interval, as before the first beat and after the last.
    """
    before, after = np.zeros(len(peaks)), np.zeros(len(peaks))
    between = np.maximum(np.diff(peaks) / rate, SHORTEST)
    if len(between):
        mean = np.log(between.cumsum() / np.arange(1, len(peaks)))  # of the intervals before beats 1, 2, ...
        before[1:] = np.log(between) - mean
        after[1:-1] = np.log(between[1:]) - mean[:-1]
    return before, after


def irregularity_so_far(peaks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Tell how little the rhythm up to each beat repeats itself, over its last 61 pairs of intervals ``[P]``.

    See :func:`salus.preprocessing.sinus.irregularity`. 0 where there is no pair yet; the farthest where there are
    fewer than five.
    """
    log = np.log(np.maximum(np.diff(peaks) / 360.0, SHORTEST))  # their mean does not matter for distances
    width = 2 * PAIRS + 1
    spread = np.zeros(len(peaks))
    pairs = np.stack([log[:-1], log[1:]], axis=1) if len(log) > 1 else np.zeros((0, 2))  # [M, 2]
    for beat in range(2, min(len(peaks), width + 1)):
        spread[beat] = spread_of(pairs[None, : beat - 1])[0]
    if len(pairs) >= width:
        windows = np.lib.stride_tricks.sliding_window_view(pairs, width, axis=0).swapaxes(1, 2)  # [M - 60, 61, 2]
        for start in range(0, len(windows), 256):
            rows = windows[start : start + 256]
            spread[width + 1 + start : width + 1 + start + len(rows)] = spread_of(rows)
    return spread


def _refits(beats: int) -> Iterator[tuple[int, int, int]]:
    """List how many beats have been seen when things are found anew, and for which beats that holds until the next."""
    seen = 1
    while seen <= beats:
        following = max(seen + 1, -(-3 * seen // 2))
        yield seen, seen - 1, min(following - 1, beats)
        seen = following
