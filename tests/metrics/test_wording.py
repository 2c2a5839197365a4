"""Numbers in words: percents, intervals and differences."""

from __future__ import annotations

from math import nan

import pytest

from salus.metrics.wording import estimate, interval, number, percent, percentage, rate, signed


def test_shares_are_written_in_percent_with_their_interval() -> None:
    assert (percent(0.1234), percent(0.1234, 2), percentage(0.1234)) == ("12.3", "12.34", "12.3%")
    assert interval(0.1, 0.145) == "10.0–14.5" and estimate(0.1234, 0.1, 0.145) == "12.3 (10.0–14.5)"
    assert rate({"fnr": 0.5, "fnr_low": 0.25, "fnr_high": 0.75}, "fnr") == "50.0 (25.0–75.0)"


@pytest.mark.parametrize("value", [None, nan])
def test_what_is_undefined_is_a_dash_and_has_no_interval(value: float | None) -> None:
    assert percent(value) == percentage(value) == number(value) == estimate(value, 0.1, 0.2) == "–"
    assert interval(value, 0.2) == "" and estimate(0.5, value, 0.7) == "50.0" and rate({}, "fnr") == "–"


def test_differences_carry_a_true_minus_and_nothing_no_sign() -> None:
    assert [signed(points) for points in (1.25, -0.5, 0.0, -0.04)] == ["+1.2", "−0.5", "0.0", "0.0"]
