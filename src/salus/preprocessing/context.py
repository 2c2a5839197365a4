"""What surrounds a heartbeat, as further channels beside it: neighbours, the patient's usual beat, the rhythm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from salus.errors import OptionError, nearest
from salus.preprocessing.past import departures_so_far, timing_so_far
from salus.preprocessing.sinus import departures, timing

#: Every channel, and what it holds. Waves are min-max scaled by themselves, as the beat is, unless said.
CHANNELS = {
    "beat": "the beat itself",
    "usual": "the median of the 61 beats around it",
    "difference": "the beat less that median, in mV, as a share of twice its height, around 0.5",
    "previous": "the beat before",
    "next": "the beat after",
    "strip": "4.7 s around the beat, six samples averaged to one",
    "rhythm": "fourteen figures of the intervals around the beat and of its height, twenty samples each",
    "departure": "the beat less the record's sinus beat, shifted to fit, as a share of twice its height, around 0.5",
    "second-departure": "the same in a second lead: V1, else V5, V2, V4, else another that is alive",
    "timing": "five figures of when the beat comes and how far it departs, in that record, 56 samples each",
    "departure-past": "departure, beside the sinus beat of the record so far: no later beat is looked at",
    "second-departure-past": "the same in a second lead",
    "timing-past": "timing, by the record so far: of later beats when the next one comes is all that is looked at",
}

#: Channels that need a second lead.
SECOND_LEAD = frozenset({"second-departure", "second-departure-past"})
#: Channels that show waves around 0.5, beside the sinus beat of the record.
DEPARTURES = frozenset({"departure", "second-departure", "departure-past", "second-departure-past"})
#: Channels of figures that go with them.
TIMINGS = frozenset({"timing", "timing-past"})

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
#: Beats whose medians are taken together.
_TOGETHER = 256
#: Which of the figures looks at the signal itself.
_HEIGHT = 7


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
    signal: Tensor,
    peaks: NDArray[np.int64],
    rows: NDArray[np.int64],
    window: int,
    inputs: Sequence[str],
    second: Tensor | None = None,
) -> Tensor:
    """Compute channels for some beats of one record, differentiable in the signal.

    They know nothing of labels, only where the beats are; neighbours and medians look at later beats too, but for
    the channels whose names end in ``past``.

    Args:
        signal: one lead at 360 Hz, ``[T]``, float64; gaps (NaN) are taken for its median.
        peaks: every beat of the record, in order ``[P]``.
        rows: those that channels are wanted for ``[B]``.
        window: samples of a beat.
        inputs: keys of :data:`CHANNELS`.
        second: another lead ``[T]``, for those of :data:`SECOND_LEAD`; timing looks at it too where it is given.

    Returns:
        float32 ``[B, len(inputs), window]``, values in [0, 1].
    """
    half = window // 2
    reach = half * _DECIMATION
    given = [signal] if second is None else [signal, second]
    signal = _whole(signal)
    padded = torch.cat([signal[:1].expand(reach), signal, signal[-1:].expand(reach)])
    windows = padded.unfold(0, window, 1)
    at = torch.from_numpy(peaks.clip(0, len(signal) - 1))  # somebody may have marked a beat beyond the end
    place = torch.from_numpy(rows)
    wanted = set(inputs)
    departed = departed_so_far = signal.new_empty(0)
    if {"departure", "second-departure", "timing"} & wanted:
        departed = departures(torch.stack([_whole(lead) for lead in given]), peaks, window)  # [P, L, window]
    if {"departure-past", "second-departure-past", "timing-past"} & wanted:
        departed_so_far = departures_so_far(torch.stack([_held(lead) for lead in given]), peaks, window)
    own = windows[at[place] + reach - half]  # [B, window]
    # Of all beats only where neighbours are asked for: of a day's record they are many.
    waves = windows[at + reach - half] if wanted - {"beat", "strip"} else own
    usual = _usual(waves, rows) if {"usual", "difference", "rhythm"} & wanted else own  # [B, window]
    height = (usual.amax(1) - usual.amin(1)).clamp(min=1e-3)
    channels = []
    for name in inputs:
        if name == "beat":
            channels.append(_scale(own))
        elif name == "usual":
            channels.append(_scale(usual))
        elif name == "difference":
            apart = _centre(own) - _centre(usual)
            channels.append((0.5 + apart / (2 * height[:, None])).clamp(0, 1))
        elif name == "previous":
            channels.append(_scale(waves[(place - 1).clamp(min=0)]))
        elif name == "next":
            channels.append(_scale(waves[(place + 1).clamp(max=len(at) - 1)]))
        elif name == "strip":
            long = padded.unfold(0, 2 * reach, 1)[at[place]]  # [B, 6 window]
            channels.append(_scale(long.reshape(len(place), window, _DECIMATION).mean(2)))
        elif name == "departure":
            channels.append((0.5 + departed[place, 0] / 2).clamp(0, 1))
        elif name == "second-departure":
            channels.append((0.5 + departed[place, 1] / 2).clamp(0, 1))
        elif name == "timing":
            channels.append(_spread(timing(peaks, departed)[place], window))
        elif name == "departure-past":
            channels.append((0.5 + departed_so_far[place, 0] / 2).clamp(0, 1))
        elif name == "second-departure-past":
            channels.append((0.5 + departed_so_far[place, 1] / 2).clamp(0, 1))
        elif name == "timing-past":
            channels.append(_spread(timing_so_far(peaks, departed_so_far)[place], window))
        else:
            figures = _rhythm(peaks, rows, (own.amax(1) - own.amin(1)) / height)  # [B, 14]
            channels.append(_spread(figures, window))
    return torch.stack(channels, dim=1).float()


def _whole(signal: Tensor) -> Tensor:
    """Fill gaps with the median of the rest."""
    finite = signal.isfinite()
    return signal if bool(finite.all()) else torch.where(finite, signal, _median(signal.detach()[finite]))


def _held(signal: Tensor) -> Tensor:
    """Fill gaps with the last sample before them, 0 where there is none."""
    finite = signal.isfinite()
    if bool(finite.all()):
        return signal
    last = torch.where(finite, torch.arange(len(signal)), -1).cummax(0).values  # [T]
    return torch.where(last >= 0, signal[last.clamp(min=0)].nan_to_num(0.0), 0.0)


def _spread(figures: Tensor, window: int) -> Tensor:
    """Give each figure of ``[B, F]`` as many samples of a channel ``[B, window]``."""
    return figures.repeat_interleave(-(-window // figures.shape[1]), dim=1)[:, :window]


def _usual(waves: Tensor, rows: NDArray[np.int64]) -> Tensor:
    """Take the median of the beats around each of some ``[B, window]``."""
    whole = (rows >= _AROUND) & (rows < len(waves) - _AROUND)
    usual = waves.new_empty(len(rows), waves.shape[1])
    around = torch.arange(-_AROUND, _AROUND + 1)
    inner = torch.from_numpy(np.flatnonzero(whole))
    for part in inner.split(_TOGETHER):
        near = torch.from_numpy(rows)[part][:, None] + around  # [b, 61]
        usual = usual.index_put((part,), _middle(waves[near]))
    for place in np.flatnonzero(~whole).tolist():  # near the ends of the record
        row = int(rows[place])
        near_end = _median(waves[max(0, row - _AROUND) : row + _AROUND + 1])
        usual = usual.index_put((torch.tensor([place]),), near_end[None])
    return usual


def _middle(near: Tensor) -> Tensor:
    """Take the middle of an odd number of beats, ``[b, window]`` of ``[b, odd, window]``."""
    if near.requires_grad:
        return near.median(1).values
    middle = near.shape[1] // 2  # NumPy partitions three times as fast
    return torch.from_numpy(np.partition(near.numpy(), middle, axis=1)[:, middle])


def _median(values: Tensor) -> Tensor:
    """Take the median along the first dimension, the mean of the middle two where there are as many on both sides."""
    ordered = values.sort(0).values
    middle = len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _rhythm(peaks: NDArray[np.int64], rows: NDArray[np.int64], height: Tensor) -> Tensor:
    """Compute the figures of :data:`RHYTHM`, ``[B, 14]``; of them the height alone has a gradient."""
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
    table = torch.tensor(figures, dtype=torch.float64).reshape(len(rows), len(RHYTHM))
    shown = 0.5 + height.double().clamp(min=1e-6).log2() / 4
    table = torch.where(torch.arange(len(RHYTHM)) == _HEIGHT, shown[:, None], table)
    return table.clamp(0, 1)


def _scale(waves: Tensor) -> Tensor:
    low, high = waves.amin(1, keepdim=True), waves.amax(1, keepdim=True)
    return (waves - low) / (high - low).clamp(min=1e-6)


def _centre(waves: Tensor) -> Tensor:
    return waves - _median(waves.T)[:, None]
