"""Distances of binned distributions, and rates with their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_1samp, ks_2samp

from salus.serve.monitoring.axes import SCORE_EDGES
from salus.serve.monitoring.counts import Counts, Histogram
from salus.serve.monitoring.drift import distance, distance_from_calibration, drifts, holm, p_value, stability_index
from salus.serve.monitoring.rates import over_time, rejection_rate

_EDGES = np.linspace(0, 1, 33)[1:-1]
_values = st.lists(st.floats(-0.5, 1.5, allow_subnormal=False), min_size=2, max_size=60)


def _binned(values: object, edges: object = _EDGES) -> Histogram:
    edges = np.asarray(edges)
    return np.bincount(np.searchsorted(edges, np.asarray(values), side="right"), minlength=len(edges) + 1)


@given(_values, _values)
def test_the_distance_is_never_above_that_of_the_values_themselves(first: list[float], second: list[float]) -> None:
    assert distance(_binned(first), _binned(second)) <= ks_2samp(first, second, method="asymp").statistic + 1e-12


@given(st.lists(st.integers(0, 31), min_size=2, max_size=60), st.lists(st.integers(0, 31), min_size=2, max_size=60))
def test_where_bins_tell_all_values_apart_distance_and_p_are_scipys(first: list[int], second: list[int]) -> None:
    expected = ks_2samp(first, second, method="asymp")
    centres = [(np.array(values) + 0.5) / 32 for values in (first, second)]
    apart = distance(*map(_binned, centres))
    assert apart == pytest.approx(expected.statistic, abs=1e-12)
    assert p_value(apart, len(first), len(second)) == pytest.approx(expected.pvalue, abs=1e-9)


def test_of_inputs_from_one_distribution_p_is_rarely_small() -> None:
    rng = np.random.default_rng(0)
    p = [p_value(distance(_binned(rng.random(400)), _binned(rng.random(300))), 400, 300) for _ in range(400)]
    assert np.mean(np.array(p) <= 0.05) <= 0.07


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holms_values_are_at_least_the_raw_ones_and_keep_their_order(p: list[float]) -> None:
    corrected = np.array(holm(p))
    assert (corrected >= np.array(p)).all()
    assert (corrected <= 1).all()
    order = np.argsort(p)
    assert (np.diff(corrected[order]) >= 0).all()
    assert corrected[order[0]] == pytest.approx(min(1.0, min(p) * len(p)))


def test_the_stability_index_is_nothing_for_equal_shares_and_large_for_others() -> None:
    rng = np.random.default_rng(0)
    before, same, other = (_binned(values) for values in (rng.random(5000), rng.random(5000), rng.beta(5, 2, 5000)))
    assert stability_index(before, before) == pytest.approx(0)
    assert stability_index(before, same) < 0.02
    assert stability_index(before, other) > 0.25
    assert np.isfinite(stability_index(_binned([0.1] * 50), _binned([0.9] * 50)))


def test_scores_of_clean_inputs_lie_near_their_calibration() -> None:
    scores = -np.log(np.random.default_rng(0).random(20000))
    binned = _binned(scores, SCORE_EDGES)
    assert distance_from_calibration(binned) < 0.02
    assert distance_from_calibration(binned) <= ks_1samp(scores, lambda x: -np.expm1(-x)).statistic + 1e-12
    assert distance_from_calibration(_binned(scores * 2, SCORE_EDGES)) > 0.2


def _counts(scores: object, levels: object) -> Counts:
    return Counts(
        judged=len(np.asarray(scores)), scores={"d": _binned(scores, SCORE_EDGES)}, inputs={"mean": _binned(levels)}
    )


def test_a_million_inputs_that_hardly_moved_raise_nothing_and_a_few_that_did_do() -> None:
    rng = np.random.default_rng(0)
    before = _counts(rng.exponential(size=100_000), rng.random(100_000))
    hardly = {d.name: d for d in drifts(before, _counts(rng.exponential(1.05, 500_000), rng.random(500_000)))}
    assert hardly["d"].p < 1e-6  # significant, and of no matter
    assert not hardly["d"].alarming
    moved = {d.name: d for d in drifts(before, _counts(rng.exponential(size=200), rng.beta(4, 2, 200)))}
    assert moved["mean"].alarming
    assert not moved["d"].alarming


def test_too_few_inputs_and_other_bins_say_nothing() -> None:
    before = _counts([1.0] * 100, [0.5] * 100)
    assert drifts(before, _counts([9.0] * 49, [0.9] * 49)) == []
    assert [d.name for d in drifts(before, Counts(100, inputs={"mean": np.full(7, 50)}, scores=before.scores))] == ["d"]


def test_scores_of_a_papers_own_rule_are_not_held_against_a_calibration() -> None:
    before = Counts(
        100, scores={"magnet": _binned([0.5] * 100, SCORE_EDGES), "magnet#2": _binned([0.5] * 100, SCORE_EDGES)}
    )
    assert [d.from_calibration for d in drifts(before, before, {"magnet"})] == [None, None]
    assert all(d.from_calibration is not None for d in drifts(before, before))


def test_a_rate_alarms_only_with_its_whole_interval_above_the_calibration_and_not_by_chance() -> None:
    assert not rejection_rate(Counts(judged=1000, rejected=12), 0.01).above
    many = rejection_rate(Counts(judged=1000, rejected=19), 0.01)
    assert many.above  # 1.2% to 3.0%, as comes about by chance when one looks every minute
    assert not many.alarming
    assert rejection_rate(Counts(judged=1000, rejected=30), 0.01).alarming
    assert not rejection_rate(Counts(judged=10, rejected=10), 0.01).alarming  # too few, perhaps of one patient
    nothing = rejection_rate(Counts(), 0.01)
    assert (nothing.rate.value, nothing.above, nothing.enough) == (None, False, False)


def test_time_is_cut_into_equal_spans_with_gaps_shown() -> None:
    minutes = {100: Counts(10, 1), 101: Counts(10, 3), 109: Counts(4, 4)}
    spans = over_time(minutes, 100, 109, 5)
    assert [(span.start, span.minutes, span.counts.judged) for span in spans] == [
        (100, 2, 20), (102, 2, 0), (104, 2, 0), (106, 2, 0), (108, 2, 4),
    ]  # fmt: skip
    assert spans[0].rate.value == 0.2
    assert spans[1].rate.value is None
