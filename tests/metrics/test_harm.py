"""What wrong answers cost."""

from __future__ import annotations

import numpy as np
import pytest

from salus.errors import DataError
from salus.metrics import HarmWeights, Rate, mean_harm

#: true class x answer: missing a melanoma costs 10, a false alarm 1, mistaking one benign class for another 0.5
WEIGHTS = HarmWeights(((0, 10, 10), (1, 0, 0.5), (1, 0.5, 0)), rejected=(0.2, 0.3, 0.4))


def test_each_answer_costs_its_weight() -> None:
    y = [0, 0, 0, 1, 1, 1, 2, 2, 2]
    labels = [0, 1, -1, 0, 1, 2, -1, 0, 2]
    costs = [0, 10, 0.2, 1, 0, 0.5, 0.4, 1, 0]
    assert WEIGHTS.of(y, labels).tolist() == costs
    rate = mean_harm(y, labels, WEIGHTS)
    assert rate.value == pytest.approx(13.1 / 9)
    assert rate.n == 9
    assert 0 <= rate.low < rate.value < rate.high <= 10  # type: ignore[operator]


def test_equal_weights_are_the_error_rate() -> None:
    rng = np.random.default_rng(0)
    y, labels = rng.integers(0, 4, 300), rng.integers(0, 4, 300)
    weights = HarmWeights(tuple(tuple(float(i != j) for j in range(4)) for i in range(4)))
    assert mean_harm(y, labels, weights).value == pytest.approx((y != labels).mean())


def test_the_interval_scales_with_the_weights() -> None:
    rng = np.random.default_rng(1)
    y, labels, groups = rng.integers(0, 2, 200), rng.integers(0, 2, 200), rng.integers(0, 30, 200)
    one, ten = (mean_harm(y, labels, HarmWeights(((0, 10 * k), (k, 0))), groups) for k in (1, 10))
    assert (ten.value, ten.low, ten.high) == pytest.approx((10 * one.value, 10 * one.low, 10 * one.high))  # type: ignore[operator]


def test_no_harm_seen_is_not_no_harm_possible() -> None:
    y = np.zeros(60, np.int64)
    rate = mean_harm(y, y, WEIGHTS)
    assert (rate.value, rate.low) == (0, 0)
    assert rate.high == pytest.approx(10 * 1.96**2 / (60 + 1.96**2), abs=1e-3)
    assert mean_harm(y, y, WEIGHTS, np.repeat([1, 2, 3], 20)).high > rate.high  # type: ignore[operator]
    assert mean_harm([], [], WEIGHTS) == Rate(None, None, None, 0)


@pytest.mark.parametrize(
    ("matrix", "rejected", "said"),
    [
        (((0, 1),), (), "square"),
        (((0, 1), (1, 0)), (1,), "square"),
        (((1, 1), (1, 0)), (), "right answer does no harm"),
        (((0, -1), (1, 0)), (), "finite numbers from 0"),
        (((0, float("nan")), (1, 0)), (), "finite numbers from 0"),
        (((0, 1), (1, 0)), (float("inf"), 0), "finite numbers from 0"),
        (((0, 0), (0, 0)), (), "All weights of harm are 0"),
    ],
)
def test_weights_that_make_no_sense_are_refused(
    matrix: tuple[tuple[float, ...], ...], rejected: tuple[float, ...], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        HarmWeights(matrix, rejected)
