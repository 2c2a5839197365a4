"""Figures as the ECG-ATK-GAN papers count them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from salus.errors import DataError
from salus.metrics import accuracy, paper_accuracy, paper_auc, per_class

CLASSES = ("N", "S", "V", "F")

answers = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


@given(answers)
def test_the_published_accuracy_is_the_mean_of_one_against_the_rest(pairs: list[tuple[int, int]]) -> None:
    y, labels = np.array(pairs).T
    against_the_rest = np.mean([((y == k) == (labels == k)).mean() for k in range(4)])
    share, printed = accuracy(y, labels), paper_accuracy(y, labels, 4)
    assert share is not None and printed is not None
    assert printed == pytest.approx(against_the_rest)
    assert printed == pytest.approx(1 - (1 - share) / 2)
    assert printed >= share


@given(answers)
def test_the_published_area_is_the_mean_of_sensitivity_and_specificity(pairs: list[tuple[int, int]]) -> None:
    y, labels = np.array(pairs).T
    areas = paper_auc(y, labels, CLASSES)
    for k, row in enumerate(per_class(y, labels, CLASSES)):
        area = areas[row["class"]]
        if row["sensitivity"] is None or row["specificity"] is None:
            assert area is None
        else:
            assert area == pytest.approx((row["sensitivity"] + row["specificity"]) / 2)
            assert area == pytest.approx(roc_auc_score(y == k, labels == k))


def test_two_classes_have_their_ordinary_accuracy() -> None:
    assert paper_accuracy([0, 0, 1, 1], torch.tensor([0, 1, 1, 1]), 2) == accuracy([0, 0, 1, 1], [0, 1, 1, 1]) == 0.75


def test_four_classes_by_hand() -> None:
    y, labels = [0, 0, 0, 1, 2, 3], [0, 0, 1, 1, 0, 3]
    assert paper_accuracy(y, labels, 4) == pytest.approx(5 / 6)  # 4 of 6 right
    areas = paper_auc(y, labels, CLASSES)
    assert areas == pytest.approx({"N": 2 / 3, "S": (1 + 4 / 5) / 2, "V": 0.5, "F": 1.0})


def test_a_rejection_is_an_error_to_the_accuracy_and_left_out_of_the_area() -> None:
    assert paper_accuracy([0, 1], [0, -1], 4) == paper_accuracy([0, 1], [0, 2], 4) == 0.75
    assert paper_auc([0, 0, 1], [0, -1, 1], ("a", "b")) == {"a": 1.0, "b": 1.0}
    assert paper_auc([0, 1], [0, -1], ("a", "b")) == {"a": None, "b": None}


def test_no_samples_have_no_published_accuracy_and_one_class_has_no_rest() -> None:
    assert paper_accuracy([], [], 4) is None
    with pytest.raises(DataError, match="at least 2 classes"):
        paper_accuracy([0], [0], 1)
