"""A share and its 95% interval: Wilson's for independent samples, resampled patients where there are any."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salus.metrics.arrays import Values, flat, matched

CONFIDENCE = 0.95

#: Resampling fewer patients than this, weighted by what they supply, claims more than they can tell.
_FEW_PATIENTS = 5.0


@dataclass(frozen=True)
class Rate:
    """A number with its 95% interval; all None when nothing was counted.

    Attributes:
        value: what was measured.
        low: lower end of the interval, at most ``value``.
        high: upper end, at least ``value``.
        n: how many samples it was measured on.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int

    def named(self, name: str) -> dict[str, float | None]:
        """Spell it as the three fields ``name``, ``name_low``, ``name_high`` of a flat record."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


def proportion(
    hits: Values,
    of: Values | None = None,
    groups: Values | None = None,
    *,
    seed: int = 0,
    resamples: int = 2000,
) -> Rate:
    """Share of ``hits`` among ``of``, with a 95% interval.

    Args:
        hits: bool ``[N]``; only those inside ``of`` count.
        of: bool ``[N]``, what the share is taken of; everything when not given.
        groups: ``[N]``, the patient of each sample; without it samples count as independent (Wilson).
        seed: of the resampling; the same input gives the same interval.
        resamples: how many times the patients are drawn again.

    Returns:
        The share; all None when ``of`` is empty. A single patient tells nothing of others: 0 to 1.

    Raises:
        DataError: lengths differ.
    """
    hit = flat(hits, "hits").astype(bool)
    base = np.ones_like(hit) if of is None else flat(of, "of").astype(bool)
    matched("hits and of", hit, base)
    n = int(base.sum())
    if n == 0:
        return Rate(None, None, None, 0)
    count = int((hit & base).sum())
    if groups is None:
        low, high = wilson(count, n)
    else:
        patients = flat(groups, "groups")
        matched("hits and groups", hit, patients)
        low, high = _bootstrap(hit[base], patients[base], seed, resamples)
    value = count / n
    return Rate(value, min(low, value), max(high, value), n)


def wilson(count: float, n: float) -> tuple[float, float]:
    """Wilson's score interval (1927) at 95% for ``count`` out of ``n`` independent trials, n > 0."""
    from scipy.stats import norm

    z = float(norm.ppf((1 + CONFIDENCE) / 2))
    share = count / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At 0 and at 1 the formula ends exactly there; rounding does not.
    return (0.0 if count == 0 else max(0.0, centre - half)), (1.0 if count == n else min(1.0, centre + half))


def _bootstrap(hit: NDArray[Any], patients: NDArray[Any], seed: int, resamples: int) -> tuple[float, float]:
    """Percentile interval over resampled patients, expanded for few patients (Hesterberg, 2015).

    Resampling says nothing about the uncertainty where every resample gives the same share, and too little
    where a few patients supply nearly everything. Then it is widened to Wilson's interval with each patient
    as one trial; unequal patients count as (sum of sizes)² / (sum of squared sizes) equal ones (Kish, 1965).
    """
    from scipy.stats import norm, t

    _, patient = np.unique(patients, return_inverse=True)
    totals = np.bincount(patient)  # [G] samples of each patient
    counts = np.bincount(patient, weights=hit).astype(np.int64)  # [G] hits of each patient
    g = len(totals)
    if g == 1:
        return 0.0, 1.0
    # Patients with the same (hits, samples) are interchangeable: drawing how often each such kind comes
    # is the same multinomial as drawing the patients, and far smaller with thousands of them.
    kinds, multiplicity = np.unique(np.stack([counts, totals], 1), axis=0, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(g, multiplicity / g, size=resamples)  # [B, kinds]
    sums = draws @ kinds  # [B, 2]
    shares = sums[:, 0] / sums[:, 1]
    value = float(counts.sum() / totals.sum())
    if shares.min() == shares.max():
        return wilson(g * value, g)
    # A plain percentile interval is too narrow by about sqrt((g - 1) / g) and has no t quantile.
    tail = float(norm.cdf(sqrt(g / (g - 1)) * t.ppf((1 - CONFIDENCE) / 2, g - 1)))
    low, high = np.quantile(shares, [tail, 1 - tail])
    effective = float(totals.sum() ** 2 / np.square(totals).sum())
    if effective < _FEW_PATIENTS:
        widest = wilson(effective * value, effective)
        return min(float(low), widest[0]), max(float(high), widest[1])
    return float(low), float(high)
