"""Deleting the log's oldest entries, so that what is left can still be checked."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select

from salus.errors import OptionError, StoreError
from salus.serve import schema
from salus.serve.database import Database
from salus.serve.keys import Keys
from salus.serve.log.chain import Head, extend
from salus.serve.log.checkpoint_file import CheckpointFile
from salus.serve.log.checkpoints import Signed, SignedPlace, log_name, read_head, read_start
from salus.serve.log.entry import EventEntry
from salus.serve.log.verifying import verify

#: Entries that are deleted in one transaction, and seconds between two, in which the service can write.
_STEP, _PAUSE = 5000, 0.02


@dataclass(frozen=True)
class Pruning:
    """What was deleted.

    Attributes:
        deleted: how many entries.
        last: the last of them, or of those deleted before.
    """

    deleted: int
    last: int


def prune(database: Database, keys: Keys, *, older_than: float, now: float | None = None) -> Pruning:
    """Delete entries up to the last checkpoint from before some days, with the inputs that are kept beside them.

    The log is checked first: what was tampered with is evidence and stays. It is deleted in steps; after each, a signed
    anchor says where the chain begins, so that it can be checked, and pruned on, whenever this ends.

    Args:
        database: where the log is; a service may write to it meanwhile.
        keys: sign the anchor.
        older_than: days.
        now: seconds since 1970; by default the clock's.

    Raises:
        OptionError: the number of days makes no sense.
        StoreError: the log was tampered with, or cannot be read or written.
    """
    if not 0 <= older_than < float("inf"):
        raise OptionError(f"Entries can be deleted that are older than 0 or more days, not {older_than!r}.")
    verification = verify(database, keys.public, checkpoints=keys.checkpoints, keys=keys)
    if not verification.ok:
        raise StoreError(f"{verification.sentence()} Nothing was pruned, as it is evidence: keep the log as it is.")
    now = time.time() if now is None else now
    with database.reading() as connection:
        start, log = read_start(connection).seq, log_name(connection)
        last = _last_older(connection, now - older_than * 86_400, now)
    if last is None or last <= start:
        return Pruning(0, start)
    for through in [*range(start + _STEP, last, _STEP), last]:
        with database.writing() as connection:
            if through > read_start(connection).seq:  # nobody else has pruned meanwhile
                _delete(connection, keys, log, through)
            if through == last:
                event = EventEntry("log pruned", {"first": start + 1, "last": last, "days": older_than})
                extend(connection, read_head(connection), [event], time.time())
        time.sleep(_PAUSE)
    CheckpointFile(keys.checkpoints, database.place).forget(last, log)
    return Pruning(last - start, last)


def _last_older(connection: Connection, before: float, now: float) -> int | None:
    """Find the last of the checkpoints that are old, whatever the clock did.

    What comes later is not older: after a jump back of the clock, checkpoints count as old as those before them. Times
    that are still to come are no times.
    """
    table = schema.checkpoints.c
    last = None
    for seq, signed_at in connection.execute(select(table.seq, table.time).order_by(table.seq)):
        if signed_at > now:
            continue
        if signed_at > before:
            break
        last = seq
    return None if last is None else int(last)


def _delete(connection: Connection, keys: Keys, log: str, through: int) -> None:
    """Delete entries through one, and sign that one as the place where the chain begins."""
    entries, checkpoints, anchors = schema.entries, schema.checkpoints, schema.anchors
    head = Head(through, connection.execute(select(entries.c.hash).where(entries.c.seq == through)).scalar_one())
    connection.execute(delete(entries).where(entries.c.seq <= through))
    connection.execute(delete(checkpoints).where(checkpoints.c.seq < through))
    connection.execute(delete(anchors))
    place = SignedPlace("anchor", head.seq, head.hash, time.time(), keys.id, log, previous=0)
    Signed.of(place, keys).store(connection, anchors)
