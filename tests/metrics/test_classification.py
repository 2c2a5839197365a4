"""Confusion matrices, per-class rows and overall figures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from salus.errors import DataError
from salus.metrics import accuracy, balanced_accuracy, confusion, macro_f1, per_class, score_auc

CLASSES = ("N", "S", "V", "F")


def answers(n: int = 400, rejected: float = 0.2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    y = rng.choice(4, n, p=[0.6, 0.2, 0.15, 0.05])
    labels = np.where(rng.random(n) < 0.7, y, rng.integers(0, 4, n))
    labels[rng.random(n) < rejected] = -1
    return y, labels, rng.integers(0, 10, n)


def test_the_matrix_and_the_rejected_add_up_to_every_sample() -> None:
    y, labels, _ = answers()
    result = confusion(torch.from_numpy(y), torch.from_numpy(labels), CLASSES)
    accepted = labels >= 0
    assert result["matrix"] == sk.confusion_matrix(y[accepted], labels[accepted], labels=range(4)).tolist()
    assert np.sum(result["matrix"]) + sum(result["rejected"]) == len(y)
    assert result["rejected"] == [int(((y == k) & ~accepted).sum()) for k in range(4)]


def test_a_class_that_never_occurs_keeps_its_row_and_column() -> None:
    assert confusion([0, 0], [0, -1], ("a", "b")) == {"matrix": [[1, 0], [0, 0]], "rejected": [1, 0]}


def test_per_class_figures_are_those_of_scikit_learn() -> None:
    y, labels, groups = answers(rejected=0)
    rows = per_class(y, labels, CLASSES, groups)
    assert [row["class"] for row in rows] == list(CLASSES)
    sensitivity = sk.recall_score(y, labels, average=None)
    predictivity = sk.precision_score(y, labels, average=None)
    for k, row in enumerate(rows):
        assert row["sensitivity"] == pytest.approx(sensitivity[k])
        assert row["positive_predictivity"] == pytest.approx(predictivity[k])
        assert row["specificity"] == pytest.approx(sk.recall_score(y != k, labels != k))
        assert row["sensitivity_low"] <= row["sensitivity"] <= row["sensitivity_high"]
        assert row["patients"] == len(np.unique(groups[y == k]))


def test_rejected_inputs_are_left_out_of_the_rates_and_counted_beside_them() -> None:
    first, second = per_class([0, 0, 0, 1], [0, 1, -1, -1], ("a", "b"))
    assert (first["n"], first["rejected"], first["sensitivity"]) == (3, 1, 0.5)
    assert (second["n"], second["rejected"], second["sensitivity"]) == (1, 1, None)
    assert first["patients"] is None and first["largest_patient_share"] is None


def test_the_largest_share_of_one_patient_is_that_within_the_class() -> None:
    rows = per_class([0, 0, 0, 0, 1], [0, 0, 0, 0, 1], ("a", "b", "c"), groups=[7, 7, 7, 2, 2])
    assert [row["largest_patient_share"] for row in rows] == [0.75, 1.0, None]
    assert [row["patients"] for row in rows] == [2, 1, 0]


@pytest.mark.parametrize("rejected", [0.0, 0.3])
def test_overall_figures_count_a_rejection_as_wrong(rejected: float) -> None:
    y, labels, _ = answers(rejected=rejected)
    assert accuracy(y, labels) == pytest.approx((y == labels).mean())
    recalls = [(labels[y == k] == k).mean() for k in range(4)]
    assert balanced_accuracy(y, labels) == pytest.approx(np.mean(recalls))
    per_label = sk.f1_score(y, labels, labels=range(4), average=None)
    assert macro_f1(y, labels) == pytest.approx(per_label.mean())


def test_a_guard_that_rejects_everything_scores_zero() -> None:
    assert accuracy([0, 1], [-1, -1]) == balanced_accuracy([0, 1], [-1, -1]) == macro_f1([0, 1], [-1, -1]) == 0


def test_no_samples_have_no_figures() -> None:
    assert accuracy([], []) is balanced_accuracy([], []) is macro_f1([], []) is None


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(DataError, match="y and labels"):
        accuracy([0, 1], [0])


def test_the_area_of_each_class_is_that_of_its_probability_against_the_rest() -> None:
    y, _, groups = answers(1500)
    logits = torch.randn(1500, 4, generator=torch.Generator().manual_seed(1))
    probabilities = (logits + 2 * torch.nn.functional.one_hot(torch.from_numpy(y), 4)).softmax(1)
    alone, by_patient = score_auc(y, probabilities, CLASSES), score_auc(y, probabilities.numpy(), CLASSES, groups)
    assert list(alone) == list(by_patient) == list(CLASSES)
    for k, name in enumerate(CLASSES):
        rate = alone[name]
        assert rate.value == pytest.approx(sk.roc_auc_score(y == k, probabilities[:, k].numpy()))
        assert rate.value is not None and rate.low is not None and rate.high is not None
        assert rate.low < rate.value < rate.high and rate.n == (y == k).sum()
        assert by_patient[name].value == rate.value and by_patient[name].low != rate.low


def test_a_class_of_few_samples_has_no_area() -> None:
    y = np.repeat([0, 1], [200, 49])
    areas = score_auc(y, np.stack([1.0 - y, y], 1), ("a", "b"))
    assert areas["b"].value is None and areas["b"].n == 49
    assert areas["a"].value == 1


def test_probabilities_of_another_shape_are_refused() -> None:
    with pytest.raises(DataError, match=r"column for each of the 4 classes.*\[2, 3\]"):
        score_auc([0, 1], np.zeros((2, 3)), CLASSES)
    with pytest.raises(DataError, match="y and groups"):
        score_auc([0, 1], np.zeros((2, 4)), CLASSES, [1])
