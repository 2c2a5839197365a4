"""What a monitor remembers of callers, in the service's database: shared by its workers, and there after a restart."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sqlalchemy import Connection, delete, func, insert, select, update
from torch import Tensor

from salus.detectors.queries import InProcess, Monitor, News, Past
from salus.serve.database import Database
from salus.serve.schema import callers, queries, salts

#: Digests that are kept for each query of the window.
_DIGESTS = 64

#: The types that traces have, by the letter that stands before them.
_TYPES: dict[bytes, np.dtype[Any]] = {b"f": np.dtype("<f4"), b"q": np.dtype("<i8")}


def shared_salt(database: Database) -> bytes:
    """Give the secret that all workers share; made where there is none yet, and never shown.

    Raises:
        StoreError: the database is away.
    """
    with database.writing() as connection:
        found = connection.execute(select(salts.c.salt).where(salts.c.name == "queries")).scalar()
        if found is not None:
            return bytes(found)
        salt = secrets.token_bytes(32)
        connection.execute(insert(salts).values(name="queries", salt=salt))
        return salt


class SharedMemory:
    """Remembers in this process, and brings that together with the database from time to time.

    One thread at a time. Between two calls of :meth:`sync` this process knows its own queries and those that others had
    written by then. Bounded: a window of traces and 64 digests for each place of it, of each of so many callers, in the
    database and here; those who were silent longest go first.

    Args:
        database: of the service.
        guard: whose callers.
        monitor: whose figures are kept; another fit begins anew.
        salt: that all share.
        window: queries of each caller that are compared.
        most: callers that are remembered.
    """

    def __init__(
        self, database: Database, guard: str, monitor: Monitor, salt: bytes, *, window: int, most: int
    ) -> None:
        self._database, self._monitor, self.window, self.most = database, monitor, window, most
        self._key = {"guard": guard, "monitor": monitor.fingerprint()}
        self._local = InProcess(window=window, most_callers=most, salt=salt)
        self._pending: dict[str, list[News]] = {}
        self._base: dict[str, Tensor] = {}  # caller -> the state when it was last brought together
        self._last: dict[str, int] = {}  # caller -> the last query that is known here
        self._lifted: dict[str, float | None] = {}
        self._seen = 0  # the last query of anybody when this process last brought things together

    def salt(self) -> bytes:
        """Give the secret."""
        return self._local.salt()

    def recall(self, caller: str) -> Past:
        """Give what is remembered of a caller; read from the database where this process does not know it yet.

        Raises:
            StoreError: it has to be read, and the database is away.
        """
        if caller not in self._last:
            with self._database.reading() as connection:
                self._take(connection, caller)
        return self._local.recall(caller)

    def keep(self, caller: str, news: News) -> None:
        """Add to a caller's past here; :meth:`sync` writes it."""
        self._local.keep(caller, news)
        self._pending.setdefault(caller, []).append(news)

    def forget(self, before: float) -> int:
        """Forget, here and in the database, what was asked before this time, and callers of whom nothing is left.

        Raises:
            StoreError: the database is away.
        """
        with self._database.writing() as connection:
            gone = connection.execute(delete(queries).where(*self._mine(queries), queries.c.time < before)).rowcount
            connection.execute(delete(callers).where(*self._mine(callers), callers.c.seen < before))
        self._local.forget(before)
        self._forget_those_gone()
        return int(gone)

    def callers(self) -> Iterator[tuple[str, Past]]:
        """Go through the callers that this process knows."""
        return self._local.callers()

    def lift(self, caller: str, now: float) -> bool:
        """Take the suspicion off a caller, for all workers; tell whether there is such a caller.

        Raises:
            StoreError: the database is away.
        """
        with self._database.writing() as connection:
            values = {"state": "[]", "suspicion": 0.0, "alarmed": None, "lifted": now}
            where = (*self._mine(callers), callers.c.caller == caller)
            found = connection.execute(update(callers).where(*where).values(values)).rowcount
        return bool(found)

    def sync(self) -> None:
        """Write what came here, take in what others wrote, and forget what is too much.

        Raises:
            StoreError: the database is away; nothing is lost, the next call writes it.
        """
        with self._database.writing() as connection:
            rows = connection.execute(select(callers.c.caller, callers.c.lifted).where(*self._mine(callers)))
            known = {row.caller: row.lifted for row in rows}
            news = select(queries.c.caller).where(*self._mine(queries), queries.c.id > self._seen).distinct()
            asking = set(connection.execute(news).scalars())
            for caller in list(dict.fromkeys([*self._pending, *self._last])):
                others = caller in asking or known.get(caller) != self._lifted.get(caller)
                if caller in self._pending or (caller in known and others):
                    self._take(connection, caller)
            written = list(self._pending)
            for caller in written:
                self._write(connection, caller)
            self._bound(connection, written, len({*known, *written}))
            newest = connection.execute(select(func.max(queries.c.id)).where(queries.c.id > self._seen)).scalar()
            self._seen = self._seen if newest is None else int(newest)
        self._pending.clear()

    def _take(self, connection: Connection, caller: str) -> None:
        """Take in what others wrote of a caller since this process last looked."""
        where = (*self._mine(queries), queries.c.caller == caller)
        row = connection.execute(select(callers).where(*self._mine(callers), callers.c.caller == caller)).one_or_none()
        last = self._last.get(caller, 0)
        news = connection.execute(select(queries).where(*where, queries.c.id > last).order_by(queries.c.id)).all()
        shared = torch.tensor(json.loads(row.state) if row is not None else [], dtype=torch.float64)
        past = self._local.recall(caller)
        own = past.state
        if row is not None and row.lifted is not None and row.lifted != self._lifted.get(caller):
            own, self._base[caller] = torch.zeros_like(own), torch.zeros_like(own)
            if len(past):
                past.suspicion = 0.0
        self._lifted[caller] = None if row is None else row.lifted
        state = self._monitor.merged(self._base.get(caller, own[:0]), own, shared) if len(own) else shared
        if news or len(past):
            self._local.keep(caller, _news_of(news, state))
        self._base[caller] = state.clone()
        self._last[caller] = max([last, *(each.id for each in news)])

    def _write(self, connection: Connection, caller: str) -> None:
        past, rows = self._local.recall(caller), []
        for news in self._pending[caller]:
            for place, digest in enumerate(news.digests):
                rows.append(
                    {
                        **self._key,
                        "caller": caller,
                        "time": float(news.times[place]),
                        "answer": int(news.answers[place]),
                        "suspicion": float(news.scores[place]),
                        "digest": digest,
                        "trace": _bytes_of(news.traces[place]),
                    }
                )
        where = (*self._mine(callers), callers.c.caller == caller)
        before = connection.execute(select(callers.c.asked, callers.c.alarmed).where(*where)).one_or_none()
        standing = float((past.state / self._monitor.alarms).max()) if len(past.state) else 0.0
        alarmed = None if before is None else before.alarmed
        if rows:
            connection.execute(insert(queries), rows)
        values = {
            "state": json.dumps(past.state.tolist()),
            "suspicion": standing,
            "asked": (0 if before is None else before.asked) + len(rows),
            "seen": past.seen,
            "alarmed": time.time() if alarmed is None and past.suspicion >= 1 else alarmed,
        }
        if before is None:
            connection.execute(insert(callers).values({**self._key, "caller": caller, **values}))
        else:
            connection.execute(update(callers).where(*where).values(values))
        newest = select(func.max(queries.c.id)).where(*self._mine(queries), queries.c.caller == caller)
        self._last[caller] = int(connection.execute(newest).scalar() or 0)

    def _bound(self, connection: Connection, written: list[str], count: int) -> None:
        """Forget traces beyond the window, digests beyond theirs, and the callers that are too many."""
        for caller in written:
            where = (*self._mine(queries), queries.c.caller == caller)
            for kept, change in (
                (self.window, update(queries).values(trace=None)),
                (_DIGESTS * self.window, delete(queries)),
            ):
                oldest = select(queries.c.id).where(*where).order_by(queries.c.id.desc()).offset(kept).limit(1)
                place = connection.execute(oldest).scalar()
                if place is not None:
                    held = queries.c.trace.isnot(None) if kept == self.window else queries.c.id > 0
                    connection.execute(change.where(*where, queries.c.id <= place, held))
        if count > self.most:
            silent = (
                select(callers.c.caller).where(*self._mine(callers)).order_by(callers.c.seen).limit(count - self.most)
            )
            gone = list(connection.execute(silent).scalars())
            connection.execute(delete(queries).where(*self._mine(queries), queries.c.caller.in_(gone)))
            connection.execute(delete(callers).where(*self._mine(callers), callers.c.caller.in_(gone)))
            for caller in gone:
                self._last.pop(caller, None)
                self._base.pop(caller, None)
        self._forget_those_gone()

    def _forget_those_gone(self) -> None:
        """Read those callers again, when they come, of whom this process has dropped the traces."""
        held = {caller for caller, _ in self._local.callers()}
        for caller in [name for name in self._last if name not in held and name not in self._pending]:
            del self._last[caller]
            self._base.pop(caller, None)

    def _mine(self, table: Any) -> tuple[Any, ...]:
        return (table.c.guard == self._key["guard"], table.c.monitor == self._key["monitor"])


def _news_of(rows: Any, state: Tensor) -> News:
    """Make news of rows; of those without a trace the digest alone is known."""
    whole = [row for row in rows if row.trace is not None]
    traces = torch.stack([_trace_of(bytes(row.trace)) for row in whole]) if whole else torch.zeros(0, 0)
    return News(
        traces,
        torch.tensor([row.answer for row in whole], dtype=torch.int64),
        torch.tensor([row.time for row in whole], dtype=torch.float64),
        tuple(bytes(row.digest) for row in rows),
        state,
        torch.tensor([row.suspicion for row in whole], dtype=torch.float64),
    )


def _bytes_of(trace: Tensor) -> bytes:
    letter = b"q" if trace.dtype == torch.int64 else b"f"
    return letter + trace.numpy().astype(_TYPES[letter]).tobytes()


def _trace_of(content: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(content[1:], _TYPES[content[:1]]).copy())
