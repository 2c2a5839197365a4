"""Figures as the ECG-ATK-GAN papers count them, so that like is compared with like; never a headline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from salus.errors import DataError
from salus.metrics.arrays import Values
from salus.metrics.classification import accuracy, confusion


def paper_accuracy(y: Values, labels: Values, k: int) -> float | None:
    """Mean of the one-against-the-rest accuracies of ``k`` classes, printed as "accuracy" by ECG-ATK-GAN.

    A wrong answer is wrong against two classes, its own and the one it names, and right against all others:
    the mean is ``1 - (1 - accuracy) * 2 / k``. With four classes, 43.9% right reads 71.9%. An answer -1
    (rejected) counts as a wrong one.

    Args:
        y: true classes ``[N]``.
        labels: answers ``[N]``.
        k: number of classes, at least 2.

    Returns:
        The mean; None without samples.
    """
    if k < 2:
        raise DataError(f"One class against the rest needs at least 2 classes, but k is {k}.")
    share = accuracy(y, labels)
    return None if share is None else 1 - (1 - share) * 2 / k


def paper_auc(y: Values, labels: Values, classes: Sequence[str]) -> dict[str, float | None]:
    """(sensitivity + specificity) / 2 of each class against the rest, printed as "AUC" by ECG-ATK-GAN.

    It is the area under a ROC curve of one point, that of the hard answers. Rejected inputs are left out, as
    in ``per_class``; a class without samples, or without others beside it, has None.

    Args:
        y: true classes ``[N]``.
        labels: answers ``[N]``, -1 where rejected.
        classes: class names.
    """
    matrix = np.array(confusion(y, labels, classes)["matrix"])
    areas: dict[str, float | None] = {}
    for index, name in enumerate(classes):
        of_class, others = matrix[index].sum(), np.delete(matrix, index, 0)
        if of_class == 0 or others.sum() == 0:
            areas[name] = None
            continue
        sensitivity = matrix[index, index] / of_class
        specificity = 1 - others[:, index].sum() / others.sum()
        areas[name] = float((sensitivity + specificity) / 2)
    return areas
