"""How well scores (higher = more suspicious) tell attacked inputs from clean ones."""

from __future__ import annotations

from math import exp, log, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salus.errors import DataError
from salus.metrics.arrays import Values, check_lengths, flat
from salus.metrics.intervals import CONFIDENCE, Rate, wilson

#: Fewer attacked inputs than this carry no AUC.
FEWEST_ADVERSARIAL = 50


def auc(
    clean_scores: Values,
    adversarial_scores: Values,
    clean_groups: Values | None = None,
    adversarial_groups: Values | None = None,
) -> Rate:
    """Area under the ROC curve: how often an attacked input scores above a clean one, ties counting half.

    The interval is DeLong's (1988) on the logit scale; with patients, Obuchowski's (1997) form of it,
    in which all scores of one patient, clean and attacked, move together.

    Returns:
        The area, ``n`` attacked inputs; all None under 50 of them, or without clean inputs.

    Raises:
        DataError: a score is NaN, lengths differ, or patients are given for one side only.
    """
    from scipy.stats import norm, rankdata

    clean, adversarial = flat(clean_scores, "clean scores"), flat(adversarial_scores, "adversarial scores")
    n, m = len(clean), len(adversarial)
    if (clean_groups is None) != (adversarial_groups is None):
        raise DataError("The patients of clean and of adversarial scores must be given together.")
    if m < FEWEST_ADVERSARIAL or n == 0:
        return Rate(None, None, None, m)
    if clean_groups is None or adversarial_groups is None:
        groups = np.arange(n + m)
    else:
        of_clean = flat(clean_groups, "clean groups")
        of_adversarial = flat(adversarial_groups, "adversarial groups")
        check_lengths("clean scores and their groups", clean, of_clean)
        check_lengths("adversarial scores and their groups", adversarial, of_adversarial)
        groups = np.concatenate([of_clean, of_adversarial])

    ranks = rankdata(np.concatenate([clean, adversarial]))  # ties share their middle rank
    below = (ranks[n:] - rankdata(adversarial)) / n  # [m] share of clean scores below
    above = 1 - (ranks[:n] - rankdata(clean)) / m  # [n] share of attacked ones above
    area = float(below.mean())
    _, patient = np.unique(groups, return_inverse=True)
    g = int(patient.max()) + 1
    if g == 1:
        return Rate(area, 0.0, 1.0, m)
    # DeLong's influence of each patient on the area; its two sides are added before they are squared.
    influence = np.bincount(patient[n:], weights=below - area, minlength=g) / m
    influence += np.bincount(patient[:n], weights=above - area, minlength=g) / n
    variance = g / (g - 1) * float(np.square(influence).sum())
    if variance < 1e-18 or area in (0.0, 1.0):  # every patient alike: count patients as trials
        smaller = min(len(np.unique(patient[:n])), len(np.unique(patient[n:])))
        low, high = wilson(area * smaller, smaller)
    else:
        half = float(norm.ppf((1 + CONFIDENCE) / 2)) * sqrt(variance) / (area * (1 - area))
        low, high = (1 / (1 + exp(min(700.0, -log(area / (1 - area)) - sign * half))) for sign in (-1, 1))
    return Rate(area, min(low, area), max(high, area), m)


def roc(clean_scores: Values, adversarial_scores: Values, points: int = 200) -> dict[str, list[float]] | None:
    """False-alarm rate (``fpr``) and share of attacked inputs caught (``tpr``) as the threshold falls.

    Both rise from 0 to 1; at most ``points`` points, spread evenly along the curve, the ends among them.
    None when either side is empty.
    """
    from scipy.stats import rankdata
    from sklearn.metrics import roc_curve

    clean, adversarial = flat(clean_scores, "clean scores"), flat(adversarial_scores, "adversarial scores")
    if not len(clean) or not len(adversarial):
        return None
    order = rankdata(np.concatenate([clean, adversarial]), method="dense")  # also of infinities
    is_adversarial = np.repeat([0, 1], [len(clean), len(adversarial)])
    fpr, tpr, _ = roc_curve(is_adversarial, order)
    keep = _spread(fpr + tpr, points)
    return {"fpr": fpr[keep].tolist(), "tpr": tpr[keep].tolist()}


def _spread(length: NDArray[Any], points: int) -> NDArray[np.int64]:
    """Pick positions evenly along a rising length from 0 to 2, first and last among them."""
    if len(length) <= points:
        return np.arange(len(length))
    indices = np.searchsorted(length, np.linspace(0, length[-1], max(2, points)))
    indices[0], indices[-1] = 0, len(length) - 1
    return np.unique(indices)
