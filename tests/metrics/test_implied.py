"""What printed health figures imply."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salus.errors import DataError
from salus.metrics import implied


@given(st.floats(0.05, 0.95), st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_figures_of_one_matrix_agree_with_themselves_after_rounding(p: float, s: float, c: float) -> None:
    healthy, missed = (1 - p) * c, p * (1 - s)
    accuracy, npv = p * s + healthy, healthy / (healthy + missed)
    if not 0.002 < npv < 0.998:
        return
    found = implied(p, round(accuracy, 3), round(s, 3), round(npv, 3))
    assert found.possible
    for (_, low, high), truth in ((found.by_accuracy, c), (found.by_npv, c), (found.prevalence, p)):
        assert low - 1e-9 <= truth <= high + 1e-9


def test_a_line_of_the_thesis_is_solved_as_by_hand() -> None:
    # Table 4.4, ResNet 50: accuracy 58.8, sensitivity 65.5, NPV 9.4; 8,659 of 10,015 images are "cancerous".
    p = 8659 / 10015
    found = implied(p, 0.588, 0.655, 0.094)
    assert found.by_accuracy[0] == pytest.approx((0.588 - p * 0.655) / (1 - p)) == pytest.approx(0.1602, abs=1e-4)
    assert found.by_npv[0] == pytest.approx(p * 0.345 * 0.094 / ((1 - p) * 0.906)) == pytest.approx(0.2286, abs=1e-4)
    assert not found.possible
    # At the prevalence at which both are one, the same line is possible.
    assert implied(found.prevalence[0], 0.588, 0.655, 0.094).possible
    assert implied(p, 0.408, 0.431, 0.067).possible  # the same table, Inception V3


def test_a_specificity_above_one_is_impossible() -> None:
    found = implied(0.5, 0.99, 0.5, 0.9)
    assert found.by_accuracy[1] > 1
    assert not found.possible


@pytest.mark.parametrize(
    "figures", [(0, 0.5, 0.5, 0.5), (0.5, 1.1, 0.5, 0.5), (0.5, 0.5, 1.0, 0.5), (0.5, 0.5, 0.5, 1)]
)
def test_figures_that_the_formulas_cannot_take_are_refused(figures: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="must be shares"):
        implied(*figures)
