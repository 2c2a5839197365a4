"""Harm: what each wrong answer costs, so that a missed melanoma counts for more than a false alarm."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from salus.errors import DataError
from salus.metrics.arrays import Values, check_lengths, flat
from salus.metrics.intervals import Rate, mean_value


@dataclass(frozen=True)
class HarmWeights:
    """What an answer costs, for each true class.

    Attributes:
        matrix: ``[K][K]`` costs from 0 up, a row for each true class, a column for each answer, 0 where they agree.
        rejected: ``[K]``, the cost of rejecting an input of each class; nothing by default.

    Raises:
        DataError: the matrix is not square, right answers cost something, a cost is below 0 or infinite, or all are 0.
    """

    matrix: tuple[tuple[float, ...], ...]
    rejected: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        k = len(self.matrix)
        if not self.rejected:
            object.__setattr__(self, "rejected", (0.0,) * k)
        if any(len(row) != k for row in self.matrix) or len(self.rejected) != k:
            raise DataError(f"Weights of harm must be a square of {k} classes, and one cost of rejecting each.")
        if any(row[true] != 0 for true, row in enumerate(self.matrix)):
            raise DataError("A right answer does no harm: the weights must be 0 where answer and true class agree.")
        if not all(isfinite(cost) and cost >= 0 for cost in self._all()):
            raise DataError("Weights of harm must be finite numbers from 0 up.")
        if not any(self._all()):
            raise DataError("All weights of harm are 0; give at least one wrong answer a cost.")

    @property
    def most(self) -> float:
        """The dearest answer's cost."""
        return max(self._all())

    def of(self, y: Values, labels: Values) -> NDArray[np.float64]:
        """The cost of each answer ``[N]``; -1 is a rejection."""
        true, answer = flat(y, "y").astype(np.int64), flat(labels, "labels").astype(np.int64)
        check_lengths("y and labels", true, answer)
        table = np.column_stack([np.array(self.matrix), np.array(self.rejected)])  # [K, K + 1], the answer -1 last
        costs: NDArray[np.float64] = table[true, answer]
        return costs

    def _all(self) -> tuple[float, ...]:
        return (*(cost for row in self.matrix for cost in row), *self.rejected)


def mean_harm(y: Values, labels: Values, weights: HarmWeights, groups: Values | None = None) -> Rate:
    """Mean cost of an answer, with a 95% bootstrap interval that draws whole patients where there are any.

    Args:
        y: true classes ``[N]``.
        labels: answers ``[N]``, -1 where rejected.
        weights: what each answer costs.
        groups: the patient of each sample ``[N]``.
    """
    return mean_value(weights.of(y, labels), weights.most, groups)
