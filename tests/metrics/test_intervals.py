"""Shares and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from salus.errors import DataError
from salus.metrics import Rate, proportion, wilson


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
    assert clustered.high - clustered.low > 5 * (independent.high - independent.low)


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
        rate = proportion(hits, groups=np.repeat(np.arange(15), sizes), resamples=400)
        covered += rate.low <= truth <= rate.high
    assert 0.91 <= covered / trials <= 0.99


def test_a_class_that_one_patient_supplies_keeps_a_wide_interval() -> None:
    groups = np.repeat([1, 2, 3], [362, 20, 6])  # like F in DS2
    rate = proportion(np.arange(388) < 40, groups=groups)
    assert rate.low < 0.02 and rate.high > 0.6


def test_few_unequal_patients_are_covered_too() -> None:
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(200):
        shares = rng.beta(1.4, 0.6, 3)
        hits = rng.random(330) < np.repeat(shares, [300, 20, 10])
        rate = proportion(hits, groups=np.repeat([0, 1, 2], [300, 20, 10]), resamples=200)
        covered += rate.low <= 0.7 <= rate.high
    assert covered / 200 > 0.85


@settings(max_examples=60, deadline=None)
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
    assert 0 <= rate.low <= rate.value <= rate.high <= 1
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
