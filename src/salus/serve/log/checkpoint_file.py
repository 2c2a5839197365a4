"""The file beside the key to which checkpoints are appended too, out of reach of those who reach the database."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from salus.atomic import storage_errors, write_bytes
from salus.errors import StoreError
from salus.serve.log.checkpoints import Signed
from salus.serve.log.entry import canonical

#: Seconds to wait for another process that appends.
_PATIENCE = 10.0

#: Bytes at the file's end in which its newest checkpoint is looked for at first.
_TAIL = 2**18


class DamagedLine(StoreError):  # noqa: N818
    """A line of the file is none that was written."""


class CheckpointFile:
    """The checkpoints of one log in a file, one a line, appended by all processes.

    Args:
        path: the file; it may hold those of other logs too.
        place: of the database.
    """

    def __init__(self, path: Path, place: str) -> None:
        self.path = path
        self._place = place

    def append(self, checkpoints: Sequence[Signed]) -> None:
        """Append checkpoints; they are on the disk when it returns.

        Raises:
            StoreError: the file cannot be written.
        """
        lines = "".join(
            canonical({"database": self._place, "body": each.body, "signature": each.signature}) + "\n"
            for each in checkpoints
        )
        with self._locked():
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            with os.fdopen(handle, "rb+") as file:
                file.truncate(_end_of_lines(file))  # of one that died while it wrote
                file.seek(0, os.SEEK_END)
                file.write(lines.encode())
                file.flush()
                os.fsync(file.fileno())

    def read(self, log: str) -> Iterator[tuple[int, Signed]]:
        """Yield the number of the line, and the checkpoint, of each that belongs to this database or this log.

        A line that was not written to its end, as the machine died, is none.

        Raises:
            DamagedLine: a line was changed.
            StoreError: the file cannot be read.
        """
        with self._opened() as file:
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):
                    checkpoint = self._parse(line, log, f"Line {number}")
                    if checkpoint is not None:
                        yield number, checkpoint

    def newest(self, log: str) -> Signed | None:
        """Find the newest checkpoint of this database or this log.

        Raises:
            DamagedLine: a line was changed.
            StoreError: the file cannot be read.
        """
        with self._opened() as file:
            size = file.seek(0, os.SEEK_END)
            if size > _TAIL:  # a file of years need not be read whole
                file.seek(size - _TAIL)
                file.readline()
                checkpoints = [self._parse(line, log, "A line") for line in file if line.endswith(b"\n")]
                own = [each for each in checkpoints if each is not None]
                if own:
                    return max(own, key=_seq)
        return max((each for _, each in self.read(log)), key=_seq, default=None)

    def forget(self, before: int, log: str) -> None:
        """Drop this log's checkpoints before an entry up to which it was pruned.

        Raises:
            StoreError: the file cannot be written.
        """
        if not self.path.exists():
            return
        with self._locked():
            gone = {number for number, each in self.read(log) if _seq(each) < before}
            with self._opened() as file:
                kept = [line for number, line in enumerate(file, 1) if number not in gone and line.endswith(b"\n")]
            write_bytes(self.path, b"".join(kept))
            self.path.chmod(0o600)

    def _parse(self, line: bytes, log: str, where: str) -> Signed | None:
        """Read a line; None where it is another log's."""
        try:
            stored = json.loads(line)
            checkpoint = Signed(stored["body"], stored["signature"])
            own = stored["database"] == self._place or (log != "" and checkpoint.place().log == log)
            if own:
                checkpoint.place()
        except (ValueError, KeyError, TypeError, StoreError):
            raise DamagedLine(
                f"{where} of {self.path} is no checkpoint: put back the file as it was, from a backup."
            ) from None
        return checkpoint if own else None

    def _opened(self) -> IO[bytes]:
        try:
            return self.path.open("rb")
        except FileNotFoundError:
            return io.BytesIO()
        except OSError as error:
            raise StoreError(f"The file {self.path} cannot be read ({error.strerror}): check its rights.") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from the file."""
        try:
            with storage_errors(self.path), FileLock(f"{self.path}.lock", timeout=_PATIENCE):
                yield
        except Timeout:
            raise StoreError(f"The file {self.path} is locked by another process: end it, or wait.") from None


def _seq(checkpoint: Signed) -> int:
    return checkpoint.place().seq


def _end_of_lines(file: IO[bytes]) -> int:
    """Find where the last whole line ends."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 4096)
        file.seek(start)
        place = file.read(end - start).rfind(b"\n")
        if place >= 0:
            return start + place + 1
        end = start
    return 0
