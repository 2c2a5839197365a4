"""Answers that were paid for, kept by what was asked, so that a run that was stopped asks nothing twice."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from salus.client.interface import Answers
from salus.errors import StoreError

#: Inputs that are looked up in one question to the database.
_TOGETHER = 500

_TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS answers (digest BLOB PRIMARY KEY, label INTEGER NOT NULL, scores BLOB NOT NULL)
    WITHOUT ROWID;
"""


class KeptAnswers:
    """The answers of one endpoint, in an SQLite file.

    Every request's answers are there whole or not at all once they were written; a killed process loses none of them.

    Args:
        path: the file; None for memory alone.
        classes: how many there are.

    Raises:
        StoreError: the file cannot be read or written.
    """

    def __init__(self, path: Path | None, classes: int) -> None:
        self._path, self._classes = path, classes
        with self._errors():
            self._database = sqlite3.connect(":memory:" if path is None else str(path))
        with self._errors():
            # A power cut may lose the last answers, a kill none: cheaper than to wait for the disk at every request.
            self._database.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; {_TABLES}")
            self._count = int(self._database.execute("SELECT count(*) FROM answers").fetchone()[0])

    def __len__(self) -> int:
        return self._count

    def fact(self, name: str, value: str | None = None) -> str | None:
        """Return what is known under a name; where nothing is yet, keep the value, and return it."""
        with self._errors(), self._database:
            if value is not None:
                self._database.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (name, value))
            row = self._database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def read(self, digests: Iterable[bytes]) -> dict[bytes, Answers]:
        """Return the answers that there are to these inputs."""
        asked, known = list(digests), {}
        for first in range(0, len(asked), _TOGETHER):
            some = asked[first : first + _TOGETHER]
            marks = ",".join("?" * len(some))
            with self._errors():
                query = f"SELECT digest, label, scores FROM answers WHERE digest IN ({marks})"  # noqa: S608 - marks alone
                rows = self._database.execute(query, some).fetchall()
            for digest, label, scores in rows:
                values = np.frombuffer(scores, "<f4")
                if values.shape != (self._classes,):
                    raise StoreError(f"{self._path} holds answers about {len(values)} classes; name a new folder.")
                known[digest] = Answers(np.array([label], np.int64), values[None].astype(np.float32))
        return known

    def write(self, digests: Sequence[bytes], answers: Answers, facts: Mapping[str, str]) -> None:
        """Keep the answers to these inputs, and what is first known with them."""
        rows = zip(
            digests, answers.labels.tolist(), (row.astype("<f4").tobytes() for row in answers.scores), strict=True
        )
        with self._errors(), self._database:
            self._database.executemany("INSERT OR IGNORE INTO facts VALUES (?, ?)", facts.items())
            added = self._database.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", rows)
        self._count += added.rowcount

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(
                f"The answers kept in {self._path} cannot be read or written ({error}); free some space or, where the "
                "file is damaged, delete it: what it held is asked again."
            ) from error
