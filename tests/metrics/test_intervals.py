"""Shares and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from salus.errors import DataError
from salus.metrics import Rate, mean_proportion, mean_value, proportion, wilson


def interval(rate: Rate) -> tuple[float, float]:
    """Its ends, where something was counted."""
    assert rate.low is not None and rate.high is not None
    return rate.low, rate.high


def width(rate: Rate) -> float:
    low, high = interval(rate)
    return high - low


@pytest.mark.parametrize(("count", "n"), [(0, 7), (3, 7), (7, 7), (1, 1), (512, 10_000)])
def test_independent_samples_get_the_interval_of_wilson(count: int, n: int) -> None:
    hits = np.arange(n) < count
    expected = binomtest(count, n).proportion_ci(method="wilson")
    rate = proportion(hits)
    assert rate.value == count / n
    assert (rate.low, rate.high) == pytest.approx((expected.low, expected.high))
    assert wilson(count, n) == pytest.approx((expected.low, expected.high))


def test_nothing_counted_is_none_and_not_zero() -> None:
    assert proportion([], groups=[]) == Rate(None, None, None, 0)
    assert proportion([True, False], of=[False, False]) == Rate(None, None, None, 0)


def test_hits_outside_of_what_is_counted_do_not_count() -> None:
    rate = proportion([True, True, False, True], of=[True, False, True, False])
    assert (rate.value, rate.n) == (0.5, 2)


def test_one_patient_says_nothing_of_others() -> None:
    rate = proportion([True] * 99 + [False], groups=[4] * 100)
    assert (rate.value, rate.low, rate.high) == (0.99, 0.0, 1.0)


@pytest.mark.parametrize("hit", [True, False])
def test_patients_who_all_agree_count_as_one_trial_each(hit: bool) -> None:
    groups = np.repeat(np.arange(12), 50)
    rate = proportion(np.full(600, hit), groups=groups)
    assert (rate.low, rate.high) == wilson(12 * hit, 12)


def test_tensors_and_arrays_give_the_same_plain_numbers() -> None:
    rng = np.random.default_rng(3)
    hits, groups = rng.random(200) < 0.6, rng.integers(0, 9, 200)
    rate = proportion(torch.from_numpy(hits), groups=torch.from_numpy(groups))
    assert rate == proportion(hits, groups=groups)
    assert all(type(value) is float for value in (rate.value, rate.low, rate.high))
    assert type(rate.n) is int


def test_correlated_samples_widen_the_interval() -> None:
    hits = np.repeat(np.random.default_rng(0).random(20) < 0.5, 100)
    clustered = proportion(hits, groups=np.repeat(np.arange(20), 100))
    independent = proportion(hits)
    assert clustered.value == independent.value
    assert width(clustered) > 5 * width(independent)


def test_patients_of_one_sample_each_come_close_to_wilson() -> None:
    hits = np.arange(400) % 4 == 0
    clustered, independent = proportion(hits, groups=np.arange(400)), proportion(hits)
    assert clustered.low == pytest.approx(independent.low, abs=0.01)
    assert clustered.high == pytest.approx(independent.high, abs=0.01)


def test_the_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(11)
    truth, covered, trials = 0.7, 0, 300
    for _ in range(trials):
        sizes = rng.integers(5, 40, 15)
        shares = rng.beta(7 * 0.7, 3 * 0.7, 15)  # patients differ: mean 0.7
        hits = rng.random(sizes.sum()) < np.repeat(shares, sizes)
        low, high = interval(proportion(hits, groups=np.repeat(np.arange(15), sizes), resamples=400))
        covered += low <= truth <= high
    assert 0.91 <= covered / trials <= 0.99


def test_a_class_that_one_patient_supplies_keeps_a_wide_interval() -> None:
    groups = np.repeat([1, 2, 3], [362, 20, 6])  # like F in DS2
    low, high = interval(proportion(np.arange(388) < 40, groups=groups))
    assert low < 0.02 and high > 0.6


def test_few_unequal_patients_are_covered_too() -> None:
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(200):
        shares = rng.beta(1.4, 0.6, 3)
        hits = rng.random(330) < np.repeat(shares, [300, 20, 10])
        low, high = interval(proportion(hits, groups=np.repeat([0, 1, 2], [300, 20, 10]), resamples=200))
        covered += low <= 0.7 <= high
    assert covered / 200 > 0.85


@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 5)), max_size=60),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_a_value_lies_inside_its_interval_and_order_does_not_matter(
    samples: list[tuple[bool, bool, int]], grouped: bool, shuffle: int
) -> None:
    hits, of, groups = (np.array([s[i] for s in samples], dtype=int) for i in range(3))
    rate = proportion(hits, of, groups if grouped else None, resamples=200)
    if rate.n == 0:
        assert rate.value is rate.low is rate.high is None
        return
    low, high = interval(rate)
    assert rate.value is not None and 0 <= low <= rate.value <= high <= 1
    order = np.random.default_rng(shuffle).permutation(len(samples))
    assert proportion(hits[order], of[order], groups[order] if grouped else None, resamples=200) == rate


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(DataError, match=r"hits and of .* \[3, 2\]"):
        proportion([1, 0, 1], of=[1, 1])
    with pytest.raises(DataError, match="hits and groups"):
        proportion([1, 0, 1], groups=[1, 1])
    with pytest.raises(DataError, match="shape"):
        proportion(np.ones((2, 2)))


def test_a_rate_spells_itself_as_fields_of_a_record() -> None:
    fields = Rate(0.5, 0.25, 0.75, 9).named("accuracy")
    assert fields == {"accuracy": 0.5, "accuracy_low": 0.25, "accuracy_high": 0.75}


def test_the_mean_of_zeros_and_ones_is_their_share() -> None:
    rng = np.random.default_rng(5)
    hits, groups = rng.random(300) < 0.3, rng.integers(0, 40, 300)
    assert mean_value(hits, 1, groups) == proportion(hits, groups=groups)
    scaled = mean_value(4.0 * hits, 4, groups)
    assert (scaled.low, scaled.high) == pytest.approx(
        tuple(4 * end for end in (proportion(hits, groups=groups).low, proportion(hits, groups=groups).high))  # type: ignore[operator]
    )


def test_values_that_are_all_alike_still_leave_a_doubt() -> None:
    alike = mean_value(np.full(40, 0.3), 3)
    assert (alike.low, alike.high) == pytest.approx(tuple(3 * end for end in wilson(4, 40)))
    assert mean_value(np.full(40, 0.3), 3, np.zeros(40)).high == 3


@pytest.mark.parametrize(("values", "most"), [([0.5, -0.1], 1), ([0.5, 2], 1), ([0.0, 0.0], 0)])
def test_values_outside_what_was_announced_are_refused(values: list[float], most: float) -> None:
    with pytest.raises(DataError, match="announced"):
        mean_value(values, most)


def test_the_interval_of_a_mean_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(6)
    held = 0
    for _ in range(200):
        patients = np.repeat(np.arange(60), rng.integers(1, 6, 60))
        own = rng.exponential(1, 60)
        rate = mean_value(np.minimum(own[patients] * rng.random(len(patients)) * 2, 20), 20, patients, resamples=400)
        held += rate.low <= 1 <= rate.high  # type: ignore[operator]
    assert 0.89 < held / 200 <= 0.99


def _recall_trial(rng: np.random.Generator, *, clustered: bool) -> Rate:
    """Recalls .8, .95, .9, .6 of classes that have 60, 300, 15 and 20 lesions of one to four pictures."""
    size = np.array([60, 300, 15, 20])
    kind = np.repeat(np.arange(4), size)
    truth = np.array([0.8, 0.95, 0.9, 0.6])[kind]
    recall = rng.beta(truth, 1 - truth)  # pictures of one lesion are alike
    lesion = np.repeat(np.arange(len(kind)), rng.integers(1, 5, len(kind)))
    hit = rng.random(len(lesion)) < recall[lesion]
    return mean_proportion([hit] * 4, [kind[lesion] == k for k in range(4)], lesion if clustered else None)


def test_the_interval_of_a_mean_recall_holds_the_truth_and_needs_the_lesions() -> None:
    rng = np.random.default_rng(7)
    held = dict.fromkeys((True, False), 0)
    for way in held:
        for _ in range(200):
            rate = _recall_trial(rng, clustered=way)
            held[way] += rate.low <= 0.8125 <= rate.high  # type: ignore[operator]
    assert held[True] >= 184  # 95% of 200 are 190, their standard deviation is 3
    assert held[False] < held[True]


def test_a_mean_of_one_share_is_agresti_and_coulls() -> None:
    hits = np.arange(30) < 12
    rate = mean_proportion([hits], [np.ones(30, bool)])
    low, high = wilson(12, 30)
    assert rate.value == 0.4
    assert (rate.low + rate.high) / 2 == pytest.approx((low + high) / 2)  # type: ignore[operator]
    assert rate.low < low < high < rate.high  # type: ignore[operator]


def test_small_classes_that_are_all_right_leave_a_doubt_and_empty_ones_are_left_out() -> None:
    y = np.repeat([0, 1], [500, 4])
    rate = mean_proportion([np.ones(504, bool)] * 3, [y == 0, y == 1, y == 2])
    assert (rate.value, rate.n, rate.high) == (1, 504, 1)
    assert rate.low < 0.9  # type: ignore[operator]
    assert mean_proportion([[True]], [[False]]) == Rate(None, None, None, 0)
    twins = mean_proportion([np.ones(504, bool)] * 2, [y == 0, y == 1], np.repeat([0, 1], [500, 4]))
    assert twins.low < rate.low  # type: ignore[operator]


def test_a_share_of_probabilities_is_their_mean_and_of_certainties_the_count() -> None:
    hits = [0.25, 0.75, 1.0, 0.0]
    assert proportion(hits).value == 0.5
    assert proportion(hits, [1.0, 0.5, 0.0, 0.5]).value == pytest.approx((0.25 + 0.375) / 2)
    certain = [True, False, True, True]
    assert proportion([float(hit) for hit in certain], groups=[1, 1, 2, 3]) == proportion(certain, groups=[1, 1, 2, 3])
