"""The accuracy that costs nothing: that of always answering the commonest class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from salus.errors import DataError
from salus.metrics.arrays import Values, flat
from salus.metrics.wording import percentage


class Commonest(NamedTuple):
    """The classifier that always answers the commonest class of some samples.

    Under attack it is as right as before, because nothing changes its answer.

    Attributes:
        label: that class.
        share: of the samples that are of it: the constant's accuracy.
        n: how many samples.
    """

    label: str
    share: float
    n: int

    def __str__(self) -> str:
        return f"always answering {self.label!r}: {percentage(self.share)}"


def commonest(y: Values, classes: Sequence[str]) -> Commonest:
    """Find the commonest class among labels ``[N]``, places among the classes; of equals the first.

    Raises:
        DataError: there are no labels.
    """
    labels = flat(y, "y")
    if len(labels) == 0:
        raise DataError("Without a sample no class is the commonest.")
    counts = np.bincount(labels, minlength=len(classes))
    most = int(counts.argmax())
    return Commonest(classes[most], float(counts[most] / len(labels)), len(labels))
