"""Databases to test with, a real PostgreSQL server among them, and a log with everything around it."""

from __future__ import annotations

import functools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from salus.serve.database import Database
from salus.serve.keys import Keys
from salus.serve.log.entry import VerdictEntry
from salus.serve.log.verifying import Verification, verify
from salus.serve.log.writer import LogWriter, Receipt, Submission


class Postgres:
    """A server of one's own, in a temporary folder, on a port that was free."""

    user, password = "salus", "right-password"

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries, self._folder = binaries, folder
        self._process: subprocess.Popen[bytes] | None = None
        self._count = 0
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        # It refuses to run as root.
        self._as = {"user": "nobody", "extra_groups": []} if os.geteuid() == 0 else {}
        word = folder / "password"
        word.write_text(self.password)
        if self._as:
            for path in (folder, word):
                shutil.chown(path, "nobody")
        self._call("initdb", "--auth=scram-sha-256", f"--username={self.user}", f"--pwfile={word}", "--no-sync")

    def url(self, name: str = "postgres", password: str | None = None) -> str:
        return f"postgresql://{self.user}:{password or self.password}@127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._process = subprocess.Popen(
            [self._binaries / "postgres", "-D", self._folder / "data", *options],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self._as,  # type: ignore[call-overload]
        )
        for _ in range(600):
            with suppress(OSError), closing(socket.create_connection(("127.0.0.1", self.port))):
                break
            time.sleep(0.02)
        engine = create_engine(self.url().replace("postgresql://", "postgresql+psycopg://"))
        for _ in range(600):  # it listens before it answers
            with suppress(Exception), engine.connect():
                break
            time.sleep(0.02)
        engine.dispose()

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(3)  # at once, as in a crash
            self._process.wait(30)
            self._process = None

    def new_database(self) -> str:
        """Make an empty schema, which is quicker than a database and as good as one, and return its URL."""
        self._count += 1
        engine = create_engine(self.url().replace("postgresql://", "postgresql+psycopg://"))
        with engine.begin() as connection:
            connection.execute(text(f"CREATE SCHEMA log{self._count}"))
        engine.dispose()
        return f"{self.url()}?options=-csearch_path%3Dlog{self._count}"

    def _call(self, program: str, *options: str) -> None:
        command = [self._binaries / program, "-D", self._folder / "data", *options]
        subprocess.run(command, cwd=self._folder, check=True, stdout=subprocess.DEVNULL, **self._as)  # type: ignore[call-overload]


def _binaries() -> Path | None:
    """Find where PostgreSQL's server is, on the path or where Debian puts it."""
    for folder in (shutil.which("initdb"), *sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)):
        if folder is not None and (Path(folder).parent / "postgres").exists():
            return Path(folder).parent
    return None


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL server."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server here: neither initdb on the path nor /usr/lib/postgresql/*/bin")
    folder = Path(tempfile.mkdtemp(prefix="salus-postgres-"))  # which, unlike pytest's, others may enter
    server = Postgres(binaries, folder)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'data' / 'service.sqlite'}"
    url: str = request.getfixturevalue("postgres").new_database()
    return url


@dataclass
class Log:
    """A log, its key, and the writers that were opened for it."""

    database: Database
    keys: Keys
    _open: list[LogWriter | Database] = field(default_factory=list)

    def another_database(self, patience: float = 10.0) -> Database:
        """Connect to the same database as another process would."""
        database = Database.open(self.database.url, patience=patience)
        self._open.append(database)
        return database

    def writer(self, database: Database | None = None, **settings: Any) -> LogWriter:
        """Start a writer."""
        defaults: dict[str, Any] = {
            "wait": 0.0,
            "checkpoint_entries": 1000,
            "checkpoint_seconds": 3600.0,
            "keep_days": None,
        }
        writer = LogWriter(database or self.database, self.keys, **{**defaults, **settings})
        writer.start()
        self._open.append(writer)
        return writer

    def fill(self, count: int, *, signed_every: int = 10, last_signed: bool = True) -> None:
        """Append single entries, the last of them signed or not."""
        writer = self.writer(checkpoint_entries=signed_every)
        for row in range(count):
            writer.append(Submission([entry(row)])).result(20)
        if last_signed:
            writer.close(20)

    def verify(self, keys: Keys | None = None) -> Verification:
        return verify(self.database, self.keys.public, checkpoints=self.keys.checkpoints, keys=keys)

    def change(self, statement: str, **values: Any) -> int:
        """Change the database behind Salus's back; return how many rows were."""
        with self.database.engine.begin() as connection:
            return connection.execute(text(statement), values).rowcount

    def rows(self, query: str) -> Sequence[Any]:
        with self.database.engine.connect() as connection:
            return connection.execute(text(query)).all()

    def close(self) -> None:
        for each in reversed(self._open):
            each.close(20) if isinstance(each, LogWriter) else each.close()
        self.database.close()


def entry(row: int = 0, **changes: Any) -> VerdictEntry:
    """What a guard might have said."""
    fields: dict[str, Any] = {
        "guard": "hearts",
        "bundle": "b" * 64,
        "request": f"request-{row}",
        "token": "local",
        "row": row,
        "input": "c" * 64,
        "outcome": "accepted",
        "label": "normal",
        "probabilities": {"normal": 0.91, "ectopic": 0.09},
        "scores": {"i-defender": 0.1234567890123, "magnet": None},
        "thresholds": {"i-defender": 0.5, "magnet": 0.25},
        "rejected_by": (),
    }
    return VerdictEntry(**{**fields, **changes})


@pytest.fixture(scope="session", name="entry")
def entry_fixture() -> Callable[..., VerdictEntry]:
    return entry


@functools.cache
def _empty_database() -> bytes:
    """Give a database without entries; to migrate one for each test would take longer than most tests."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "service.sqlite"
        Database.open(f"sqlite:///{path}").close()
        return path.read_bytes()


def _log_at(place: Path, url: str | None = None, patience: float = 10.0) -> Log:
    if url is None:
        path = place / "data" / "service.sqlite"
        path.parent.mkdir(parents=True)
        path.write_bytes(_empty_database())
        url = f"sqlite:///{path}"
    database = Database.open(url, patience=patience)
    return Log(database, Keys.open(place / "keys" / "key.pem", data_folder=place / "data"))


@pytest.fixture(scope="session")
def log_at() -> Callable[..., Log]:
    """Open a log, which the caller closes."""
    return _log_at


@pytest.fixture
def open_log(tmp_path: Path) -> Iterator[Callable[..., Log]]:
    """Open logs, which are closed when the test ends."""
    logs: list[Log] = []

    def open_(url: str | None = None, patience: float = 10.0) -> Log:
        logs.append(_log_at(tmp_path / f"log-{len(logs)}", url, patience))
        return logs[-1]

    yield open_
    for log in logs:
        log.close()


@pytest.fixture
def log(open_log: Callable[..., Log]) -> Log:
    """A log in SQLite."""
    return open_log()


@pytest.fixture
def any_log(open_log: Callable[..., Log], database_url: str) -> Log:
    """A log in a database of each kind."""
    return open_log(database_url)


@pytest.fixture
def receipts() -> Callable[[LogWriter, int], list[Receipt]]:
    """Append single entries at once, and wait for all."""

    def append(writer: LogWriter, count: int) -> list[Receipt]:
        futures = [writer.append(Submission([entry(row)])) for row in range(count)]
        return [future.result(20) for future in futures]

    return append
