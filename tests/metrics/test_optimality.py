"""Optimality lies in 0 to 1, is 1 for the union alone, and never falls when an attack comes nearer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from salus.errors import DataError
from salus.metrics import area_under_curve, on_grid, optimality, robust_accuracy_curve, union

#: Quarters, so that sums are exact; wrong from the start and never fooled are among them.
DISTANCE = st.one_of(st.integers(0, 40).map(lambda quarters: quarters / 4), st.just(math.inf))
ATTACKS = st.integers(1, 12).flatmap(
    lambda n: st.lists(st.lists(DISTANCE, min_size=n, max_size=n), min_size=1, max_size=4)
)


def alike(attacks: list[list[float]]) -> list[list[float]]:
    """What a model has wrong from the start is fooled by no change, whoever attacks."""
    wrong = [0.0 in sample for sample in zip(*attacks, strict=True)]
    return [[0.0 if zero else each for each, zero in zip(attack, wrong, strict=True)] for attack in attacks]


@given(ATTACKS)
def test_it_is_from_0_to_1_and_1_for_what_equals_the_union_below_its_end_alone(attacks: list[list[float]]) -> None:
    attacks = alike(attacks)
    best = union(attacks)
    assert optimality(best, best) == 1
    end = max((distance for distance in best if math.isfinite(distance)), default=0.0)
    for attack in attacks:
        value = optimality(attack, best)
        assert 0 <= value <= 1
        assert (value == 1) == (np.minimum(attack, end) == np.minimum(best, end)).all()


@given(ATTACKS, st.data())
def test_coming_nearer_never_lowers_it(attacks: list[list[float]], data: st.DataObject) -> None:
    attacks = alike(attacks)
    best = union(attacks)
    farther = attacks[0]
    nearer = [data.draw(st.sampled_from([own, least])) for own, least in zip(farther, best, strict=True)]
    assert optimality(nearer, best) >= optimality(farther, best)


@given(ATTACKS)
def test_the_area_is_that_under_the_staircase(attacks: list[list[float]]) -> None:
    sizes = np.arange(0, 8, 0.25)
    staircase = robust_accuracy_curve(attacks[0], sizes).sum() * 0.25  # flat between quarters
    assert area_under_curve(attacks[0], 8) == pytest.approx(staircase)


@given(ATTACKS)
def test_a_curve_on_a_grid_agrees_with_the_whole_one_there(attacks: list[list[float]]) -> None:
    grid = [0.5, 2.0, 5.0]
    rounded = on_grid(attacks[0], grid)
    assert (robust_accuracy_curve(rounded, grid) == robust_accuracy_curve(attacks[0], grid)).all()
    assert (rounded >= np.asarray(attacks[0])).all() and set(rounded) <= {0.0, *grid, math.inf}


def test_it_is_the_formula_of_attackbench() -> None:
    # rho = 3/4, eps_0 = 4, A(best) = (0 + 1 + 2 + 4) / 4, A(a) = (0 + 3 + 2 + 4) / 4
    assert optimality([0, 3, 2, math.inf], [0, 1, 2, 4]) == pytest.approx(1 - (9 / 4 - 7 / 4) / (3 / 4 * 4 - 7 / 4))


def test_no_attack_at_all_scores_0_and_where_nothing_can_be_gained_all_score_1() -> None:
    assert optimality([0, math.inf, math.inf], [0, 1, 2]) == 0
    assert optimality([0, 0], [0, 0]) == optimality([math.inf], [math.inf]) == 1
    # What nobody fools counts for nobody.
    assert optimality([2, math.inf, 4], [1, math.inf, 4]) == optimality([2, 4], [1, 4])


def test_what_is_no_union_or_no_distance_is_refused_with_the_sample() -> None:
    with pytest.raises(DataError, match="below the best at sample 1"):
        optimality([1, 1], [1, 2])
    with pytest.raises(DataError, match="sample 0 has -1"):
        union([[-1.0]])
    with pytest.raises(DataError, match="lengths are"):
        union([[1.0], [1.0, 2.0]])
    with pytest.raises(DataError, match="rising sizes"):
        on_grid([1.0], [2.0, 1.0])
    with pytest.raises(DataError, match="finite size"):
        area_under_curve([1.0], math.inf)
