"""Signed places of the chain: heads, as checkpoints, and where it begins after pruning, as anchors."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, Table, insert, select

from salus.errors import StoreError
from salus.serve import schema
from salus.serve.keys import Keys
from salus.serve.log.chain import Head
from salus.serve.log.entry import canonical

# Statements are built once: to build one takes longer than to run it.
_LAST = (
    select(schema.checkpoints.c.body, schema.checkpoints.c.signature).order_by(schema.checkpoints.c.seq.desc()).limit(1)
)
_LAST_ENTRY = select(schema.entries.c.seq, schema.entries.c.hash).order_by(schema.entries.c.seq.desc()).limit(1)


@dataclass(frozen=True)
class SignedPlace:
    """What a signature says.

    Attributes:
        kind: ``checkpoint`` or ``anchor``.
        seq: the entry.
        hash: its hash.
        time: when it was signed.
        key: the id of the key.
        log: the first entry's hash, which names the log.
        previous: of a checkpoint: the entry of the one before, or 0.
    """

    kind: str
    seq: int
    hash: str
    time: float
    key: str
    log: str
    previous: int


@dataclass(frozen=True)
class Signed:
    """A signed place as it is stored.

    Attributes:
        body: the place as canonical JSON, which is what was signed.
        signature: of the body.
    """

    body: str
    signature: str

    @classmethod
    def of(cls, place: SignedPlace, keys: Keys) -> Signed:
        """Sign a place."""
        body = canonical(asdict(place))
        return cls(body, keys.sign(body.encode()))

    def place(self) -> SignedPlace:
        """Read the body.

        Raises:
            StoreError: it is damaged.
        """
        try:
            place = SignedPlace(**json.loads(self.body))
            if canonical(asdict(place)) != self.body or type(place.seq) is not int or type(place.previous) is not int:
                raise ValueError("It was not written by Salus.")
        except (ValueError, TypeError) as error:
            raise StoreError(
                f"A checkpoint of the log is damaged ({self.body[:80]!r}): `salus log verify` says more."
            ) from error
        return place

    def store(self, connection: Connection, table: Table) -> None:
        """Write it to ``checkpoints`` or ``anchors``."""
        place = self.place()
        row = {"seq": place.seq, "time": place.time, "body": self.body, "signature": self.signature}
        connection.execute(insert(table), [row])


def last_checkpoint(connection: Connection) -> Signed | None:
    """Read the newest checkpoint of the database."""
    row = connection.execute(_LAST).first()
    return None if row is None else Signed(*row)


def last_anchor(connection: Connection) -> Signed | None:
    """Read where the chain begins after pruning."""
    table = schema.anchors.c
    row = connection.execute(select(table.body, table.signature).order_by(table.seq.desc()).limit(1)).first()
    return None if row is None else Signed(*row)


def read_start(connection: Connection) -> Head:
    """Read what the first entry of the database continues."""
    anchor = last_anchor(connection)
    if anchor is None:
        return Head()
    place = anchor.place()
    return Head(place.seq, place.hash)


def read_head(connection: Connection) -> Head:
    """Read where the chain ends; where all entries were pruned, that is where it will begin."""
    last = connection.execute(_LAST_ENTRY).first()
    return read_start(connection) if last is None else Head(*last)


def log_name(connection: Connection) -> str:
    """Name a log by the hash of its first entry, which an anchor remembers; empty where there is none yet."""
    anchor = last_anchor(connection)
    if anchor is not None:
        return anchor.place().log
    entries = schema.entries.c
    return connection.execute(select(entries.hash).where(entries.seq == 1)).scalar() or ""


def sign_head(connection: Connection, keys: Keys, head: Head, time: float) -> Signed:
    """Sign the head of the chain, within the transaction of the only writer."""
    last = last_checkpoint(connection)
    previous = 0 if last is None else last.place().seq
    place = SignedPlace("checkpoint", head.seq, head.hash, time, keys.id, log_name(connection), previous)
    checkpoint = Signed.of(place, keys)
    checkpoint.store(connection, schema.checkpoints)
    return checkpoint
