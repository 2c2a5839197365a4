"""Whether scores and inputs still look as they did at first: Kolmogorov and Smirnov's distance of binned samples."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from salus.serve.monitoring.axes import SCORE_EDGES
from salus.serve.monitoring.counts import Counts, Histogram

#: A distance below this is no drift, however many inputs show it: a million of them differ in something.
SMALLEST_DISTANCE = 0.1

#: And it must come by chance this rarely, over all figures of a guard together; it is looked at every minute.
RARE = 0.001

#: Inputs without which nothing is said.
FEWEST = 50

#: Parts of the baseline that the population stability index compares.
_PARTS = 10


@dataclass(frozen=True)
class Drift:
    """How far one figure has moved from its baseline.

    Attributes:
        kind: ``score`` of a detector, or ``input``.
        name: of the detector or of the figure.
        distance: of the two distributions, after Kolmogorov and Smirnov; at most that of the unbinned values.
        p: how likely a distance as large is where nothing has moved, over all figures together (Holm, 1979).
        psi: population stability index; by custom above 0.25 is a large change.
        from_calibration: distance of a detector's scores from what its calibration expects of clean inputs; None of
            inputs, and where a paper's own rule calibrated it.
        n: how many inputs it was measured on.
    """

    kind: str
    name: str
    distance: float
    p: float
    psi: float
    from_calibration: float | None
    n: int

    @property
    def alarming(self) -> bool:
        """Whether it has moved, and far enough to matter."""
        return self.distance >= SMALLEST_DISTANCE and self.p <= RARE


def distance(first: Histogram, second: Histogram) -> float:
    """Largest difference of two binned distributions: never above Kolmogorov and Smirnov's of the values in the bins.

    Between bins both cumulative shares are known exactly, and the largest difference anywhere is no smaller than the
    largest one there.
    """
    apart = np.cumsum(first) / first.sum() - np.cumsum(second) / second.sum()
    return float(np.abs(apart).max())


def p_value(distance: float, n: int, m: int) -> float:
    """How likely two samples of n and m values from one distribution lie at least so far apart.

    The asymptotic law, as in ``scipy.stats.ks_2samp``; binned samples lie nearer than they did, so it errs on the side
    of no drift.
    """
    from scipy.stats import kstwo

    return float(np.clip(kstwo.sf(distance, max(1, round(n * m / (n + m)))), 0.0, 1.0))


def stability_index(before: Histogram, now: Histogram) -> float:
    """Population stability index over about ten equal parts of what was before; half an input is added to each."""
    cumulative = np.cumsum(before) / before.sum()
    part = np.minimum((cumulative - before / before.sum() / 2) * _PARTS, _PARTS - 1).astype(np.int64)  # [bins], rising
    expected, observed = (np.bincount(part, histogram, _PARTS) for histogram in (before, now))
    kept = (expected > 0) | (observed > 0)
    shares = [(counts[kept] + 0.5) / (counts[kept] + 0.5).sum() for counts in (expected, observed)]
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def holm(p: Sequence[float]) -> list[float]:
    """Correct the p-values of several tests for their number (Holm, 1979)."""
    order = np.argsort(p)
    steps = np.asarray(p, np.float64)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return [float(value) for value in corrected]


def distance_from_calibration(histogram: Histogram) -> float:
    """Distance of binned scores from minus the logarithm of a uniform p-value, which clean inputs have."""
    expected = -np.expm1(-np.array(SCORE_EDGES))  # share below each edge
    observed = np.cumsum(histogram)[:-1] / histogram.sum()
    return float(np.abs(observed - expected).max())


def drifts(before: Counts, now: Counts, own_rules: Collection[str] = ()) -> list[Drift]:
    """Compare every figure of a bundle with its baseline.

    Args:
        before: the baseline.
        now: what was counted lately.
        own_rules: names of detectors whose scores are not calibrated as p-values; twins share one.

    Returns:
        The figures that both have, each with at least :data:`FEWEST` inputs; first the scores.
    """
    pairs = [
        (kind, name, here[name], there[name])
        for kind, here, there in (("score", now.scores, before.scores), ("input", now.inputs, before.inputs))
        for name in there
        if name in here and len(here[name]) == len(there[name]) and min(here[name].sum(), there[name].sum()) >= FEWEST
    ]
    distances = [distance(here, there) for _, _, here, there in pairs]
    p = holm(
        [
            p_value(apart, int(here.sum()), int(there.sum()))
            for apart, (_, _, here, there) in zip(distances, pairs, strict=True)
        ]
    )
    return [
        Drift(
            kind,
            name,
            apart,
            chance,
            stability_index(there, here),
            distance_from_calibration(here) if kind == "score" and name.split("#")[0] not in own_rules else None,
            int(here.sum()),
        )
        for apart, chance, (kind, name, here, there) in zip(distances, p, pairs, strict=True)
    ]
