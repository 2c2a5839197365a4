"""The log's tables as they are read to be checked, row by row."""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple

from sqlalchemy import Connection, Table, literal, select

from salus.serve import schema

#: Rows that are fetched at a time.
_ROWS = 1000


class SignedRow(NamedTuple):
    """A row of ``checkpoints`` or ``anchors``."""

    seq: int
    time: float
    body: str
    signature: str


class EntryRow(NamedTuple):
    """A row of ``entries``, with the kept input beside it."""

    seq: int
    time: float
    kind: str
    request: str | None
    guard: str | None
    outcome: str | None
    body: str
    hash: str
    x: bytes | None


def signed_rows(connection: Connection, table: Table) -> list[SignedRow]:
    """Read all rows of ``checkpoints`` or ``anchors``, in order."""
    query = select(table.c.seq, table.c.time, table.c.body, table.c.signature).order_by(table.c.seq)
    return [SignedRow(*row) for row in connection.execute(query)]


def entry_rows(
    connection: Connection, *, first: int | None = None, inputs: bool = False
) -> Generator[EntryRow, None, None]:
    """Read entries in order.

    Args:
        connection: of ``Database.reading``.
        first: the first one; None for all.
        inputs: read the kept inputs too.
    """
    entries, kept = schema.entries, schema.inputs
    columns = [entries.c[name] for name in EntryRow._fields[:-1]]
    query = select(*columns, kept.c.x if inputs else literal(None)).order_by(entries.c.seq)
    if inputs:
        query = query.outerjoin_from(entries, kept, entries.c.seq == kept.c.seq)
    if first is not None:
        query = query.where(entries.c.seq >= first)
    with connection.execution_options(yield_per=_ROWS).execute(query) as result:
        for row in result:
            yield EntryRow._make(row)
