"""One look at a guard's last minutes: how many inputs it rejects, and whether they look as they did at first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from salus.serve.monitoring.counts import Counts, total
from salus.serve.monitoring.drift import Drift, drifts
from salus.serve.monitoring.rates import RejectionRate, rejection_rate
from salus.serve.monitoring.windows import Baseline, baseline_of, counted

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from salus.guard import Guard


class Served(Protocol):
    """A guard that is served, as far as monitoring asks."""

    @property
    def fingerprint(self) -> str:
        """Of its bundle."""

    @property
    def guard(self) -> Guard:
        """Who judges."""


@dataclass(frozen=True)
class Look:
    """What one look at a guard's last minutes showed.

    Attributes:
        guard: its name.
        bundle: the fingerprint of the bundle that is served.
        minutes: how many were looked at.
        counts: of the bundle in these minutes.
        rate: share of rejected inputs, against the calibrated rate.
        baseline: what its first inputs looked like; None where they are not enough yet.
        drifts: of each score and figure, the largest distance first; () without a baseline, or with too few inputs.
    """

    guard: str
    bundle: str
    minutes: int
    counts: Counts
    rate: RejectionRate
    baseline: Baseline | None
    drifts: tuple[Drift, ...]


def look_at(connection: Connection, name: str, served: Served, minutes: int, now: int) -> Look:
    """Look at the last minutes of the bundle that a guard is served from.

    Args:
        connection: to the database.
        name: of the guard.
        served: the guard.
        minutes: how many, this one included.
        now: this minute.
    """
    bundle, guard = served.fingerprint, served.guard
    lately = counted(connection, name, bundle, now - minutes + 1, now)
    counts = total(list(lately.values()))
    baseline = baseline_of(connection, name, bundle)
    found: list[Drift] = []
    if baseline is not None:
        later = total(list(baseline.outside(lately).values()))
        own_rules = {detector.name for detector in guard.detectors if detector.own_rule}
        found = drifts(baseline.counts, later, own_rules)
    return Look(
        name,
        bundle,
        minutes,
        counts,
        rejection_rate(counts, guard.false_alarm_rate),
        baseline,
        tuple(sorted(found, key=lambda drift: -drift.distance)),
    )
