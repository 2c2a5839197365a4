"""Min-max scaling to (0, 1), fitted on training data; what lies outside afterwards is clipped and counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salus.data.split import Parts


@dataclass(frozen=True, eq=False)
class MinMax:
    """Where zero lies and how long one is: per feature of a table, over all values otherwise."""

    low: NDArray[np.float64]
    span: NDArray[np.float64]

    @classmethod
    def fit(cls, x: NDArray[Any]) -> MinMax:
        """Learn the range of training samples; a feature that never varies keeps its own unit."""
        axis = 0 if x.ndim == 2 else None
        low = np.asarray(x.min(axis), dtype=np.float64)
        span = np.asarray(x.max(axis), dtype=np.float64) - low
        return cls(low, np.where(span > 0, span, 1.0))

    def __call__(self, x: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Scale; return the values inside (0, 1), and which of them had to be clipped."""
        scaled = (x.astype(np.float64) - self.low) / self.span
        outside = (scaled < 0) | (scaled > 1)
        return scaled.clip(0, 1).astype(np.float32), outside


def clip_note(outside: NDArray[np.bool_], parts: Parts, features: Sequence[str]) -> str:
    """Say how many values were clipped in each part, and of which features."""
    counts = {part: int(outside[rows].sum()) for part, rows in parts.items()}
    note = "min-max scaling to (0, 1) fitted on training; values clipped afterwards: " + ", ".join(
        f"{count} in {part}" for part, count in counts.items()
    )
    if outside.ndim == 2 and outside.any():
        per_feature = outside.sum(0)
        names = features or [f"feature {index}" for index in range(len(per_feature))]
        listed = [f"{names[int(i)]} {per_feature[i]}" for i in np.flatnonzero(per_feature)]
        note += f" (by feature: {', '.join(listed)})"
    return note
