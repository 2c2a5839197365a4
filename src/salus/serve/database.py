"""The service's database: SQLite in a folder, or a PostgreSQL server; opened, brought to the newest version, shared.

Everything that writes holds one lock across all processes, so that the log has one order: in SQLite that of
``BEGIN IMMEDIATE``, in PostgreSQL an advisory lock that ends with the transaction.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)

from salus.atomic import storage_errors
from salus.errors import StoreError
from salus.serve.migrations import HEAD, VERSION_TABLE

if TYPE_CHECKING:
    from salus.serve.settings import Settings

#: Seconds that a transaction waits for another one's end before it gives up, where nothing else is said.
PATIENCE = 10.0

#: Seconds between looks whether another one that writes has ended.
_LOOK = 0.001

#: Names the lock of those who write, among the advisory locks of a PostgreSQL database.
_WRITERS = int.from_bytes(b"salus", "big")

#: What a PostgreSQL server says to those whom it does not let in.
_REFUSALS = ("authentication", "no pg_hba.conf entry", "role", "does not exist", "permission denied")

_FORMS = "postgresql://user:password@host:5432/name, or sqlite:////folder/service.sqlite"


def default_url(settings: Settings) -> str:
    """Say which database a service uses: what it was told, or a file in its data folder."""
    return settings.database if settings.database is not None else f"sqlite:///{settings.folder / 'service.sqlite'}"


def folder_of(url: str) -> Path | None:
    """Name the folder of a database's file; None for a server's."""
    parsed = _read_url(url)
    return Path(str(parsed.database)).parent if parsed.get_backend_name() == "sqlite" else None


class Database:
    """An open database.

    Attributes:
        url: where it is, with the password.
        place: where it is, without; what messages call it.
        sqlite: whether it is a file.
        engine: SQLAlchemy's pool of connections.
    """

    def __init__(self, url: URL, *, patience: float) -> None:
        self.url = url.render_as_string(hide_password=False)
        self.sqlite = url.get_backend_name() == "sqlite"
        self.place = _place(url)
        self._secrets = [str(word) for word in (url.password, url.query.get("password")) if word]
        self.engine = _sqlite_engine(url, patience) if self.sqlite else _postgresql_engine(url, patience)
        self._writers = self.engine.execution_options(salus_writes=True)
        self._readers = self.engine
        if not self.sqlite:
            self._readers = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    @classmethod
    def open(cls, url: str, *, migrate: bool = True, patience: float = PATIENCE) -> Database:
        """Open a database.

        Args:
            url: ``sqlite:////folder/service.sqlite`` or ``postgresql://user:password@host/name``.
            migrate: make it where it is missing, and bring it to this version's tables; otherwise it must have them.
            patience: seconds that a transaction waits for another one's end before it gives up.

        Raises:
            StoreError: the URL cannot be read, the folder not be written, the server not be reached, or the database
                belongs to another version.
        """
        parsed = _read_url(url)
        if parsed.get_backend_name() == "sqlite":
            _prepare_file(Path(str(parsed.database)), create=migrate)
        database = cls(parsed, patience=patience)
        try:
            database._bring_up(migrate=migrate)
        except BaseException:
            database.close()
            raise
        return database

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Read the database as it is at one moment, whatever is written meanwhile.

        Raises:
            StoreError: it cannot be reached or read.
        """
        with self.sentences(), self._readers.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Write, as the only one in all processes; what was written is kept when the block ends well.

        Raises:
            StoreError: it cannot be reached or written, or another process holds it for too long.
        """
        with self.sentences(), self._writers.connect() as connection, self.transaction(connection):
            yield connection

    def dedicated(self) -> Connection:
        """Give a connection of one's own, for ``transaction``; outside the pool, so that others cannot use it up.

        Raises:
            StoreError: the database cannot be reached.
        """
        with self.sentences():
            connection = self._writers.connect()
            connection.detach()
            return connection

    @contextmanager
    def transaction(self, connection: Connection) -> Iterator[None]:
        """Write on a dedicated connection, as the only one in all processes; errors come as SQLAlchemy has them."""
        with connection.begin():
            if not self.sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _WRITERS})
            yield

    def close(self) -> None:
        """Close all connections that nobody uses."""
        self.engine.dispose()

    @contextmanager
    def sentences(self) -> Iterator[None]:
        """Turn what goes wrong with a database into one sentence; mistakes in what it was asked stay as they are."""
        try:
            yield
        except (DataError, IntegrityError, ProgrammingError):
            raise
        except SQLAlchemyError as error:
            raise StoreError(self.sentence(error)) from error

    def sentence(self, error: Exception) -> str:
        """Say in one sentence what is wrong with the database, and what helps; never with the password."""
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()
        words = reason[0].rstrip(".") if reason else type(error).__name__
        for secret in self._secrets:
            words = words.replace(secret, "***")
        code = getattr(getattr(error, "orig", None), "sqlstate", None)
        if "disk is full" in words or code == "53100":
            return f"The disk of the database {self.place} is full: free some space."
        if "is locked" in words or code == "55P03":
            return f"The database {self.place} is locked by another process: end what holds it open, or wait."
        if "not a database" in words or "malformed" in words:
            return f"The file {self.place} is no SQLite database, or is damaged ({words}): restore it from a backup."
        if self.sqlite:
            return f"The database {self.place} cannot be used ({words}): check its file, folder and disk."
        if any(refusal in words for refusal in _REFUSALS):
            return f"The database {self.place} cannot be used ({words}): check the user, the password and their rights."
        return f"The database {self.place} cannot be reached ({words}): check that its server runs, and its address."

    def _bring_up(self, *, migrate: bool) -> None:
        """Check which version the tables have, and migrate them under the lock of those who write."""
        try:
            with _patiently(self._readers.connect) as connection:
                version = _version(connection)
            if version == HEAD:
                return
            if not migrate:
                raise self._other_version(version)
            with self._writers.connect() as connection, self.transaction(connection):
                version = _version(connection)
                if version not in (HEAD, *_versions_before()):
                    raise self._other_version(version)
                if version != HEAD:
                    _migrate(connection)
        except SQLAlchemyError as error:
            raise StoreError(self.sentence(error)) from error

    def _other_version(self, version: str | None) -> StoreError:
        if version is None:
            return StoreError(f"The database {self.place} holds no log yet: start `salus serve` with it once.")
        if version in _versions_before():
            return StoreError(
                f"The database {self.place} has version {version}, this Salus {HEAD}: start `salus serve` with it "
                "once, which brings it up to date."
            )
        return StoreError(
            f"The database {self.place} was made by a newer Salus (its version is {version}, this one knows {HEAD}): "
            "update this one: pip install -U 'salus[serve]'."
        )


def _read_url(url: str) -> URL:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, ValueError):
        backend = ""
    if backend == "postgres":
        backend = "postgresql"
    if backend not in ("sqlite", "postgresql"):  # the text may hold a password and is not repeated
        raise StoreError(f"The database's URL cannot be used: write {_FORMS}.")
    if backend == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise StoreError("A database in memory keeps no log: write sqlite:////folder/service.sqlite.")
        return parsed.set(drivername="sqlite", database=str(Path(str(parsed.database)).expanduser().absolute()))
    return parsed.set(drivername="postgresql+psycopg")


def _place(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    host = url.host or url.query.get("host") or "localhost"
    return f"postgresql://{host}:{url.port or url.query.get('port') or 5432}/{url.database or ''}"


def _prepare_file(path: Path, *, create: bool) -> None:
    """Make a file that only its owner may read, in a folder that only its owner may enter."""
    if path.is_dir():
        raise StoreError(f"The database {path} is a folder: name a file, as in sqlite:////folder/service.sqlite.")
    if path.exists():
        return
    if not create:
        raise StoreError(f"There is no database {path}: check the data folder, or start `salus serve` with it once.")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _sqlite_engine(url: URL, patience: float) -> Engine:
    engine = create_engine(url, connect_args={"check_same_thread": False}, pool_timeout=patience)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        connection.isolation_level = None  # transactions begin where `begin` below says, not where the driver thinks
        connection.text_factory = _text
        for setting in (
            f"busy_timeout = {int(patience * 1000)}",
            "journal_mode = WAL",
            "synchronous = FULL",  # a commit is on the disk when it returns
            "foreign_keys = ON",
            "secure_delete = ON",  # inputs that are deleted are gone from the file too
        ):
            connection.execute(f"PRAGMA {setting}").close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get("salus_writes", False):
            _begin_writing(connection, patience)
        else:
            connection.exec_driver_sql("BEGIN")

    return engine


def _begin_writing(connection: Connection, patience: float) -> None:
    """Wait for the lock of those who write: by looking often, as SQLite's own waiting sleeps up to 0.1 seconds."""
    until = time.monotonic() + patience
    connection.exec_driver_sql("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            except OperationalError as error:
                if "is locked" not in str(error.orig) or time.monotonic() > until:
                    raise
                time.sleep(_LOOK)
            else:
                return
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(patience * 1000)}")


def _text(content: bytes) -> str:
    """Read text; of a damaged file too, so that the damage can be named."""
    return content.decode("utf-8", "surrogateescape")


def _postgresql_engine(url: URL, patience: float) -> Engine:
    try:
        engine = create_engine(
            url,
            isolation_level="READ COMMITTED",  # a transaction that waited for the lock sees what was written meanwhile
            pool_pre_ping=True,
            pool_timeout=patience,
            connect_args={"connect_timeout": max(2, round(patience)), "tcp_user_timeout": int(patience * 1000)},
        )
    except ModuleNotFoundError as error:
        raise StoreError(
            f"A PostgreSQL database needs {error.name}, which is not installed: pip install 'salus[serve,postgres]'."
        ) from error

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        connection.autocommit = True
        for setting in (f"lock_timeout = {int(patience * 1000)}", "synchronous_commit = on", "timezone = 'UTC'"):
            connection.execute(f"SET {setting}")
        connection.autocommit = False

    return engine


def _patiently(connect: Callable[[], Connection]) -> Connection:
    """Connect; where several processes make one SQLite file at the same moment, some are told at once to come again."""
    for _ in range(20):
        try:
            return connect()
        except DBAPIError as error:
            if "is locked" not in str(error):
                raise
            time.sleep(0.05)
    return connect()


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608


def _versions_before() -> tuple[str | None, ...]:
    """Name the versions that can be brought up to date; None: no tables yet."""
    return (None, *(f"{number:04d}" for number in range(1, int(HEAD))))


def _migrate(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
