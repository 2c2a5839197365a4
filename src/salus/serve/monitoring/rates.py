"""How many inputs a guard rejects, against what its calibration allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from salus.metrics.intervals import Rate, wilson
from salus.serve.monitoring.counts import Counts, total

#: An interval of 95% that is looked at every minute lies above the true rate by chance about every day. So an alarm is
#: raised only where so many rejections would come this rarely at the calibrated rate.
RARE = 0.001

#: Inputs without which nothing is said: a few that came together may be one patient's.
FEWEST = 20


@dataclass(frozen=True)
class RejectionRate:
    """The share of inputs that were rejected, with Wilson's 95% interval.

    Attributes:
        rate: the share, among those that were judged.
        rejected: how many.
        calibrated: the share of clean inputs that the guard's calibration allows.
        p: how likely as many rejections are at that share, one input independent of the other.
    """

    rate: Rate
    rejected: int
    calibrated: float
    p: float

    @property
    def enough(self) -> bool:
        """Whether there were enough inputs to tell."""
        return self.rate.n >= FEWEST

    @property
    def above(self) -> bool:
        """Whether the whole interval lies above the calibrated rate."""
        return self.rate.low is not None and self.rate.low > self.calibrated

    @property
    def alarming(self) -> bool:
        """Whether it does, and not by chance among many looks."""
        return self.enough and self.above and self.p <= RARE


@dataclass(frozen=True)
class Span:
    """What was counted in a span of time.

    Attributes:
        start: its first minute.
        minutes: how many.
        counts: of it.
        rate: the share that was rejected.
    """

    start: int
    minutes: int
    counts: Counts
    rate: Rate


def rejection_rate(counts: Counts, calibrated: float) -> RejectionRate:
    """Set the share of rejected inputs against the calibrated rate."""
    from scipy.stats import binom

    p = float(binom.sf(counts.rejected - 1, counts.judged, calibrated)) if counts.judged else 1.0
    return RejectionRate(share(counts.rejected, counts.judged), counts.rejected, calibrated, p)


def share(count: int, n: int) -> Rate:
    """Share of ``count`` among ``n``, with Wilson's 95% interval; all None of nothing."""
    if n == 0:
        return Rate(None, None, None, 0)
    low, high = wilson(count, n)
    return Rate(count / n, low, high, n)


def over_time(minutes: Mapping[int, Counts], first: int, last: int, spans: int) -> list[Span]:
    """Join the minutes from first to last into at most so many spans of equal length, also where nothing was judged."""
    length = max(1, -(-(last - first + 1) // spans))
    together = []
    for start in range(first, last + 1, length):
        counts = total([minutes[minute] for minute in range(start, start + length) if minute in minutes])
        together.append(Span(start, length, counts, share(counts.rejected, counts.judged)))
    return together
