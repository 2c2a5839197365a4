"""Labels that a sample carries several of at once, as classes: which set of them it carries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Labels whose sets are told apart as classes: two to this many.
MOST_LABELS = 6


def label_sets(count: int) -> NDArray[np.bool_]:
    """List all sets of so many labels ``[2^count, count]``; that at place s holds the labels of its bits."""
    held: NDArray[np.bool_] = (np.arange(2**count)[:, None] >> np.arange(count)) % 2 == 1
    return held


def set_names(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Name all sets of labels, in the order of :func:`label_sets`: ``none``, ``A``, ``B``, ``A+B``, ..."""
    each = label_sets(len(labels)).tolist()
    return tuple("+".join(n for n, held in zip(labels, row, strict=True) if held) or "none" for row in each)


def one_or_none(label: str) -> tuple[str, str]:
    """Name the two classes of one label: not there, and there."""
    return f"no {label}", label
