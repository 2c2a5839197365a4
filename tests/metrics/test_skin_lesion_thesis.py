"""The thesis's figures against matrices written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import recall_score

from salus.errors import DataError
from salus.metrics import balanced_accuracy, health, proportion, thesis_figures

CLASSES = ("MEL", "NV", "BKL")
MAPS = {"thesis": ("MEL", "NV"), "medical": ("MEL",)}

#: true class x answer
MATRIX = np.array([[6, 3, 1], [2, 20, 8], [0, 5, 5]])
Y = np.repeat([0, 1, 2], MATRIX.sum(1))
LABELS = np.concatenate([np.repeat([0, 1, 2], row) for row in MATRIX])


def test_the_figures_follow_their_formulas_for_both_maps() -> None:
    found = thesis_figures(Y, LABELS, CLASSES, MAPS)
    assert (found["n"], found["rejected"], found["averaged"]) == (50, 0, list(CLASSES))
    assert found["confusion"]["matrix"] == MATRIX.tolist()
    assert found["accuracy"] == pytest.approx(31 / 50)
    assert found["error_rate"] == pytest.approx(19 / 50)  # what the thesis calls fooling rate
    assert found["macro_recall"] == pytest.approx((6 / 10 + 20 / 30 + 5 / 10) / 3)
    assert found["macro_specificity"] == pytest.approx((38 / 40 + 12 / 20 + 31 / 40) / 3)
    assert found["fooling_rate"] is None
    thesis, medical = found["health"]["thesis"], found["health"]["medical"]
    assert thesis["confusion"]["matrix"] == [[31, 9], [5, 5]]
    assert medical["confusion"]["matrix"] == [[6, 4], [2, 38]]
    for figures, (accuracy, sensitivity, npv) in {
        "thesis": (36 / 50, 31 / 40, 5 / 14),
        "medical": (44 / 50, 6 / 10, 38 / 42),
    }.items():
        ours = found["health"][figures]
        assert (ours["accuracy"], ours["sensitivity"], ours["npv"]) == pytest.approx((accuracy, sensitivity, npv))
        assert ours["fnr"] == pytest.approx(1 - sensitivity)


def test_the_figures_agree_with_scikit_learn_and_with_the_rest_of_the_room() -> None:
    rng = np.random.default_rng(0)
    y, labels, groups = rng.integers(0, 5, 400), rng.integers(0, 5, 400), rng.integers(0, 90, 400)
    classes = tuple("abcde")
    found = thesis_figures(y, labels, classes, {"x": ("b", "d")}, groups=groups)
    assert found["macro_recall"] == pytest.approx(balanced_accuracy(y, labels))
    of_others = [recall_score(y != k, labels != k) for k in range(5)]
    assert found["macro_specificity"] == pytest.approx(np.mean(of_others))
    assert found["health"]["x"] == health(y, labels, (1, 3), groups)["left_out"]  # type: ignore[index]
    clustered = proportion(y == labels, groups=groups)
    assert (found["accuracy_low"], found["accuracy_high"]) == (clustered.low, clustered.high)
    for name in ("accuracy", "macro_recall", "macro_specificity", "error_rate"):
        assert found[f"{name}_low"] < found[name] < found[f"{name}_high"]


def test_the_usual_fooling_rate_counts_changed_answers_right_or_wrong() -> None:
    clean = [0, 1, 1, 2, 2]
    attacked = [0, 0, 2, 2, 1]
    found = thesis_figures([0, 1, 2, 2, 1], attacked, CLASSES, {}, clean_labels=clean)
    assert found["fooling_rate"] == pytest.approx(3 / 5)  # one of them became right
    assert found["error_rate"] == pytest.approx(1 / 5)
    rejected = thesis_figures([0, 1, 2, 2, 1], [0, -1, 2, 2, 1], CLASSES, {}, clean_labels=[-1, 1, 1, 2, 2])
    assert rejected["fooling_rate"] == pytest.approx(2 / 3)


def test_an_absent_class_is_left_out_of_the_means_and_the_rejected_of_everything() -> None:
    found = thesis_figures([0, 0, 1, 1, 2], [0, 1, 1, 1, -1], CLASSES, MAPS)
    assert (found["n"], found["rejected"], found["averaged"]) == (4, 1, ["MEL", "NV"])
    assert found["macro_recall"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["macro_specificity"] == pytest.approx((1 + 1 / 2) / 2)
    assert found["health"]["medical"]["confusion"] == {"matrix": [[1, 1], [0, 2]], "rejected": [0, 1]}
    assert found["health"]["thesis"]["npv"] is None  # nobody was called healthy


def test_a_map_of_a_class_that_is_none_is_refused() -> None:
    with pytest.raises(DataError, match="Health map 'mine' has 'MELL', which is no class; did you mean 'MEL'"):
        thesis_figures(Y, LABELS, CLASSES, {"mine": ("MELL",)})
    with pytest.raises(DataError, match="lengths"):
        thesis_figures(Y, LABELS, CLASSES, {}, clean_labels=LABELS[:-1])
