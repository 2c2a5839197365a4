"""The chain: each entry's hash covers its body and the hash of the entry before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import Connection, insert

from salus.serve.log.entry import Entry
from salus.serve.schema import entries

#: What the first entry's hash continues.
GENESIS = "0" * 64

_INSERT = insert(entries)  # built once: to build a statement takes longer than to run it


@dataclass(frozen=True)
class Head:
    """A place in the chain: mostly its end.

    Attributes:
        seq: the number of the entry; 0 before the first.
        hash: its hash.
    """

    seq: int = 0
    hash: str = GENESIS


def link(before: str, body: str) -> str:
    """Return an entry's hash: SHA-256 of the hash before it, a line break, and its body."""
    return sha256(f"{before}\n{body}".encode("utf-8", "surrogatepass")).hexdigest()


def extend(connection: Connection, head: Head, new: Sequence[Entry], time: float) -> Head:
    """Append entries behind the head, within the transaction of the only writer.

    Args:
        connection: of ``Database.writing``.
        head: what ``read_head`` read within this transaction.
        new: entries.
        time: seconds since 1970; the entries' order does not rest on it.

    Returns:
        The new head.
    """
    seq, chained = head.seq, head.hash
    rows = []
    for entry in new:
        seq += 1
        body = entry.body(seq, time)
        chained = link(chained, body)
        rows.append({"seq": seq, "time": time, "kind": entry.kind, **entry.columns(), "body": body, "hash": chained})
    if rows:
        connection.execute(_INSERT, rows)
    return Head(seq, chained)
