"""What a printed line of accuracy, sensitivity and NPV implies, and whether it can be."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from salus.errors import DataError


@dataclass(frozen=True)
class Implied:
    """What the four figures of a health table say of the two that it leaves out; shares, each with its ends.

    Attributes:
        by_accuracy: the specificity that accuracy and sensitivity leave, ``(value, low, high)`` by rounding.
        by_npv: the specificity that NPV and sensitivity leave.
        prevalence: the share of ill inputs at which both are one.
        possible: some unrounded figures give one specificity, between 0 and 1, at the prevalence asked about.
    """

    by_accuracy: tuple[float, float, float]
    by_npv: tuple[float, float, float]
    prevalence: tuple[float, float, float]
    possible: bool


def implied(prevalence: float, accuracy: float, sensitivity: float, npv: float, *, unit: float = 0.001) -> Implied:
    """Check a printed line of accuracy, sensitivity and NPV against the share of ill inputs.

    With prevalence p, sensitivity s and specificity c, accuracy = p s + (1 - p) c and
    NPV = (1 - p) c / ((1 - p) c + p (1 - s)): three printed figures fix c twice.

    Args:
        prevalence: share of inputs that are ill, between 0 and 1.
        accuracy: as printed, from 0 to 1.
        sensitivity: as printed, below 1.
        npv: as printed, below 1.
        unit: of the last printed digit; each figure may be off by half of it.

    Raises:
        DataError: the prevalence, or a figure within its rounding, lies outside what the formulas can take.
    """
    half, p = unit / 2, prevalence
    if not 0 < p < 1 or not (0 < sensitivity < 1 - half and 0 < npv < 1 - half and 0 <= accuracy <= 1):
        raise DataError(
            f"Prevalence {p:g}, accuracy {accuracy:g}, sensitivity {sensitivity:g} and NPV {npv:g} must be shares; all "
            "but accuracy lie between 0 and 1."
        )

    def by_accuracy(a: float, s: float) -> float:
        return (a - p * s) / (1 - p)

    def by_npv(s: float, v: float) -> float:
        return p * (1 - s) * v / ((1 - p) * (1 - v))

    def at(a: float, s: float, v: float) -> tuple[float, float, float]:
        return by_accuracy(a, s), by_npv(s, v), a / (s + (1 - s) * v / (1 - v))

    # Each of the three rises or falls in each figure, and so does the difference of the first two: ends are at corners.
    ends = [at(accuracy + da, sensitivity + ds, npv + dv) for da, ds, dv in product((-half, half), repeat=3)]  # [8][3]
    middle = at(accuracy, sensitivity, npv)
    first, second, third = ((middle[i], min(e[i] for e in ends), max(e[i] for e in ends)) for i in range(3))
    apart = [one - other for one, other, _ in ends]
    inside = all(low <= 1 and high >= 0 for _, low, high in (first, second))
    return Implied(first, second, third, possible=min(apart) <= 0 <= max(apart) and inside)
