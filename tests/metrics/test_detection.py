"""AUC with its interval, and the ROC curve."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from salus.errors import DataError
from salus.metrics import Rate, auc, roc


def interval(rate: Rate) -> tuple[float, float]:
    """Its ends, where something was counted."""
    assert rate.low is not None and rate.high is not None
    return rate.low, rate.high


def width(rate: Rate) -> float:
    low, high = interval(rate)
    return high - low


def scores(n: int = 300, m: int = 120, shift: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=n), rng.normal(shift, size=m)


def reference(clean: np.ndarray, adversarial: np.ndarray) -> float:
    return float(roc_auc_score(np.repeat([0, 1], [len(clean), len(adversarial)]), np.concatenate([clean, adversarial])))


def test_the_area_is_that_of_scikit_learn_ties_too() -> None:
    clean, adversarial = scores()
    assert auc(clean, adversarial).value == pytest.approx(reference(clean, adversarial))
    clean, adversarial = clean.round(), adversarial.round()
    assert auc(torch.from_numpy(clean), adversarial).value == pytest.approx(reference(clean, adversarial))


def test_the_interval_is_that_of_delong() -> None:
    clean, adversarial = scores()
    wins = (adversarial[:, None] > clean[None]) + 0.5 * (adversarial[:, None] == clean[None])
    m, n = wins.shape
    error = np.sqrt(wins.mean(1).var(ddof=1) / m + wins.mean(0).var(ddof=1) / n)
    rate = auc(clean, adversarial)
    assert rate.value is not None
    middle = np.log(rate.value / (1 - rate.value))
    half = 1.959964 * error / (rate.value * (1 - rate.value))
    assert rate.low == pytest.approx(1 / (1 + np.exp(half - middle)), abs=1e-3)
    assert rate.high == pytest.approx(1 / (1 + np.exp(-half - middle)), abs=1e-3)
    assert rate.n == m


def test_the_interval_covers_the_truth() -> None:
    truth = 0.7602  # of two unit normals one apart
    pairs = [scores(150, 80, seed=seed) for seed in range(200)]
    ends = [interval(auc(*pair)) for pair in pairs]
    assert 0.9 <= np.mean([low <= truth <= high for low, high in ends]) <= 0.99


def test_scores_that_cluster_by_patient_widen_the_interval() -> None:
    rng = np.random.default_rng(2)
    patients = np.repeat(np.arange(12), 25)
    habit = rng.normal(0, 2, 12)[patients]
    clean, adversarial = habit + 0.1 * rng.normal(size=300), rng.normal(1, 2, 12)[patients]
    independent, clustered = auc(clean, adversarial), auc(clean, adversarial, patients, patients)
    assert clustered.value == independent.value
    assert width(clustered) > 2 * width(independent)
    assert auc(clean, adversarial, np.zeros(300), np.zeros(300)).low == 0


def test_fewer_than_fifty_attacked_inputs_carry_no_area() -> None:
    clean, adversarial = scores(m=49)
    rate = auc(clean, adversarial)
    assert (rate.value, rate.low, rate.high, rate.n) == (None, None, None, 49)
    assert auc([], scores(m=60)[1]).value is None
    assert auc(*scores(m=50)).value is not None


def test_a_perfect_detector_still_has_an_interval() -> None:
    rate = auc(np.zeros(400), np.full(60, np.inf))
    assert rate.value == rate.high == 1
    assert 0.9 < interval(rate)[0] < 1
    nothing = auc(np.zeros(400), np.zeros(60))
    low, high = interval(nothing)
    assert nothing.value == 0.5 and low < 0.5 < high


def test_scores_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="clean scores holds NaN at position 1"):
        auc([0.0, float("nan")], np.zeros(60))
    with pytest.raises(DataError, match="together"):
        auc([0.0, 1.0], np.zeros(60), clean_groups=[0, 1])


numbers = st.lists(st.sampled_from([-np.inf, -1.5, 0.0, 0.25, 1.0, np.inf]), min_size=1, max_size=400)


@given(numbers, numbers, st.integers(2, 50))
def test_a_curve_rises_from_corner_to_corner(clean: list[float], adversarial: list[float], points: int) -> None:
    curve = roc(clean, adversarial, points)
    assert curve is not None
    for axis in curve.values():
        assert axis[0] == 0 and axis[-1] == 1
        assert np.all(np.diff(axis) >= 0)
        assert len(axis) <= points
    assert len(curve["fpr"]) == len(curve["tpr"])


@given(st.integers(50, 90), st.integers(0, 4), st.integers(0, 999))
def test_the_area_lies_inside_its_interval(m: int, decimals: int, seed: int) -> None:
    clean, adversarial = scores(70, m, seed=seed)
    rate = auc(clean.round(decimals), adversarial.round(decimals))
    low, high = interval(rate)
    assert rate.value is not None and 0 <= low <= rate.value <= high <= 1
    swapped = auc(adversarial.round(decimals), clean.round(decimals))
    assert swapped.value == pytest.approx(1 - rate.value)


def test_a_curve_keeps_its_area_when_thinned() -> None:
    clean, adversarial = scores(5000, 5000)
    curve = roc(clean, adversarial)
    assert curve is not None and len(curve["fpr"]) <= 200
    assert np.trapezoid(curve["tpr"], curve["fpr"]) == pytest.approx(reference(clean, adversarial), abs=2e-3)


def test_an_empty_side_has_no_curve() -> None:
    assert roc([], [1.0]) is None and roc([1.0], []) is None
