"""The vote of random ensembles against a count of all of them."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from salus.detectors import votes
from salus.errors import CalibrationError

LEVELS = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, 2.0])  # few values, so that ties are common


def rejects(row: Tensor, thresholds: Tensor, ensemble: tuple[int, ...], approach: str) -> bool:
    """Count the votes of one ensemble, as Section 4.1.3 says."""
    own = [float(thresholds[i]) for i in ensemble]
    used = own if approach == "MTA" else [min(own)] * len(own)
    against = sum(float(row[i]) > tau for i, tau in zip(ensemble, used, strict=True))
    return against > len(ensemble) / 2


@st.composite
def measured(draw: st.DrawFn) -> tuple[Tensor, Tensor, int]:
    m = draw(st.integers(1, 6))
    n = draw(st.sampled_from([size for size in (1, 3, 5) if size <= m]))
    rows = draw(st.lists(st.lists(LEVELS, min_size=m, max_size=m), min_size=1, max_size=3))
    thresholds = draw(st.lists(LEVELS.filter(bool), min_size=m, max_size=m))
    return torch.tensor(rows), torch.tensor(thresholds), n


@pytest.mark.parametrize("approach", votes.APPROACHES)
@given(case=measured())
def test_the_probability_of_rejection_is_the_share_of_ensembles_that_reject(
    approach: votes.Approach, case: tuple[Tensor, Tensor, int]
) -> None:
    values, thresholds, n = case
    ensembles = list(combinations(range(values.shape[1]), n))
    expected = [sum(rejects(row, thresholds, one, approach) for one in ensembles) / len(ensembles) for row in values]
    got = votes.rejection_probability(values, thresholds, n, approach)
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("approach", votes.APPROACHES)
@given(case=measured())
def test_what_is_expected_is_the_mean_over_ensembles_of_their_medians(
    approach: votes.Approach, case: tuple[Tensor, Tensor, int]
) -> None:
    values, thresholds, n = case
    values = values.double().requires_grad_()
    ensembles = list(combinations(range(values.shape[1]), n))
    got, plain = votes.expected(values, n, thresholds.double(), approach), votes.expected(values, n)
    for row, mean, bare in zip(values.tolist(), got.tolist(), plain.tolist(), strict=True):
        told = []
        for one in ensembles:
            own = [float(thresholds[i]) for i in one]
            used = own if approach == "MTA" else [min(own)] * n
            told.append(sorted(row[i] / tau for i, tau in zip(one, used, strict=True))[n // 2])
        assert mean == pytest.approx(sum(told) / len(told))
        assert bare == pytest.approx(sum(sorted(row[i] for i in one)[n // 2] for one in ensembles) / len(ensembles))
    (gradient,) = torch.autograd.grad(plain.sum(), values)
    torch.testing.assert_close(gradient.sum(1), torch.ones(len(values), dtype=torch.float64))


@pytest.mark.parametrize("n", [1, 3, 5, 7, 9])
def test_what_is_expected_of_ten_members_takes_no_more_than_their_ensembles(n: int) -> None:
    values = torch.arange(10.0).repeat(3, 1)
    # The median of a random choice of 0 to 9 is 4.5 on average, by symmetry.
    torch.testing.assert_close(votes.expected(values, n), torch.full((3,), 4.5))


@pytest.mark.parametrize("approach", votes.APPROACHES)
@given(case=measured())
def test_the_certain_excess_is_the_largest_median_of_any_ensemble(
    approach: votes.Approach, case: tuple[Tensor, Tensor, int]
) -> None:
    values, thresholds, n = case
    ensembles = torch.tensor(list(combinations(range(values.shape[1]), n)))  # [E, n]
    for row, got in zip(values, votes.certain_excess(values, thresholds, n, approach), strict=True):
        medians = (row[ensembles] / votes.shared(thresholds, ensembles, approach)).median(1).values
        assert float(got) == float(medians.max())
        possible = any(rejects(row, thresholds, tuple(one), approach) for one in ensembles.tolist())
        assert (float(got) > 1) == possible


def test_a_value_that_is_no_number_is_a_vote_against() -> None:
    values = torch.tensor([[0.0, float("nan"), float("nan")]])
    for approach in votes.APPROACHES:
        assert float(votes.rejection_probability(values, torch.ones(3), 3, approach)) == 1.0


@given(
    values=st.lists(st.just(0.0) | st.floats(2**-60, 100, width=32), min_size=1, max_size=60),
    rate=st.floats(0.001, 0.999),
)
def test_a_drop_rate_threshold_rejects_at_most_that_share(values: list[float], rate: float) -> None:
    column = torch.tensor(values)[:, None]
    if not 1 <= rate * len(values) < len(values):
        return
    threshold = votes.drop_rate_thresholds(column, rate)
    above = int((column > threshold).sum())
    assert above <= rate * len(values) + 1e-6
    assert int((column >= threshold).sum()) >= rate * len(values)  # no lower one would do
    assert bool(((votes.excess(column, threshold) > 1) == (column > threshold)).all())


def test_a_drop_rate_counts_whole_samples_in_spite_of_rounding() -> None:
    falling = torch.arange(100, 0, -1.0)[:, None]
    assert float(votes.drop_rate_thresholds(falling, 0.29)) == 71  # 0.29 * 100 is 28.999...
    assert float(votes.drop_rate_thresholds(falling, 0.01)) == 99
    with pytest.raises(CalibrationError, match="drops none of 100"):
        votes.drop_rate_thresholds(falling, 0.009)


@pytest.mark.parametrize("approach", votes.APPROACHES)
def test_rejections_of_several_sizes_add_up_the_probabilities(approach: votes.Approach) -> None:
    rng = torch.Generator().manual_seed(0)
    values, thresholds = torch.rand(50, 9, generator=rng), 0.3 + 0.6 * torch.rand(9, generator=rng)
    values[3, 4] = torch.nan
    values[7] = 1.0  # above all
    sizes = (1, 3, 7, 9)
    got = votes.expected_rejections(values, thresholds, sizes, approach)
    each = [votes.rejection_probability(values, thresholds, n, approach) for n in sizes]
    assert got == pytest.approx([float(one.sum()) for one in each])
    assert 2 < got[0] < 48
    assert all(float(one[7]) == 1.0 for one in each), "certain is certain to the last digit"
