"""Entries of the log, read for pages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from salus.serve.schema import entries

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True)
class Entry:
    """An entry of the log.

    Attributes:
        seq: its number.
        time: when it was written.
        kind: ``verdict`` or ``event``.
        hash: its hash.
        text: its body as it stands in the log.
        body: what that says; empty where it is damaged.
    """

    seq: int
    time: float
    kind: str
    hash: str
    text: str
    body: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.body.get(name)


def entry(connection: Connection, seq: int) -> Entry | None:
    """Read one entry."""
    row = connection.execute(select(entries).where(entries.c.seq == seq)).first()
    return None if row is None else _entry(row)


def latest(
    connection: Connection,
    count: int,
    *,
    kind: str = "verdict",
    before: int | None = None,
    guard: str = "",
    outcome: str = "",
    request: str = "",
) -> list[Entry]:
    """Read the latest entries, the last one first.

    Args:
        connection: to the database.
        count: how many, at most.
        kind: of entry.
        before: only those before this number.
        guard: only of this guard.
        outcome: only with this outcome.
        request: only of this request.
    """
    rows = select(entries).where(entries.c.kind == kind)
    for column, word in ((entries.c.guard, guard), (entries.c.outcome, outcome), (entries.c.request, request)):
        if word:
            rows = rows.where(column == word)
    if before is not None:
        rows = rows.where(entries.c.seq < before)
    return [_entry(row) for row in connection.execute(rows.order_by(entries.c.seq.desc()).limit(count))]


def _entry(row: Any) -> Entry:
    try:
        body = json.loads(row.body)
    except ValueError:
        body = None
    return Entry(row.seq, row.time, row.kind, row.hash, row.body, body if isinstance(body, dict) else {})
