"""Checking a log: whether anything in it was changed, put in, taken out or cut off, and where."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from salus.errors import StoreError
from salus.serve import schema
from salus.serve.database import Database
from salus.serve.keys import Keys, PublicKey
from salus.serve.log.checkpoint_file import CheckpointFile, DamagedLine
from salus.serve.log.checkpoints import Signed, log_name
from salus.serve.log.stored import entry_rows, signed_rows
from salus.serve.log.trail import Trail


@dataclass(frozen=True)
class Verification:
    """What was found out about a log.

    Attributes:
        place: of the log.
        first: the number of its first entry.
        last: the last entry that was looked at; a fault ends the look.
        signed: the last entry that a signature covers.
        checkpoints: signatures that were checked.
        fault: the first place where it was tampered with, in a sentence; None where it was not.
        notes: what could not be checked, in sentences.
    """

    place: str
    first: int
    last: int
    signed: int
    checkpoints: int
    fault: str | None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, place: str, trail: Trail, *notes: str) -> Verification:
        """Sum up a trail that was followed to its end."""
        return cls(place, trail.first, trail.last, trail.signed, trail.checkpoints, trail.fault, notes)

    @property
    def ok(self) -> bool:
        """Whether nothing was tampered with."""
        return self.fault is None

    @property
    def entries(self) -> int:
        """How many entries were looked at."""
        return self.last - self.first + 1

    @property
    def uncovered(self) -> int:
        """How many entries come after the last signature: those could still be changed unseen."""
        return max(0, self.last - self.signed)

    def sentence(self) -> str:
        """Say it in a sentence."""
        if self.fault is not None:
            return f"The log in {self.place} was tampered with: {self.fault}"
        if not self.entries:
            return f"The log in {self.place} is whole: it has no entries."
        cover = f"no signature covers the last {self.uncovered} yet" if self.uncovered else "all of them are signed"
        return (
            f"The log in {self.place} is whole: {self.entries} entries ({self.first} to {self.last}), "
            f"{self.checkpoints} checkpoints; {cover}."
        )


def verify(
    database: Database, public: PublicKey, *, checkpoints: Path | None, keys: Keys | None = None
) -> Verification:
    """Check a log from its first entry to its last.

    Args:
        database: where it is; a service may write to it meanwhile.
        public: the key that signed it, from where whoever changes the database could not replace it.
        checkpoints: the file to which checkpoints were appended too; None where it is not at hand.
        keys: the private key, to check kept inputs with; None leaves them out.

    Raises:
        StoreError: the database or the file cannot be read.
    """
    trail, notes = Trail(public), []
    # The file is read before the database: what is signed meanwhile stands in the database first.
    filed: list[tuple[int, Signed]] = []
    if checkpoints is None or not checkpoints.exists():
        missing = "No file of checkpoints was given" if checkpoints is None else f"There is no file {checkpoints}"
        notes.append(f"{missing}: whether entries are missing at the end, with their checkpoints, cannot be told.")
    else:
        try:
            filed = list(CheckpointFile(checkpoints, database.place).read(_log_name(database)))
        except DamagedLine as error:
            trail.add_fault(0, str(error))
    with database.reading() as connection:
        trail.take_anchors(signed_rows(connection, schema.anchors))
        trail.take_checkpoints(signed_rows(connection, schema.checkpoints))
        trail.take_file(filed, str(checkpoints))
        with closing(entry_rows(connection, inputs=keys is not None)) as rows:
            trail.follow(rows, keys)
    return Verification.of(database.place, trail, *notes)


def _log_name(database: Database) -> str:
    with database.reading() as connection:
        try:
            return log_name(connection)
        except StoreError:  # a damaged anchor, which is named in its turn
            return ""
