"""The counts of past minutes, and what a bundle's inputs looked like at first, read from the database."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select

from salus.errors import StoreError
from salus.serve.monitoring.counts import Counts, total
from salus.serve.schema import baselines, windows

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: Days after which counts of minutes are deleted.
KEPT_DAYS = 35


@dataclass(frozen=True)
class Baseline:
    """What the first inputs of a bundle looked like.

    Attributes:
        first: the minute in which they began.
        last: the minute in which they were enough.
        counts: of them.
    """

    first: int
    last: int
    counts: Counts

    def outside(self, minutes: dict[int, Counts]) -> dict[int, Counts]:
        """Leave out the minutes that it was made of."""
        return {minute: counts for minute, counts in minutes.items() if not self.first <= minute <= self.last}


def counted(connection: Connection, guard: str, bundle: str | None, first: int, last: int) -> dict[int, Counts]:
    """Read the minutes from first to last in which a guard judged, those of all workers together.

    Args:
        connection: to the database.
        guard: who judged.
        bundle: its fingerprint; None: whichever it was.
        first: minute since 1970.
        last: minute since 1970.
    """
    rows = select(windows.c.minute, windows.c.counts).where(
        windows.c.guard == guard, windows.c.minute >= first, windows.c.minute <= last
    )
    if bundle is not None:
        rows = rows.where(windows.c.bundle == bundle)
    return _by_minute((row.minute, row.counts) for row in connection.execute(rows.order_by(windows.c.minute)))


def baseline_of(connection: Connection, guard: str, bundle: str) -> Baseline | None:
    """Read what a bundle's first inputs looked like; None where they are not enough yet.

    Raises:
        StoreError: the row is damaged.
    """
    text = connection.execute(
        select(baselines.c.counts).where(baselines.c.guard == guard, baselines.c.bundle == bundle)
    ).scalar()
    if text is None:
        return None
    try:
        content = json.loads(text)
        first, last, counts = int(content["first"]), int(content["last"]), Counts.read(json.dumps(content["counts"]))
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"The baseline of guard {guard!r} in the service's database is damaged ({error!r}); delete its row from "
            "table baselines, and the next inputs make a new one."
        ) from error
    return None if counts is None else Baseline(first, last, counts)


def first_inputs(connection: Connection, guard: str, bundle: str, wanted: int, now: int) -> Baseline | None:
    """Gather what a bundle judged first, in whole minutes before this one; None where it was fewer than wanted."""
    rows = (
        select(windows.c.minute, windows.c.counts)
        .where(windows.c.guard == guard, windows.c.bundle == bundle, windows.c.minute != now)
        .order_by(windows.c.minute)
    )
    minutes: dict[int, Counts] = {}
    for minute, counts in _by_minute((row.minute, row.counts) for row in connection.execute(rows)).items():
        minutes[minute] = counts
        if sum(part.judged for part in minutes.values()) >= wanted:
            return Baseline(min(minutes), minute, total(list(minutes.values())))
    return None


def keep_baseline(connection: Connection, guard: str, bundle: str, baseline: Baseline, time: float) -> None:
    """Store a baseline, unless another worker was faster."""
    from sqlalchemy.dialects import postgresql, sqlite

    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    content = {"first": baseline.first, "last": baseline.last, "counts": json.loads(baseline.counts.text())}
    values = {"guard": guard, "bundle": bundle, "time": time, "counts": json.dumps(content, separators=(",", ":"))}
    connection.execute(dialect.insert(baselines).values(values).on_conflict_do_nothing())


def forget_old(connection: Connection, now: int) -> None:
    """Delete counts of more than :data:`KEPT_DAYS` ago."""
    connection.execute(delete(windows).where(windows.c.minute < now - KEPT_DAYS * 1440))


def last_minute(connection: Connection, guard: str) -> int | None:
    """Tell the latest minute in which a guard judged; None where it never did."""
    return connection.execute(select(func.max(windows.c.minute)).where(windows.c.guard == guard)).scalar()


def _by_minute(rows: Iterable[tuple[int, str]]) -> dict[int, Counts]:
    minutes: dict[int, Counts] = {}
    for minute, text in rows:
        counts = Counts.read(text)
        if counts is not None:
            minutes.setdefault(minute, Counts()).add(counts)
    return minutes
