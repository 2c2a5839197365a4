"""Shares, means and their 95% intervals: Wilson's for independent samples, resampled patients where there are any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salus.errors import DataError
from salus.metrics.arrays import Values, check_lengths, flat

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
        hits: bool ``[N]``, or how likely each is; only those inside ``of`` count.
        of: bool ``[N]``, or how likely each is, what the share is taken of; everything when not given.
        groups: ``[N]``, the patient of each sample; without it samples count as independent (Wilson).
        seed: of the resampling; the same input gives the same interval.
        resamples: how many times the patients are drawn again.

    Returns:
        The share; all None when ``of`` is empty. A single patient tells nothing of others: 0 to 1.

    Raises:
        DataError: lengths differ.
    """
    hit = flat(hits, "hits").astype(np.float64)
    base = np.ones_like(hit) if of is None else flat(of, "of").astype(np.float64)
    check_lengths("hits and of", hit, base)
    n = float(base.sum())
    if n == 0:
        return Rate(None, None, None, 0)
    count = float((hit * base).sum())
    if groups is None:
        low, high = wilson(count, n)
    else:
        patients = flat(groups, "groups")
        check_lengths("hits and groups", hit, patients)
        some = base > 0
        low, high = _bootstrap(hit[some], patients[some], seed, resamples, base[some])
    value = count / n
    return Rate(value, min(low, value), max(high, value), round(n))


def mean_value(
    values: Values,
    most: float,
    groups: Values | None = None,
    *,
    seed: int = 0,
    resamples: int = 2000,
) -> Rate:
    """Mean of values from 0 to ``most``, such as costs, with a 95% bootstrap interval.

    Where resampling can say nothing, as when nothing was ever lost, the interval is Wilson's for a share of
    ``most``: a loss that was not seen in so many samples may still come.

    Args:
        values: ``[N]``, none below 0.
        most: what a value can be at most, above 0.
        groups: ``[N]``, the patient of each sample; without it each sample is drawn by itself.
        seed: of the resampling; the same input gives the same interval.
        resamples: how many times the samples or patients are drawn again.

    Returns:
        The mean; all None without values. A single patient tells nothing of others: 0 to ``most``.

    Raises:
        DataError: lengths differ, a value is below 0 or above ``most``, or ``most`` is not above 0.
    """
    value = flat(values, "values").astype(np.float64)
    n = len(value)
    if n == 0:
        return Rate(None, None, None, 0)
    if not (value.min() >= 0 and value.max() <= most and most > 0):
        raise DataError(
            f"Values from 0 to {most:g} were announced, but they reach from {value.min():g} to {value.max():g}."
        )
    patients = np.arange(n) if groups is None else flat(groups, "groups")
    check_lengths("values and groups", value, patients)
    low, high = _bootstrap(value / most, patients, seed, resamples)
    mean = float(value.mean())
    return Rate(mean, min(low * most, mean), max(high * most, mean), n)


def mean_proportion(hits: Sequence[Values], of: Sequence[Values], groups: Values | None = None) -> Rate:
    """Mean of shares that each have samples of their own, such as the recalls of several classes.

    The interval is Price and Bonett's (2004): an equal part of z²/2 hits and z²/2 misses is added to each share, and so
    it does not vanish where a small class is all right. Where samples have patients, each share stands on Rao and
    Scott's (1992) effective number of them. Shares are taken to be independent.

    Args:
        hits: for each share bool ``[N]``; only those inside ``of`` count.
        of: for each share bool ``[N]``, what it is taken of; a share of nothing is left out.
        groups: ``[N]``, the patient of each sample.

    Returns:
        The mean; all None without shares. ``n`` is how many samples it stands on.

    Raises:
        DataError: lengths differ.
    """
    from scipy.stats import norm

    shares: list[tuple[float, float]] = []  # share, effective samples
    n = 0
    for hit_values, base_values in zip(hits, of, strict=True):
        hit, base = flat(hit_values, "hits").astype(bool), flat(base_values, "of").astype(bool)
        patients = np.arange(len(hit)) if groups is None else flat(groups, "groups")
        check_lengths("hits, of and groups", hit, base, patients)
        if base.any():
            n += int(base.sum())
            shares.append((float(hit[base].mean()), _effective(hit[base], patients[base])))
    if not shares:
        return Rate(None, None, None, 0)
    value, size = np.array(shares).T  # [K], [K]
    z = float(norm.ppf((1 + CONFIDENCE) / 2))
    extra = z * z / len(value)
    shrunk = (value * size + extra / 2) / (size + extra)
    half = z * float(np.sqrt((shrunk * (1 - shrunk) / (size + extra)).sum())) / len(value)
    mean, centre = float(value.mean()), float(shrunk.mean())
    return Rate(mean, min(mean, max(0.0, centre - half)), max(mean, min(1.0, centre + half)), n)


def wilson(count: float, n: float) -> tuple[float, float]:
    """Wilson's score interval (1927) at 95% for ``count`` out of ``n`` independent trials, n > 0."""
    from scipy.stats import norm

    z = float(norm.ppf((1 + CONFIDENCE) / 2))
    share = count / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At 0 and at 1 the formula ends exactly there; rounding does not.
    return (0.0 if count == 0 else max(0.0, centre - half)), (1.0 if count == n else min(1.0, centre + half))


def _bootstrap(
    hit: NDArray[Any], patients: NDArray[Any], seed: int, resamples: int, weights: NDArray[Any] | None = None
) -> tuple[float, float]:
    """Percentile interval of a mean of values from 0 to 1 over resampled patients, expanded for few (Hesterberg, 2015).

    Resampling says nothing about the uncertainty where every resample gives the same share, and too little
    where a few patients supply nearly everything. Then it is widened to Wilson's interval with each patient
    as one trial; unequal patients count as (sum of sizes)² / (sum of squared sizes) equal ones (Kish, 1965).
    """
    from scipy.stats import norm, t

    _, patient = np.unique(patients, return_inverse=True)
    totals = np.bincount(patient, weights)  # [G] samples of each patient
    counts = np.bincount(patient, hit if weights is None else hit * weights)  # [G] hits of each patient
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
    if shares.max() - shares.min() < 1e-12:  # equal but for rounding
        return wilson(g * value, g)
    # A plain percentile interval is too narrow by about sqrt((g - 1) / g) and has no t quantile.
    tail = float(norm.cdf(sqrt(g / (g - 1)) * t.ppf((1 - CONFIDENCE) / 2, g - 1)))
    low, high = np.quantile(shares, [tail, 1 - tail])
    effective = float(totals.sum() ** 2 / np.square(totals).sum())
    if effective < _FEW_PATIENTS:
        widest = wilson(effective * value, effective)
        return min(float(low), widest[0]), max(float(high), widest[1])
    return float(low), float(high)


def _effective(hit: NDArray[Any], patients: NDArray[Any]) -> float:
    """How many independent samples tell as much of a share as these do (Rao and Scott, 1992)."""
    _, patient = np.unique(patients, return_inverse=True)
    totals = np.bincount(patient)  # [G]
    n, g, share = len(hit), len(totals), float(hit.mean())
    alike = float(n**2 / np.square(totals).sum())  # as many as there are equal patients (Kish, 1965)
    if g == 1 or share in (0.0, 1.0):
        return alike
    variance = g / (g - 1) * float(np.square(np.bincount(patient, weights=hit) - share * totals).sum()) / n**2
    return min(float(n), 1 + share * (1 - share) / variance) if variance > 0 else alike  # n, of patients with one each
