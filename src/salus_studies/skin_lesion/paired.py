"""Figures of several cells on the same images, over the same resampled lesions: differences with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salus.metrics.intervals import CONFIDENCE
from salus_studies.frame.markdown import Record, done
from salus_studies.skin_lesion import published

Floats = NDArray[np.float64]

RESAMPLES = 2000

#: Its names for figures, each a function of weights ``[B, N]``, whether an answer is right, ill, and called ill.
_HEALTH = {
    "health_accuracy": lambda ill, called: (ill == called, np.ones_like(ill)),
    "health_sensitivity": lambda ill, called: (called, ill),
    "fnr": lambda ill, called: (~called, ill),
    "npv": lambda ill, called: (~ill, ~called),
}


@dataclass(frozen=True, eq=False)
class Resampled:
    """The test images, and how often each of them is in each resample of lesions.

    Attributes:
        y: true classes ``[N]``.
        lesions: number of each image's lesion ``[N]``.
        classes: names.
        seed: of the resampling.
    """

    y: NDArray[np.int64]
    lesions: NDArray[np.int64]
    classes: tuple[str, ...]
    seed: int = 0

    @classmethod
    def of(cls, results: Record) -> Resampled | None:
        """Take the test images of stored results; None where they are not stored."""
        meta = results.get("meta") or {}
        if not meta.get("truth"):
            return None
        y = np.array([int(digit) for digit in meta["truth"]])
        lesions = np.arange(len(y)) if meta.get("lesions") is None else np.array(meta["lesions"])
        return cls(y, lesions, tuple(meta["classes"]))

    @cached_property
    def weights(self) -> Floats:
        """How often each image is drawn, ``[1 + B, N]``; the first row is the images as they are."""
        kinds, lesion = np.unique(self.lesions, return_inverse=True)
        rng = np.random.default_rng(self.seed)
        drawn = rng.multinomial(len(kinds), np.full(len(kinds), 1 / len(kinds)), size=RESAMPLES)
        return np.concatenate([np.ones((1, len(self.y))), drawn[:, lesion].astype(float)])

    def figure(self, record: Record | None, name: str, health_map: str = "thesis") -> Floats | None:
        """Compute a figure of a cell's answers over every resample, in percent ``[1 + B]``; None without answers."""
        if record is None or not done(record) or not record.get("answers"):
            return None
        answers = np.array([int(digit) for digit in record["answers"]])
        rows = np.arange(len(self.y)) if record.get("rows") is None else np.array(record["rows"])
        return 100 * self._figure(rows, answers, name, health_map)

    def _figure(self, rows: NDArray[Any], answers: NDArray[Any], name: str, health_map: str) -> Floats:
        y, weights = self.y[rows], self.weights[:, rows]
        right = y == answers
        if name == "accuracy":
            return _share(weights, right, np.ones_like(right))
        if name == "fooling":
            return _share(weights, ~right, np.ones_like(right))
        if name in ("recall", "specificity"):
            of = (
                [_share(weights, answers == k, y == k) for k in range(len(self.classes))]
                if name == "recall"
                else [_share(weights, answers != k, y != k) for k in range(len(self.classes)) if (y == k).any()]
            )
            each = np.stack(of)  # a class that a resample lacks is left out of its mean
            return np.asarray(np.nansum(each, 0) / np.maximum((~np.isnan(each)).sum(0), 1))
        positive = [self.classes.index(word) for word in published.POSITIVE[health_map]]
        hits, base = _HEALTH[name](np.isin(y, positive), np.isin(answers, positive))
        return _share(weights, hits, base)


@dataclass(frozen=True)
class Difference:
    """A difference of two figures in points, with its 95% interval over resampled lesions."""

    value: float
    low: float
    high: float

    @property
    def word(self) -> str:
        """Say whether it can be told from nothing."""
        return "more" if self.low > 0 else "less" if self.high < 0 else "undecided"


def difference(
    images: Resampled | None, after: Record | None, before: Record | None, name: str, health_map: str = "thesis"
) -> Difference | None:
    """Subtract a figure of one cell from that of another on the same images; None where they are not the same."""
    if images is None or after is None or before is None or after.get("rows") != before.get("rows"):
        return None
    one, other = images.figure(after, name, health_map), images.figure(before, name, health_map)
    return None if one is None or other is None else spread(one - other)


def spread(values: Floats) -> Difference:
    """Take the value and the interval of something over resamples ``[1 + B]``."""
    tail = (1 - CONFIDENCE) / 2
    resampled = values[1:][np.isfinite(values[1:])]
    low, high = np.quantile(resampled, [tail, 1 - tail]) if len(resampled) else (values[0], values[0])
    return Difference(float(values[0]), min(float(low), float(values[0])), max(float(high), float(values[0])))


def worst_of(records: Sequence[Record | None], truth: str) -> str | None:
    """Join attacks on the same images: of each image the first wrong answer of any; None where one was not run.

    Args:
        records: the cells.
        truth: the true class of each of their images, a digit each.
    """
    known = [record for record in records if record is not None and done(record) and record.get("answers")]
    if len(known) < len(records) or not known or len({str(record.get("rows")) for record in known}) > 1:
        return None
    columns = zip(truth, *(record["answers"] for record in known), strict=True)
    return "".join(next((answer for answer in answers if answer != true), true) for true, *answers in columns)


def truth_of(results: Record, record: Record) -> str:
    """Give the true classes of a cell's images, a digit each."""
    truth: str = results["meta"]["truth"]
    return truth if record.get("rows") is None else "".join(truth[row] for row in record["rows"])


def _share(weights: Floats, hits: NDArray[Any], base: NDArray[Any]) -> Floats:
    """Divide how often hits are drawn by how often the base is, ``[1 + B]``; NaN where it is never."""
    of = weights @ base.astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(weights @ (hits & base).astype(float) / of)


def answers_of(results: Mapping[str, Any]) -> bool:
    """Whether stored results hold single answers."""
    return any(record.get("answers") for record in results.get("cells") or ())
