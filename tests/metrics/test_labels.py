"""Several labels at once, each counted by itself."""

import numpy as np
import pytest

from salus.metrics import easiest_label, per_label
from salus.preprocessing.label_sets import label_sets

HELD = label_sets(2)  # none, A, B, A+B
NONE, A, B, BOTH, REJECTED = 0, 1, 2, 3, -1


def test_each_label_is_counted_by_itself_and_the_easiest_to_flip_is_named() -> None:
    y = [A, A, BOTH, BOTH, B, NONE]
    clean = [A, A, BOTH, B, B, REJECTED]
    attacked = [NONE, A, REJECTED, NONE, BOTH, A]
    rows = {row["label"]: row for row in per_label(HELD, ("A", "B"), y, clean, attacked)}
    assert rows["A"]["n"] == 4 and rows["B"]["n"] == 3
    assert rows["A"]["sensitivity_clean"] == pytest.approx(3 / 4)  # of the fourth, A was missed before
    assert rows["A"]["sensitivity_attacked"] == pytest.approx(2 / 4)  # the first fell; the third is rejected
    assert rows["A"]["flipped"] == pytest.approx(2 / 4)  # right before: 1, 2, 3, 5; wrong now: 1, 5
    assert rows["B"]["sensitivity_clean"] == 1 and rows["B"]["sensitivity_attacked"] == pytest.approx(2 / 3)
    assert rows["B"]["flipped"] == pytest.approx(1 / 5)
    assert easiest_label(list(rows.values())) == "A"
    assert rows["A"]["flipped_low"] < rows["A"]["flipped"] < rows["A"]["flipped_high"]


def test_nobody_is_named_where_no_label_flips_and_a_label_that_nobody_carries_has_no_sensitivity() -> None:
    still = per_label(HELD, ("A", "B"), [A, A], [A, A], [A, REJECTED])
    assert easiest_label(still) is None and still[0]["flipped"] == 0
    assert still[1]["n"] == 0 and still[1]["sensitivity_attacked"] is None
    unattacked = per_label(HELD, ("A", "B"), [A, B], [A, A])
    assert "flipped" not in unattacked[0] and easiest_label(unattacked) is None


def test_patients_are_drawn_as_a_whole() -> None:
    rng = np.random.default_rng(0)
    y, clean = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    together = per_label(HELD, ("A", "B"), y, clean, y, np.arange(200) // 20)
    apart = per_label(HELD, ("A", "B"), y, clean, y)
    assert together[0]["sensitivity_clean"] == apart[0]["sensitivity_clean"]
    assert together[0]["sensitivity_clean_low"] != apart[0]["sensitivity_clean_low"]
