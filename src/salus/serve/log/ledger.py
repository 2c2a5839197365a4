"""One transaction of the log: submissions in, receipts out, the head signed when it is time to."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, tuple_
from sqlalchemy.exc import SQLAlchemyError

from salus.serve import schema
from salus.serve.database import Database
from salus.serve.keys import Keys
from salus.serve.log.chain import Head, extend
from salus.serve.log.checkpoints import Signed, last_checkpoint, read_head, sign_head
from salus.serve.log.entry import Entry
from salus.serve.log.submission import Receipt, RepeatConflict, Submission
from salus.serve.log.sweeping import Sweeper

#: Idempotency keys of one query.
_KEYS = 500

Pair = tuple[str, str]


@dataclass(frozen=True)
class Written:
    """What a transaction wrote.

    Attributes:
        outcomes: one for each submission.
        head: the chain's end.
        time: when, in seconds since 1970.
        checkpoint: the head, signed, if it was signed now.
        unsigned: entries after the last checkpoint.
    """

    outcomes: Sequence[Receipt | RepeatConflict]
    head: Head
    time: float
    checkpoint: Signed | None
    unsigned: int


class Ledger:
    """Writes transactions on one connection, which is opened anew after each fault."""

    def __init__(self, database: Database, keys: Keys) -> None:
        self._database, self._keys = database, keys
        self._connection: Connection | None = None

    def write(self, submissions: Sequence[Submission], *, preface: Sequence[Entry], sign_from: int) -> Written:
        """Append submissions, whole or not at all, behind whatever other processes appended.

        Args:
            submissions: those whose idempotency key was answered before add nothing.
            preface: entries that go before them.
            sign_from: sign the head when so many entries are unsigned.

        Raises:
            StoreError: the database cannot be reached.
            SQLAlchemyError: it cannot be written.
        """
        connection, now = self._connected(), time.time()
        with self._database.transaction(connection):
            head = read_head(connection)
            group = _Group(connection, head.seq + len(preface), now)
            outcomes = group.take(submissions)
            head = extend(connection, head, [*preface, *group.entries], now)
            for table, rows in ((schema.answers, group.answers), (schema.inputs, group.kept)):
                if rows:
                    connection.execute(insert(table), rows)
            last = last_checkpoint(connection)
            unsigned = head.seq - (0 if last is None else last.place().seq)
            checkpoint = None
            if unsigned >= max(1, sign_from):
                checkpoint, unsigned = sign_head(connection, self._keys, head, now), 0
        return Written(outcomes, head, now, checkpoint, unsigned)

    def sweep(self, sweeper: Sweeper) -> None:
        """Delete what has been kept long enough.

        Raises:
            StoreError: the database cannot be reached.
            SQLAlchemyError: it cannot be written.
        """
        with self._database.reading() as reader:
            if not sweeper.look(reader):
                return
        connection = self._connected()
        with self._database.transaction(connection):
            sweeper.sweep(connection)

    def disconnect(self) -> None:
        """Close the connection; the next transaction opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError):  # the server may be gone
                connection.close()

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._database.dedicated()
        return self._connection


class _Group:
    """Gathers the rows that submissions of one transaction add."""

    def __init__(self, connection: Connection, seq: int, now: float) -> None:
        self._connection, self._first, self._now = connection, seq + 1, now
        self.entries: list[Entry] = []
        self.answers: list[dict[str, Any]] = []
        self.kept: list[dict[str, Any]] = []

    def take(self, submissions: Sequence[Submission]) -> list[Receipt | RepeatConflict]:
        """Take submissions in their order; of those with the same key the first counts."""
        keys = [(each.repeatable.token, each.repeatable.key) for each in submissions if each.repeatable is not None]
        answered = stored_answers(self._connection, keys)
        return [self._take(each, answered) for each in submissions]

    def _take(self, submission: Submission, answered: dict[Pair, tuple[str, bytes]]) -> Receipt | RepeatConflict:
        repeatable = submission.repeatable
        if repeatable is not None:
            pair = (repeatable.token, repeatable.key)
            if pair in answered:
                return _repetition(submission, *answered[pair])
            answered[pair] = (repeatable.digest, submission.answer)
            row = {"token": pair[0], "key": pair[1], "digest": repeatable.digest}
            self.answers.append({**row, "time": self._now, "body": submission.answer})
        seq = self._first + len(self.entries)
        self.entries.extend(submission.entries)
        for each in submission.kept:
            self.kept.append({"seq": seq + each.row, "time": self._now, "name": each.name, "x": each.x})
        return Receipt(seq if submission.entries else None, submission.answer, repeated=False)


def _repetition(submission: Submission, digest: str, answer: bytes) -> Receipt | RepeatConflict:
    repeatable = submission.repeatable
    if repeatable is not None and repeatable.digest != digest:
        return RepeatConflict(
            f"The idempotency key {repeatable.key!r} came with another request before: give each request its own key."
        )
    return Receipt(None, answer, repeated=True)


def stored_answers(connection: Connection, pairs: Iterable[Pair]) -> dict[Pair, tuple[str, bytes]]:
    """Read the digests and answers of those (token, idempotency key) that were answered before."""
    wanted, table, stored = list(dict.fromkeys(pairs)), schema.answers.c, {}
    for start in range(0, len(wanted), _KEYS):
        known = tuple_(table.token, table.key).in_(wanted[start : start + _KEYS])
        query = select(table.token, table.key, table.digest, table.body).where(known)
        for token, key, digest, body in connection.execute(query):
            stored[token, key] = (digest, bytes(body))
    return stored
