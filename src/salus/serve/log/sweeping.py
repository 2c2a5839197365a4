"""Deleting what is kept for a time only: answers to repeated requests, and kept inputs."""

from __future__ import annotations

import time

from sqlalchemy import Connection, Table, delete, select

from salus.serve import schema

#: Seconds for which an answer is given again.
_ANSWERS = 24 * 3600.0

#: Rows that are deleted at a time, so that nobody waits long; seconds until the next, and between looks.
_ROWS, _SOON, _EVERY = 1000, 0.1, 60.0


class Sweeper:
    """Deletes old answers and inputs, a few at a time.

    The age of a row is told by the earlier of two clocks: the machine's, and the one that ran on steadily since the
    start. Where the machine's jumps ahead, nothing goes early.

    Args:
        keep_days: days after which inputs go; None: never.
    """

    def __init__(self, keep_days: float | None) -> None:
        self._keep_seconds = None if keep_days is None else keep_days * 86_400
        self._started = time.time() - time.monotonic()
        self._next = time.monotonic()

    def seconds(self) -> float:
        """Say how long there is nothing to do."""
        return max(0.0, self._next - time.monotonic())

    def due(self) -> bool:
        """Tell whether it is time for a look."""
        return self.seconds() == 0

    def look(self, connection: Connection) -> bool:
        """Tell whether something is old; if not, it is time for the next look later."""
        self._next = time.monotonic() + _EVERY
        for table, before in self._limits().items():
            if connection.execute(select(table.c.time).where(table.c.time < before).limit(1)).first() is not None:
                return True
        return False

    def sweep(self, connection: Connection) -> None:
        """Delete what is old, within the transaction of the only writer; what is left over soon."""
        left = [_delete(connection, table, before) for table, before in self._limits().items()]
        if any(left):
            self._next = time.monotonic() + _SOON

    def _limits(self) -> dict[Table, float]:
        """Say what is old: what is from before these times."""
        now = min(time.time(), self._started + time.monotonic())
        limits: dict[Table, float] = {schema.answers: now - _ANSWERS}
        if self._keep_seconds is not None:
            limits[schema.inputs] = now - self._keep_seconds
        return limits


def _delete(connection: Connection, table: Table, before: float) -> bool:
    """Delete the oldest rows from before a time; tell whether some may be left."""
    old = table.c.time < before
    until = connection.execute(select(table.c.time).where(old).order_by(table.c.time).offset(_ROWS).limit(1)).scalar()
    connection.execute(delete(table).where(old if until is None else table.c.time <= until))  # all of one time together
    return until is not None
