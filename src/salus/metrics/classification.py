"""Figures of a classifier, per class and overall; the label -1 means that the input was rejected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from salus.errors import DataError
from salus.metrics.arrays import Values, check_lengths, flat
from salus.metrics.detection import auc
from salus.metrics.intervals import Rate, proportion

if TYPE_CHECKING:
    from torch import Tensor

REJECTED = -1


class Confusion(TypedDict):
    """True classes against answers.

    Attributes:
        matrix: ``[K][K]`` counts, a row for each true class, a column for each predicted one.
        rejected: ``[K]``, how many inputs of each true class were rejected; they are not in the matrix.
    """

    matrix: list[list[int]]
    rejected: list[int]


def confusion(y: Values, labels: Values, classes: Sequence[str]) -> Confusion:
    """Count answers per true class.

    Args:
        y: true classes ``[N]``.
        labels: answers ``[N]``, -1 where rejected.
        classes: class names.
    """
    true, answer = _pair(y, labels)
    k = len(classes)
    accepted = answer != REJECTED
    matrix = np.bincount(true[accepted] * k + answer[accepted], minlength=k * k).reshape(k, k)
    rejected = np.bincount(true[~accepted], minlength=k)
    return {"matrix": matrix.tolist(), "rejected": rejected.tolist()}


def per_class(y: Values, labels: Values, classes: Sequence[str], groups: Values | None = None) -> list[dict[str, Any]]:
    """One row of one-against-the-rest figures for each class; rejected inputs are left out and counted.

    Each row has ``class``, ``n`` (samples of the class, rejected ones too), ``rejected``, ``patients`` and
    ``largest_patient_share`` (the share of the class's samples that one patient, or other group, supplies; both None
    without groups), and ``sensitivity``, ``specificity``, ``positive_predictivity`` with ``_low`` and ``_high``.
    """
    true, answer = _pair(y, labels)
    patients = None if groups is None else flat(groups, "groups")
    accepted = answer != REJECTED
    rows = []
    for index, name in enumerate(classes):
        is_true, is_answer = true == index, answer == index
        supply = None if patients is None else np.unique(patients[is_true], return_counts=True)[1]
        rows.append(
            {
                "class": name,
                "n": int(is_true.sum()),
                "rejected": int((is_true & ~accepted).sum()),
                "patients": None if supply is None else len(supply),
                "largest_patient_share": (
                    None if supply is None or not len(supply) else float(supply.max() / supply.sum())
                ),
                **proportion(is_answer, is_true & accepted, patients).named("sensitivity"),
                **proportion(~is_answer, ~is_true & accepted, patients).named("specificity"),
                **proportion(is_true, is_answer, patients).named("positive_predictivity"),
            }
        )
    return rows


def accuracy(y: Values, labels: Values) -> float | None:
    """Share of right answers; a rejected input counts as wrong. None without samples."""
    true, answer = _pair(y, labels)
    return float((true == answer).mean()) if len(true) else None


def balanced_accuracy(y: Values, labels: Values) -> float | None:
    """Mean sensitivity of the classes that occur in y; a rejected input counts as wrong."""
    from sklearn.metrics import recall_score

    true, answer = _pair(y, labels)
    if not len(true):
        return None
    return float(recall_score(true, answer, labels=np.unique(true), average="macro", zero_division=0))


def macro_f1(y: Values, labels: Values) -> float | None:
    """Mean F1 of the classes that occur in y or in the answers; a rejected input counts as missed."""
    from sklearn.metrics import f1_score

    true, answer = _pair(y, labels)
    if not len(true):
        return None
    occurring = np.setdiff1d(np.union1d(true, answer), [REJECTED])
    return float(f1_score(true, answer, labels=occurring, average="macro", zero_division=0))


def score_auc(
    y: Values, probabilities: Tensor | NDArray[Any], classes: Sequence[str], groups: Values | None = None
) -> dict[str, Rate]:
    """Area under the ROC curve of each class against the rest, its probability being the score.

    The interval is that of ``auc``: DeLong's, or with patients Obuchowski's, in which all samples of one
    patient move together. ``n`` counts samples of the class; fewer than 50 carry no area.

    Args:
        y: true classes ``[N]``.
        probabilities: ``[N, K]``, or any scores of the classes that rise with them.
        classes: class names.
        groups: the patient of each sample ``[N]``.
    """
    true = flat(y, "y").astype(np.int64)
    scores = np.asarray(probabilities.detach().cpu().numpy() if hasattr(probabilities, "detach") else probabilities)
    if scores.shape != (len(true), len(classes)):
        raise DataError(
            f"Probabilities must have a row for each of the {len(true)} samples and a column for each of the "
            f"{len(classes)} classes, but their shape is {list(scores.shape)}."
        )
    patients = None if groups is None else flat(groups, "groups")
    if patients is not None:
        check_lengths("y and groups", true, patients)
    areas = {}
    for index, name in enumerate(classes):
        of_class = true == index
        sides = () if patients is None else (patients[~of_class], patients[of_class])
        areas[name] = auc(scores[~of_class, index], scores[of_class, index], *sides)
    return areas


def _pair(y: Values, labels: Values) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    true, answer = flat(y, "y").astype(np.int64), flat(labels, "labels").astype(np.int64)
    check_lengths("y and labels", true, answer)
    return true, answer
