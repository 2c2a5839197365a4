"""What happens to each of several labels that a sample carries at once, and which of them is easiest to flip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salus.metrics.arrays import Values, flat
from salus.metrics.classification import REJECTED
from salus.metrics.intervals import proportion


def per_label(
    held: NDArray[np.bool_],
    labels: Sequence[str],
    y: Values,
    clean: Values,
    attacked: Values | None = None,
    groups: Values | None = None,
) -> list[dict[str, Any]]:
    """Count each label by itself: whether a sample carries it, and whether the answer says so.

    An answer that is rejected says nothing of any label, and flips none.

    Args:
        held: which labels each class stands for, ``[K, L]``.
        labels: names of the labels, ``L``.
        y: true classes ``[N]``.
        clean: answers to the clean samples ``[N]``, -1 where they are rejected.
        attacked: answers to the attacked ones ``[N]``; None where there are none.
        groups: the patient of each ``[N]``.

    Returns:
        A row a label: ``label``; ``n``, how many samples carry it; ``sensitivity_clean``, the share of these of which
        the answer says so; and of attacked samples ``sensitivity_attacked``, the share of these that go on being
        answered so (or are rejected), and ``flipped``: of all samples whose answer was right about the label, the share
        whose attacked answer is accepted and wrong about it. Shares with ``_low`` and ``_high``.
    """
    truth, before = flat(y, "y").astype(np.int64), flat(clean, "clean").astype(np.int64)
    after = None if attacked is None else flat(attacked, "attacked").astype(np.int64)
    rows = []
    for place, name in enumerate(labels):
        of_class = held[:, place]
        carries = of_class[truth]
        right = (before != REJECTED) & (of_class[before] == carries)
        row: dict[str, Any] = {"label": name, "n": int(carries.sum())}
        row |= proportion(right, carries, groups).named("sensitivity_clean")
        if after is not None:
            flips = right & (after != REJECTED) & (of_class[after] != carries)
            row |= proportion(right & ~flips, carries, groups).named("sensitivity_attacked")
            row |= proportion(flips, right, groups).named("flipped")
        rows.append(row)
    return rows


def easiest_label(rows: Sequence[dict[str, Any]]) -> str | None:
    """Name the label that flips most often; None where none does, or nothing was attacked."""
    flipped = [(row["flipped"], row["label"]) for row in rows if row.get("flipped")]
    return max(flipped, key=lambda pair: pair[0])[1] if flipped else None
