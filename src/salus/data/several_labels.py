"""Data in which a sample carries several labels at once: one of them is asked for, or sets of them are classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salus.data.split import Indices
from salus.errors import DataError, nearest
from salus.preprocessing.label_sets import MOST_LABELS, one_or_none, set_names


@dataclass(frozen=True, eq=False)
class Labelled:
    """What labels became.

    Attributes:
        y: indices into ``classes`` ``[N]``.
        classes: names of the classes.
        labels: names of all labels.
        label: the one that was asked for; None where classes are sets.
        note: what a reader should know.
    """

    y: Indices
    classes: tuple[str, ...]
    labels: tuple[str, ...]
    label: str | None
    note: str


def several(y: NDArray[Any], *, named: bool) -> bool:
    """Tell labels ``[N, L]`` of which a sample may carry several from one class a sample, one-hot.

    Where every sample carries exactly one, it is either; then they are several only where they are ``named``.
    """
    if y.ndim != 2 or y.shape[1] < 2:
        return False
    return named or y.dtype.kind not in "fiub" or not bool((y.sum(1) == 1).all())


def labelled(y: NDArray[Any], names: tuple[str, ...], label: str | None, name: str) -> Labelled:
    """Make classes of labels ``[N, L]`` of 0 and 1.

    Args:
        y: which labels each sample carries.
        names: of the labels; () to number them.
        label: the one that is asked for.
        name: of the data.

    Raises:
        DataError: they are others than 0 and 1, names do not fit, there is no such label, or there are too many.
    """
    if y.dtype.kind not in "fiub" or not bool(np.isin(y, (0, 1)).all()):
        raise DataError(
            f"Data {name!r}: labels of shape {list(y.shape)} must be 0 and 1, whether a sample carries each of "
            f"{y.shape[1]} labels; for one label a sample give shape [{len(y)}]."
        )
    labels = names or tuple(f"label {number}" for number in range(y.shape[1]))
    if len(labels) != y.shape[1]:
        raise DataError(f"Data {name!r}: {len(labels)} names for {y.shape[1]} labels (the array labels).")
    counts = ", ".join(f"{one} {int(n)}" for one, n in zip(labels, y.sum(0), strict=True))
    held = y.astype(bool)
    if label is not None:
        if label not in labels:
            raise DataError(f"Data {name!r} have no label {label!r}; {nearest(label, labels)}")
        classes = one_or_none(label)
        note = f"of {len(labels)} labels at once ({counts}) {label!r} was asked for (--label), there or not"
        return Labelled(held[:, labels.index(label)].astype(np.int64), classes, labels, label, note)
    if len(labels) > MOST_LABELS:
        raise DataError(
            f"Data {name!r} carry {len(labels)} labels at once; sets of up to {MOST_LABELS} are told apart as classes: "
            f"ask for one of them, such as --label {labels[0]!r}, an audit each."
        )
    note = (
        f"samples carry several labels at once ({counts}); a class is a set of them, so that an answer with any one "
        "label wrong is wrong; for one of them alone write --label NAME"
    )
    return Labelled(held @ (1 << np.arange(len(labels))), set_names(labels), labels, None, note)
