"""The figures of the skin-lesion thesis (Nédellec and Mouret, 2021, section 3.4), for any map of positive classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from salus.errors import DataError, nearest
from salus.metrics.arrays import Values, check_lengths, flat
from salus.metrics.classification import REJECTED, confusion
from salus.metrics.health import health
from salus.metrics.intervals import Rate, mean_proportion, proportion


def thesis_figures(
    y: Values,
    labels: Values,
    classes: Sequence[str],
    positive: Mapping[str, Sequence[str]],
    *,
    clean_labels: Values | None = None,
    groups: Values | None = None,
) -> dict[str, Any]:
    """Both confusion matrices of the thesis and every figure of its tables, from one set of answers.

    Rejected inputs (-1) are left out and counted; the thesis rejects none. A class without counted samples has no
    recall and is left out of both means, where the thesis divides by all seven. The interval of the mean specificity
    is rather too wide: it takes the classes' specificities as independent, while a wrong answer accuses one class only.

    Args:
        y: true classes ``[N]``.
        labels: answers ``[N]``, -1 where rejected.
        classes: class names.
        positive: the name of each health map -> the classes that mean disease by it.
        clean_labels: answers to the same inputs before the attack ``[N]``.
        groups: the patient or lesion of each sample ``[N]``.

    Returns:
        ``n`` and ``rejected``, counts; ``confusion``, a row for each true class (the thesis draws them as columns);
        ``averaged``, the classes that the means are taken over; ``accuracy``, ``macro_recall``,
        ``macro_specificity``, ``error_rate`` (1 - accuracy, the thesis's "fooling rate") and ``fooling_rate`` (the
        usual one: the share of answers that are not the clean ones, None without these), each with ``_low`` and
        ``_high``; and ``health``, for each map what :func:`salus.metrics.health` says of accepted inputs: ``accuracy``,
        ``sensitivity``, ``npv``, ``fnr`` and a confusion matrix of two classes.

    Raises:
        DataError: lengths differ, or a map names a class that is none.
    """
    true, answer = flat(y, "y").astype(np.int64), flat(labels, "labels").astype(np.int64)
    check_lengths("y and labels", true, answer)
    for name, ill in positive.items():
        for word in ill:
            if word not in classes:
                raise DataError(f"Health map {name!r} has {word!r}, which is no class; {nearest(word, classes)}")
    accepted = answer != REJECTED
    right = true == answer
    present = [k for k in range(len(classes)) if bool((accepted & (true == k)).any())]
    hits, clears = [answer == k for k in present], [answer != k for k in present]
    of_class, of_others = [accepted & (true == k) for k in present], [accepted & (true != k) for k in present]
    return {
        "n": int(accepted.sum()),
        "rejected": int((~accepted).sum()),
        "confusion": confusion(true, answer, classes),
        "averaged": [classes[k] for k in present],
        **proportion(right, accepted, groups).named("accuracy"),
        **mean_proportion(hits, of_class, groups).named("macro_recall"),
        **mean_proportion(clears, of_others, groups).named("macro_specificity"),
        **proportion(~right, accepted, groups).named("error_rate"),
        **_fooling(answer, clean_labels, groups).named("fooling_rate"),
        "health": {
            name: (health(true, answer, [classes.index(word) for word in ill], groups) or {}).get("left_out")
            for name, ill in positive.items()
        },
    }


def _fooling(answer: Any, clean_labels: Values | None, groups: Values | None) -> Rate:
    """Share of answers that the attack changed, of inputs that were accepted before and after."""
    if clean_labels is None:
        return Rate(None, None, None, 0)
    before = flat(clean_labels, "clean labels").astype(np.int64)
    check_lengths("labels and clean labels", answer, before)
    return proportion(answer != before, (answer != REJECTED) & (before != REJECTED), groups)
