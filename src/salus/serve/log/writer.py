"""Writing to the log: what waits is written together, and each one knows when its entries are on the disk."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError, SQLAlchemyError

from salus.errors import StoreError
from salus.serve import schema
from salus.serve.database import Database
from salus.serve.keys import Keys
from salus.serve.log.chain import Head
from salus.serve.log.checkpoint_file import CheckpointFile
from salus.serve.log.checkpoints import Signed, last_checkpoint, log_name, read_head
from salus.serve.log.entry import Entry, EventEntry
from salus.serve.log.ledger import Ledger, Written, stored_answers
from salus.serve.log.submission import (
    KeptInput,
    LogState,
    LogUnavailable,
    Receipt,
    Repeatable,
    RepeatConflict,
    Submission,
)
from salus.serve.log.sweeping import Sweeper

__all__ = [
    "KeptInput",
    "LogState",
    "LogUnavailable",
    "LogWriter",
    "Receipt",
    "RepeatConflict",
    "Repeatable",
    "Submission",
]

#: Entries of one transaction, about: a group ends with the submission that passes it.
_GROUP = 4096

#: Seconds between tries to write again, after a failure and where nobody else tries.
_RETRY = 1.0


@dataclass(frozen=True)
class _Waiting:
    submission: Submission
    future: Future[Receipt]

    @property
    def size(self) -> int:
        return max(1, len(self.submission.entries))


class LogWriter:
    """Appends to the log from a thread of its own; several writers, in several processes, share one chain.

    Args:
        database: where the log is.
        keys: sign it.
        wait: seconds from one commit to the next, at least, in which submissions gather.
        checkpoint_entries: entries after which it is signed.
        checkpoint_seconds: seconds after which it is signed at the latest, where there are new entries.
        keep_days: days after which kept inputs are deleted; None: never.
        capacity: entries that may wait.
    """

    def __init__(
        self,
        database: Database,
        keys: Keys,
        *,
        wait: float,
        checkpoint_entries: int,
        checkpoint_seconds: float,
        keep_days: float | None,
        capacity: int = 10_000,
    ) -> None:
        self._database, self._keys = database, keys
        self._wait, self._capacity = wait, capacity
        self._checkpoint_entries, self._checkpoint_seconds = checkpoint_entries, checkpoint_seconds
        self._file = CheckpointFile(keys.checkpoints, database.place)
        self._changed = threading.Condition()
        self._queue: deque[_Waiting] = deque()
        self._state = LogState()
        self._closing = False
        # The thread's own.
        self._thread = threading.Thread(target=self._run, name="salus-log", daemon=True)
        self._ledger = Ledger(database, keys)
        self._sweeper = Sweeper(keep_days)
        self._sign_at: float | None = None  # on the monotonic clock; None: all entries are signed
        self._unfiled: list[Signed] = []  # checkpoints that the file lacks, and why
        self._file_fault: str | None = None
        self._refused, self._refused_since = 0, 0.0
        self._begun = -float("inf")  # when the last group was taken

    def start(self) -> None:
        """Check that the log goes on where it was signed last, and begin to write.

        Raises:
            StoreError: the database or the file of checkpoints cannot be used, the log was signed with another key, or
                entries are missing that were signed.
        """
        with self._database.reading() as connection:
            log = log_name(connection)
        newest = self._file.newest(log)  # before the database is read: other processes may be writing to both
        with self._database.reading() as connection:
            head = read_head(connection)
            signed = self._check_history(connection, head, newest)
        self._file_checkpoints(strict=True)
        self._set_state(seq=head.seq)
        if signed < head.seq:
            self._sign_at = time.monotonic() + self._checkpoint_seconds
        self._thread.start()

    def append(self, submission: Submission) -> Future[Receipt]:
        """Hand in a submission.

        Returns:
            What becomes of it, once it is on the disk. It cannot be taken back. It fails with ``LogUnavailable`` when
            it could not be written, and with ``RepeatConflict`` when its key came with another request before.
        """
        waiting = _Waiting(submission, Future())
        waiting.future.set_running_or_notify_cancel()  # from now on `cancel` does nothing: what was judged is written
        with self._changed:
            refusal = self._refusal(waiting.size)
            if refusal is None:
                self._queue.append(waiting)
                self._set_state(waiting=self._state.waiting + waiting.size)
                self._changed.notify()
        if refusal is not None:
            waiting.future.set_exception(LogUnavailable(refusal))
        return waiting.future

    def answered(self, token: str, key: str) -> tuple[str, bytes] | None:
        """Look for the answer to an earlier request: its digest, and the answer.

        Raises:
            LogUnavailable: the database cannot be read.
        """
        try:
            with self._database.reading() as connection:
                return stored_answers(connection, [(token, key)]).get((token, key))
        except StoreError as error:
            raise LogUnavailable(str(error)) from error

    @property
    def running(self) -> bool:
        """Whether its thread runs, be the log available or not."""
        return self._thread.is_alive()

    @property
    def state(self) -> LogState:
        """How the log is now."""
        return self._state

    def close(self, timeout: float) -> None:
        """Write what waits, sign the log, and end; what is not written within the time fails."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        with self._changed:
            left = list(self._queue)
            self._queue.clear()
        for waiting in left:
            waiting.future.set_exception(LogUnavailable("The service ended before the log could be written."))

    def _refusal(self, size: int) -> str | None:
        if self._closing:
            return "The log is closed, as the service ends: ask again when it runs."
        if self._queue and self._state.waiting + size > self._capacity:
            return f"{self._state.waiting} entries wait for the log already: ask again later."
        return None

    def _set_state(self, **changes: Any) -> None:
        with self._changed:
            self._state = replace(self._state, **changes)

    def _check_history(self, connection: Connection, head: Head, newest: Signed | None) -> int:
        """Refuse to go on with a log that lacks what was signed; return up to which entry it is signed."""
        last = last_checkpoint(connection)
        if last is not None and not self._keys.public.signed(last.body.encode(), last.signature):
            raise StoreError(
                f"The log in {self._database.place} was signed with another key than the one in {self._keys.path}, or "
                "was changed: name its key file with --key-file; `salus log verify` says more."
            )
        if newest is not None and not _stands(connection, newest):
            raise StoreError(
                f"The log in {self._database.place} ends at entry {head.seq} or was changed, but {self._file.path} "
                f"says that entry {newest.place().seq} was signed: put the database back; or, where a new log is "
                "meant to begin, move that file away and keep it."
            )
        table = schema.checkpoints.c
        filed = 0 if newest is None else newest.place().seq
        later = select(table.body, table.signature).where(table.seq > filed).order_by(table.seq)
        self._unfiled = [Signed(*row) for row in connection.execute(later)]
        return 0 if last is None else last.place().seq

    # What follows runs in the thread.

    def _run(self) -> None:
        ending = False
        while not ending:
            group = self._next_group()
            if group:
                self._write(group)
            elif self._must_sign() if self._state.available else not self._closing:
                self._write([])  # to sign, or to try the database again
            if self._state.available and self._sweeper.due():
                self._sweep()
            with self._changed:
                ending = self._closing and not self._queue
        if self._state.available and self._sign_at is not None:
            self._sign_at = time.monotonic()
            self._write([])
        self._ledger.disconnect()

    def _next_group(self) -> list[_Waiting]:
        """Wait for submissions, or until there is something else to do."""
        with self._changed:
            if not self._queue and not self._closing:
                self._changed.wait(self._idle_seconds())
            gathers = bool(self._queue) and not self._closing
        if gathers and self._wait:
            time.sleep(max(0.0, self._begun + self._wait - time.monotonic()))
            self._begun = time.monotonic()
        group: list[_Waiting] = []
        with self._changed:
            size = 0
            while self._queue and size < _GROUP:
                group.append(self._queue.popleft())
                size += group[-1].size
            self._set_state(waiting=self._state.waiting - size)
        return group

    def _idle_seconds(self) -> float:
        if not self._state.available:
            return _RETRY
        seconds = self._sweeper.seconds()
        return seconds if self._sign_at is None else max(0.0, min(seconds, self._sign_at - time.monotonic()))

    def _write(self, group: Sequence[_Waiting]) -> None:
        """Write a group in one transaction, or tell each of it why not; without a group, sign, or try the database."""
        try:
            written = self._ledger.write(
                [waiting.submission for waiting in group],
                preface=self._resumption(),
                sign_from=1 if self._must_sign() else self._checkpoint_entries,
            )
        except (DataError, IntegrityError, ProgrammingError) as error:
            self._single_out(group, error)
        except SQLAlchemyError as error:
            self._fail(group, self._database.sentence(error))
        except StoreError as error:
            self._fail(group, str(error))
        except Exception as error:  # what cannot be written in one submission must not stop the log
            self._single_out(group, error)
        else:
            self._note(written)
            for waiting, outcome in zip(group, written.outcomes, strict=True):
                if isinstance(outcome, Receipt):
                    waiting.future.set_result(outcome)
                else:
                    waiting.future.set_exception(outcome)
            self._file_checkpoints()

    def _must_sign(self) -> bool:
        return self._sign_at is not None and time.monotonic() >= self._sign_at

    def _resumption(self) -> list[Entry]:
        """Say in the log, as soon as it can be written again, that it could not for a time."""
        if self._state.available:
            return []
        detail = {"since": self._refused_since, "refused": self._refused, "fault": self._state.fault}
        return [EventEntry("log resumed", detail)]

    def _note(self, written: Written) -> None:
        if written.checkpoint is not None:
            self._unfiled.append(written.checkpoint)
        if not written.unsigned:
            self._sign_at = None
        elif self._sign_at is None:
            self._sign_at = time.monotonic() + self._checkpoint_seconds
        self._refused = 0
        self._set_state(
            available=True,
            fault=self._file_fault,
            seq=written.head.seq,
            last_commit=written.time,
            commits=self._state.commits + 1,
        )

    def _single_out(self, group: Sequence[_Waiting], error: Exception) -> None:
        """Write each submission alone, so that only the one at fault fails."""
        if len(group) == 1:
            group[0].future.set_exception(error)
        elif group:
            for waiting in group:
                self._write([waiting])
        else:
            self._fail(group, f"The log in {self._database.place} cannot be written ({error}).")

    def _fail(self, group: Sequence[_Waiting], sentence: str) -> None:
        self._ledger.disconnect()
        if self._state.available:
            self._refused_since = time.time()
        self._refused += len(group)
        self._set_state(available=False, fault=sentence)
        for waiting in group:
            waiting.future.set_exception(LogUnavailable(sentence))

    def _file_checkpoints(self, *, strict: bool = False) -> None:
        """Append new checkpoints to the file; where it cannot be written, with the next group again."""
        if not self._unfiled and not strict:
            return
        try:
            self._file.append(self._unfiled)
        except StoreError as error:
            if strict:
                raise
            self._file_fault = str(error)
        else:
            self._unfiled, self._file_fault = [], None
        self._set_state(fault=self._file_fault)

    def _sweep(self) -> None:
        try:
            self._ledger.sweep(self._sweeper)
        except SQLAlchemyError as error:
            self._fail([], self._database.sentence(error))
        except StoreError as error:
            self._fail([], str(error))


def _stands(connection: Connection, checkpoint: Signed) -> bool:
    """Tell whether the chain has the hash that was signed, or went beyond it and was pruned."""
    place = checkpoint.place()
    entries, anchors = schema.entries.c, schema.anchors.c
    pruned = connection.execute(select(anchors.seq).where(anchors.seq >= place.seq)).first()
    stored = connection.execute(select(entries.hash).where(entries.seq == place.seq)).scalar()
    return pruned is not None or stored == place.hash
