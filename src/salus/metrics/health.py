"""What errors mean for patients: disease missed, and what a negative answer is worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salus.metrics.arrays import Values, check_lengths, flat
from salus.metrics.classification import REJECTED, confusion
from salus.metrics.intervals import proportion

#: The two classes of a health map, in the order of its confusion matrix.
SIDES = ("ill", "healthy")


def health(
    y: Values, labels: Values, positive_indices: Sequence[int], groups: Values | None = None
) -> dict[str, Any] | None:
    """Two-class figures for "some positive class": what is right, what is missed, what a negative answer is worth.

    An answer that names another positive class than the true one still finds the disease.

    Args:
        y: true classes ``[N]``.
        labels: answers ``[N]``, -1 where rejected.
        positive_indices: the classes that mean disease.
        groups: the patient of each sample ``[N]``.

    Returns:
        ``left_out`` (rejected inputs not counted) and ``to_human`` (rejected inputs answered by a human who
        is taken to be right), each with ``n``, with ``accuracy``, ``fnr``, ``npv``, ``sensitivity`` and their
        ``_low`` and ``_high``, and with ``confusion``, whose rows and columns are ``SIDES``; None when no
        class means disease.
    """
    if not len(positive_indices):
        return None
    true, answer = flat(y, "y"), flat(labels, "labels")
    check_lengths("y and labels", true, answer)
    patients = None if groups is None else flat(groups, "groups")
    ill, called_ill = np.isin(true, list(positive_indices)), np.isin(answer, list(positive_indices))
    rejected = answer == REJECTED
    return {
        "left_out": _figures(ill, called_ill, ~rejected, patients),
        "to_human": _figures(ill, np.where(rejected, ill, called_ill), np.ones_like(rejected), patients),
    }


def _figures(
    ill: NDArray[Any], called_ill: NDArray[Any], base: NDArray[Any], patients: NDArray[Any] | None
) -> dict[str, Any]:
    answers = np.where(base, ~called_ill, REJECTED)
    return {
        "n": int(base.sum()),
        "confusion": confusion(~ill, answers, SIDES),
        **proportion(ill == called_ill, base, patients).named("accuracy"),
        **proportion(~called_ill, ill & base, patients).named("fnr"),
        **proportion(~ill, ~called_ill & base, patients).named("npv"),
        **proportion(called_ill, ill & base, patients).named("sensitivity"),
    }
