"""The log as a file: JSON lines that can be checked without the database, with the public key alone."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, func, select

from salus.atomic import storage_errors
from salus.errors import OptionError, StoreError
from salus.serve import schema
from salus.serve.database import Database
from salus.serve.keys import Keys, PublicKey
from salus.serve.log.chain import Head
from salus.serve.log.checkpoints import log_name, read_head, read_start
from salus.serve.log.entry import canonical
from salus.serve.log.stored import EntryRow, SignedRow, entry_rows, signed_rows
from salus.serve.log.trail import Trail
from salus.serve.log.verifying import Verification


@dataclass(frozen=True)
class ExportHeader:
    """What an export says of itself, signed.

    Attributes:
        kind: "export".
        version: of the format.
        key: the id of the key.
        public_key: it, to be compared with a copy from elsewhere.
        log: the first entry's hash, which names the log.
        time: when it was written.
        before: the entry before its first, and the hash of that.
        last: its last entry, and the hash of that.
        checkpoints: how many follow, before the entries.
    """

    kind: str
    version: int
    key: str
    public_key: str
    log: str
    time: float
    before: Head
    last: Head
    checkpoints: int

    @classmethod
    def read(cls, body: str) -> ExportHeader:
        """Read a header.

        Raises:
            ValueError, TypeError, KeyError: it is none.
        """
        fields = json.loads(body)
        header = cls(**{**fields, "before": Head(**fields["before"]), "last": Head(**fields["last"])})
        if header.kind != "export" or header.version != 1 or canonical(asdict(header)) != body:
            raise ValueError("It is none of this version.")
        return header


def export(
    database: Database, keys: Keys, out: Path, *, since: float | None = None, until: float | None = None
) -> ExportHeader:
    """Write the log, or a part of it, to a file.

    A part goes from the first entry that is not older than ``since`` to the last one from before ``until``, and on to
    the next checkpoint.

    Args:
        database: where the log is.
        keys: sign the header.
        out: the file.
        since: seconds since 1970.
        until: seconds since 1970.

    Returns:
        The header.

    Raises:
        OptionError: no entry is from that time.
        StoreError: the database cannot be read, or the file not be written.
    """
    with database.reading() as connection:
        before, last = _span(connection, since, until)
        checkpoints = [row for row in signed_rows(connection, schema.checkpoints) if before.seq < row.seq <= last.seq]
        header = ExportHeader(
            kind="export",
            version=1,
            key=keys.id,
            public_key=keys.public.pem,
            log=log_name(connection),
            time=time.time(),
            before=before,
            last=last,
            checkpoints=len(checkpoints),
        )
        _write(out, _lines(connection, keys, header, checkpoints))
    return header


def verify_export(path: Path, public: PublicKey) -> Verification:
    """Check an export, with no database.

    Args:
        path: the file.
        public: the key that signed the log, from elsewhere than the file.

    Raises:
        StoreError: it cannot be read, or is no export.
    """
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            return _verify(file, str(path), public)
    except OSError as error:
        raise StoreError(f"The export {path} cannot be read ({error.strerror}): check its name and rights.") from error


def _span(connection: Connection, since: float | None, until: float | None) -> tuple[Head, Head]:
    """Find the entry before the first, and the last one."""
    entries, checkpoints = schema.entries.c, schema.checkpoints.c
    start, end = read_start(connection), read_head(connection)
    if since is None and until is None:
        return start, end
    query = select(func.min(entries.seq), func.max(entries.seq))
    if since is not None:
        query = query.where(entries.time >= since)
    if until is not None:
        query = query.where(entries.time < until)
    first, last = connection.execute(query).one()
    if first is None:
        raise OptionError("No entry of the log is from that time: choose another --since or --until.")
    signed = connection.execute(select(func.min(checkpoints.seq)).where(checkpoints.seq >= last)).scalar()
    last = end.seq if signed is None else min(signed, end.seq)
    hashes = dict(connection.execute(select(entries.seq, entries.hash).where(entries.seq.in_((first - 1, last)))).all())
    return (start if first == start.seq + 1 else Head(first - 1, hashes[first - 1])), Head(last, hashes[last])


def _lines(connection: Connection, keys: Keys, header: ExportHeader, checkpoints: Sequence[SignedRow]) -> Iterator[str]:
    body = canonical(asdict(header))
    yield canonical({"header": body, "signature": keys.sign(body.encode())})
    for row in checkpoints:
        yield canonical({"checkpoint": row._asdict()})
    with closing(entry_rows(connection, first=header.before.seq + 1)) as rows:
        for entry in rows:
            if entry.seq > header.last.seq:
                return
            yield _entry_line(entry.hash, entry.body)


def _entry_line(hashed: str, body: str) -> str:
    """Put the body into the line as it is, so that its very letters are what was hashed."""
    return f'{{"hash":{json.dumps(hashed)},"entry":{body}}}'


def _write(out: Path, lines: Iterator[str]) -> None:
    """Write lines that only the owner may read, whole or not at all."""
    with storage_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")  # 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                file.writelines(f"{line}\n" for line in lines)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(out)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _verify(file: IO[str], place: str, public: PublicKey) -> Verification:
    try:
        first = json.loads(file.readline())
        body, signature = first["header"], first["signature"]
        header = ExportHeader.read(body)
    except (ValueError, TypeError, KeyError):
        raise StoreError(f"The file {place} is no export of a log: write one with `salus log export`.") from None
    trail = Trail(public, header.before)
    if header.key != public.id:
        trail.add_fault(0, f"its header is signed with the key {header.key}, not with {public.id}.")
    elif not public.signed(body.encode("utf-8", "surrogatepass"), signature):
        trail.add_fault(0, "its header was changed.")
    lines = enumerate((line.removesuffix("\n") for line in file), 2)
    trail.expect(header.last, "the header")
    try:
        trail.take_checkpoints([_checkpoint(*each) for each in islice(lines, header.checkpoints)])
        trail.follow(_entry(*each) for each in lines)
    except _LineChanged as error:
        trail.add_fault(trail.last + 1, f"{error}, behind entry {trail.last}: it is none that Salus wrote.")
    return Verification.of(place, trail)


class _LineChanged(Exception):  # noqa: N818
    """A line is none that was exported."""

    def __init__(self, number: int) -> None:
        super().__init__(f"line {number} was changed")


def _checkpoint(number: int, line: str) -> SignedRow:
    try:
        row = SignedRow(**json.loads(line)["checkpoint"])
        if canonical({"checkpoint": row._asdict()}) != line:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise _LineChanged(number) from None
    return row


def _entry(number: int, line: str) -> EntryRow:
    try:
        content = json.loads(line)
        entry, hashed = content["entry"], content["hash"]
        body = canonical(entry)
        if _entry_line(hashed, body) != line or type(entry["seq"]) is not int:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise _LineChanged(number) from None
    return EntryRow._make([*(entry.get(name) for name in EntryRow._fields[:6]), body, hashed, None])
