"""Disease missed and what a negative answer is worth."""

from __future__ import annotations

import numpy as np
import pytest

from salus.metrics import health

POSITIVE = (1, 2)


def test_figures_follow_their_formulas() -> None:
    #         healthy ......  ill ..............
    y = [0, 0, 0, 0, 1, 1, 2, 2, 2, 1]
    labels = [0, 0, 1, -1, 1, 2, 0, 0, -1, 1]
    result = health(y, labels, POSITIVE)
    assert result is not None
    left_out, to_human = result["left_out"], result["to_human"]
    assert (left_out["n"], to_human["n"]) == (8, 10)
    assert left_out["fnr"] == pytest.approx(2 / 5)  # 5 ill accepted, 2 called healthy
    assert left_out["npv"] == pytest.approx(2 / 4)  # 4 called healthy, 2 of them are
    assert to_human["fnr"] == pytest.approx(2 / 6)  # the human finds the sixth
    assert to_human["npv"] == pytest.approx(3 / 5)
    assert left_out["accuracy"] == pytest.approx((3 + 2) / 8)
    assert to_human["accuracy"] == pytest.approx((4 + 3) / 10)
    # rows: ill, healthy; columns: called ill, called healthy
    assert left_out["confusion"] == {"matrix": [[3, 2], [1, 2]], "rejected": [1, 1]}
    assert to_human["confusion"] == {"matrix": [[4, 2], [1, 3]], "rejected": [0, 0]}
    for figures in result.values():
        assert figures["sensitivity"] == pytest.approx(1 - figures["fnr"])
        assert figures["fnr_low"] <= figures["fnr"] <= figures["fnr_high"]


def test_the_wrong_disease_still_finds_the_disease() -> None:
    result = health([1, 2], [2, 1], POSITIVE)
    assert result is not None and result["left_out"]["fnr"] == 0


def test_without_rejections_both_ways_of_counting_agree() -> None:
    rng = np.random.default_rng(0)
    y, labels, groups = rng.integers(0, 3, 90), rng.integers(0, 3, 90), rng.integers(0, 8, 90)
    result = health(y, labels, POSITIVE, groups)
    assert result is not None and result["left_out"] == result["to_human"]


def test_a_human_never_makes_it_worse() -> None:
    rng = np.random.default_rng(1)
    y, labels = rng.integers(0, 3, 200), rng.integers(-1, 3, 200)
    result = health(y, labels, POSITIVE)
    assert result is not None
    assert result["to_human"]["fnr"] <= result["left_out"]["fnr"]
    assert result["to_human"]["npv"] >= result["left_out"]["npv"]


def test_rejecting_everything_leaves_nothing_to_count_but_the_human() -> None:
    result = health([0, 1], [-1, -1], POSITIVE)
    assert result is not None
    counted = {"n": 0, "confusion": {"matrix": [[0, 0], [0, 0]], "rejected": [1, 1]}}
    assert result["left_out"] == counted | dict.fromkeys(
        [f"{name}{end}" for name in ("accuracy", "fnr", "npv", "sensitivity") for end in ("", "_low", "_high")]
    )
    assert (result["to_human"]["fnr"], result["to_human"]["npv"]) == (0, 1)


def test_without_a_disease_there_is_nothing_to_say() -> None:
    assert health([0, 1], [0, 1], ()) is None
