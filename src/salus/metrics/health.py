"""What errors mean for patients: disease missed, and what a negative answer is worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salus.metrics.arrays import Values, flat, matched
from salus.metrics.classification import REJECTED
from salus.metrics.intervals import proportion


def health(
    y: Values, labels: Values, positive_indices: Sequence[int], groups: Values | None = None
) -> dict[str, Any] | None:
    """False-negative rate, negative predictive value and sensitivity for "some positive class".

    An answer that names another positive class than the true one still finds the disease.

    Args:
        y: true classes ``[N]``.
        labels: answers ``[N]``, -1 where rejected.
        positive_indices: the classes that mean disease.
        groups: the patient of each sample ``[N]``.

    Returns:
        ``left_out`` (rejected inputs not counted) and ``to_human`` (rejected inputs answered by a human who
        is taken to be right), each with ``n`` and with ``fnr``, ``npv``, ``sensitivity`` and their
        ``_low`` and ``_high``; None when no class means disease.
    """
    if not len(positive_indices):
        return None
    true, answer = flat(y, "y"), flat(labels, "labels")
    matched("y and labels", true, answer)
    patients = None if groups is None else flat(groups, "groups")
    ill, called_ill = np.isin(true, list(positive_indices)), np.isin(answer, list(positive_indices))
    rejected = answer == REJECTED
    return {
        "left_out": _figures(ill, called_ill, ~rejected, patients),
        "to_human": _figures(ill, np.where(rejected, ill, called_ill), np.ones_like(rejected), patients),
    }


def _figures(
    ill: NDArray[Any], called_ill: NDArray[Any], counted: NDArray[Any], patients: NDArray[Any] | None
) -> dict[str, Any]:
    return {
        "n": int(counted.sum()),
        **proportion(~called_ill, ill & counted, patients).named("fnr"),
        **proportion(~ill, ~called_ill & counted, patients).named("npv"),
        **proportion(called_ill, ill & counted, patients).named("sensitivity"),
    }
