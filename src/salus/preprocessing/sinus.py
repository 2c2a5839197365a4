"""Heartbeats beside the sinus beat of their own record: how far each departs from it, and how it is timed.

The record itself says what is usual in it, without any label: its sinus beat is the mean of the beats that come when
they are expected and look alike. Every beat is shifted to fit it before the two are compared, as annotators and
detectors do not always mark the same point of a wave.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: The figures of ``timing``, in their order; each in [0, 1], around 0.5.
TIMING = (
    "interval before / mean of the record, ln / 2 + 0.5",
    "interval after / mean of the record, ln / 2 + 0.5",
    "irregularity of 61 pairs of neighbouring intervals, ln((it + 0.01) / 0.03) / 4 + 0.5",
    "departure of the beat / median departure of the record, ln / 6 + 0.5",
    "share of the record's beats that are early and depart, ln((it + 0.002) / 0.02) / 6 + 0.5",
)

#: Samples that a beat is shifted by at most, to fit (39 ms at 360 Hz).
SHIFT = 14
#: Where the QRS complex lies in a window of 280, for fitting and for telling beats apart; and QRS with T wave.
_FITTED, _COMPLEX, _BEAT = slice(90, 190), slice(100, 190), slice(70, 210)
#: Beats whose shifts are found together.
_TOGETHER = 512
#: Intervals on either side that irregularity looks at, and which neighbour of each pair counts.
PAIRS, NEIGHBOUR = 30, 4
#: Logarithm of an interval over the mean below which a beat is early.
EARLY = -0.08
#: Shortest interval that is believed, s, and the smallest height of a beat, mV.
SHORTEST, LOWEST = 0.05, 0.1


def intervals(peaks: NDArray[np.int64], rate: float = 360.0) -> NDArray[np.float64]:
    """Logarithms of the intervals between beats over their mean ``[P - 1]``."""
    between = np.maximum(np.diff(peaks) / rate, SHORTEST)
    return np.asarray(np.log(between / between.mean()) if len(between) else between, dtype=np.float64)


def departures(signals: Tensor, peaks: NDArray[np.int64], window: int) -> Tensor:
    """Compare every beat with the sinus beat of its record; differentiable in the signals.

    Which beats make up the sinus beat, and by how much each is shifted, has no gradient: both are choices.

    Args:
        signals: leads at 360 Hz, in mV, without gaps ``[L, T]``.
        peaks: every beat of the record, in order ``[P]``.
        window: samples of a beat.

    Returns:
        Beat less sinus beat, each around its own median, as a share of the sinus beat's height ``[P, L, window]``.
    """
    half = window // 2 + SHIFT
    padded = torch.cat([signals[:, :1].expand(-1, half), signals, signals[:, -1:].expand(-1, half)], dim=1)
    at = torch.from_numpy(peaks.clip(0, signals.shape[1] - 1))
    around = at[:, None] + torch.arange(2 * half)  # [P, window + 2 SHIFT]
    # A beat lies around the median of its unshifted window.
    still = padded[:, around[:, SHIFT:-SHIFT]].transpose(0, 1).median(2, keepdim=True).values  # [P, L, 1]
    with torch.no_grad():
        wide = padded[:, around].transpose(0, 1) - still  # [P, L, window + 2 SHIFT]
        shift, sinus = fit(wide, _before(peaks))
    own = padded[:, (at + SHIFT + shift)[:, None] + torch.arange(window)].transpose(0, 1) - still  # [P, L, window]
    template = own[sinus].mean(0)  # [L, window]
    height = (template.amax(1) - template.amin(1)).clamp(min=LOWEST)
    return (own - template) / height[:, None]


def timing(peaks: NDArray[np.int64], departed: Tensor) -> Tensor:
    """Compute the figures of :data:`TIMING`, float64 ``[P, 5]``; the departure alone has a gradient.

    Args:
        peaks: every beat of the record, in order ``[P]``.
        departed: of :func:`departures`, ``[P, L, window]``.
    """
    before = _before(peaks)
    after = np.append(intervals(peaks), 0.0)[: len(peaks)]
    size = departure_sizes(departed)  # [P]
    unusual = (size / size.median()).log()
    early = torch.from_numpy(before < EARLY)
    ectopic = float(((unusual.detach() > np.log(2.5)) & early).double().mean())
    fixed = np.stack(
        [
            before / 2,
            after / 2,
            np.log((irregularity(peaks) + 0.01) / 0.03) / 4,
            np.zeros(len(peaks)),
            np.full(len(peaks), np.log((ectopic + 0.002) / 0.02) / 6),
        ],
        axis=1,
    )
    figures = 0.5 + torch.from_numpy(fixed)
    figures = torch.where(torch.arange(len(TIMING)) == 3, 0.5 + unusual[:, None] / 6, figures)
    return figures.clamp(0, 1)


def departure_sizes(departed: Tensor) -> Tensor:
    """Tell how far each beat of ``[P, L, window]`` departs around its QRS complex and T wave, float64 ``[P]``."""
    return departed[..., _BEAT].double().square().mean((1, 2)).clamp(min=1e-12).sqrt() + 0.01


def irregularity(peaks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Tell how little the rhythm around each beat repeats itself ``[P]``.

    Pairs of neighbouring intervals, as logarithms, are points of a plane (Lorenz or Poincaré plot). In sinus rhythm,
    and with premature beats too, they fall into few clusters; in atrial fibrillation they lie all over. It is the
    median over 61 pairs of the distance to the fourth nearest of them, in the maximum norm.
    """
    return _irregularity(np.ascontiguousarray(peaks).tobytes())


@lru_cache(maxsize=4)
def _irregularity(places: bytes) -> NDArray[np.float64]:
    """Compute it once for each list of beats: who attacks a recording asks again and again."""
    peaks = np.frombuffer(places, dtype=np.int64)
    log = intervals(peaks)
    pairs = np.stack([log[:-1], log[1:]], axis=1) if len(log) > 1 else np.zeros((1, 2))  # [M, 2]
    padded = np.pad(pairs, ((PAIRS, PAIRS), (0, 0)), mode="reflect" if len(pairs) > 1 else "edge")
    medians = []
    for start in range(0, len(pairs), 256):
        rows = np.arange(start, min(start + 256, len(pairs)))[:, None] + np.arange(2 * PAIRS + 1)
        medians.append(spread_of(padded[rows]))
    inner = np.concatenate(medians)
    spread: NDArray[np.float64] = np.concatenate([inner[:1], inner, inner[-1:]])[: len(peaks)]
    spread = spread if len(log) > 1 else np.zeros(len(peaks))
    spread.setflags(write=False)
    return spread


def spread_of(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take the median over some pairs of the distance to the fourth nearest ``[b]``, of ``[b, M, 2]``.

    To the farthest where there are fewer than five.
    """
    first, second = pairs[..., 0], pairs[..., 1]
    apart = np.abs(first[:, :, None] - first[:, None])
    np.maximum(apart, np.abs(second[:, :, None] - second[:, None]), out=apart)  # [b, M, M]
    place = min(NEIGHBOUR, pairs.shape[1] - 1)
    return np.asarray(np.median(np.partition(apart, place, axis=2)[:, :, place], axis=1), dtype=np.float64)


def _before(peaks: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.insert(intervals(peaks), 0, 0.0)[: len(peaks)]


def fit(wide: Tensor, before: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
    """Find the shift of each beat, and the beats that make up the sinus beat.

    Args:
        wide: beats with a margin on either side ``[P, L, window + 2 SHIFT]``.
        before: logarithm of the interval before each over the mean ``[P]``.
    """
    expected = torch.from_numpy(np.abs(before) < 0.15)
    if int(expected.sum()) < 20:  # as where every other beat is early: those that are not are of the sinus
        expected = torch.from_numpy(before > EARLY)
    if not bool(expected.any()):
        expected = torch.ones_like(expected)
    shift = torch.zeros(len(wide), dtype=torch.int64)
    own = wide[..., SHIFT:-SHIFT]
    for _ in range(3):
        template, _ = _sinus(own, expected)
        shift = shifts(wide, template)
        at = (SHIFT + shift)[:, None] + torch.arange(own.shape[2])  # [P, window]
        own = wide.gather(2, at[:, None].expand(-1, wide.shape[1], -1))
    return shift, _sinus(own, expected)[1]


def _sinus(own: Tensor, expected: Tensor) -> tuple[Tensor, Tensor]:
    """Average the expected beats that look most alike; returns that beat ``[L, window]``, and which they were."""
    complexes = own[..., _COMPLEX].flatten(1)  # [P, L * 90]
    complexes = complexes - complexes.mean(1, keepdim=True)
    template, chosen = own[expected].median(0).values, expected
    for _ in range(3):
        middle = template[:, _COMPLEX].flatten()
        middle = middle - middle.mean()
        distance = (complexes - middle).norm(dim=1) / middle.norm().clamp(min=1e-9)
        chosen = (distance <= max(0.3, float(distance[expected].quantile(0.3)))) & expected
        if int(chosen.sum()) < 20:
            chosen = distance <= distance.quantile(0.3)
        template = own[chosen].mean(0)
    return template, chosen


def shifts(wide: Tensor, template: Tensor) -> Tensor:
    """Find the shift at which each beat correlates best with a template, short ones preferred ``[P]``."""
    height = (template.amax(1) - template.amin(1)).clamp(min=LOWEST)[:, None]
    middle = (template / height)[:, _FITTED]
    middle = middle - middle.mean(1, keepdim=True)  # [L, 100]
    size, reach = middle.shape[1], 2 * SHIFT + 1
    # Columns of these hold the template, or ones, each a sample further on: products with them are sums over windows.
    place = torch.arange(reach)[:, None] + torch.arange(size)  # [29, 100]
    against = middle.new_zeros(len(middle), reach, size + 2 * SHIFT)
    against.scatter_(2, place.expand(len(middle), -1, -1), middle[:, None].expand(-1, reach, -1))
    within = middle.new_zeros(reach, size + 2 * SHIFT).scatter_(1, place, 1.0).T  # [128, 29]
    price = 0.002 * (torch.arange(reach) - SHIFT).abs()
    best = []
    for beats in wide.split(_TOGETHER):
        shifted = (beats / height)[..., _FITTED.start : _FITTED.stop + 2 * SHIFT]  # [b, L, 128]
        product = torch.einsum("blt,lst->bs", shifted, against)
        spread = shifted.square() @ within - (shifted @ within).square() / size  # [b, L, 29]
        length = (spread.sum(1).clamp(min=0.0) * middle.square().sum() + 1e-9).sqrt()
        best.append((product / length - price).argmax(1) - SHIFT)
    return torch.cat(best)
