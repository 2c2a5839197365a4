"""Opening databases: their tables, who may read them, and what is said when they cannot be used."""

from __future__ import annotations

import sqlite3
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import insert, select, text

from salus.errors import StoreError
from salus.serve import migrations, schema
from salus.serve.database import Database, default_url, folder_of
from salus.serve.settings import Settings

if TYPE_CHECKING:
    from serve.conftest import Log, Postgres

_TOKEN = {"id": "a", "name": "ward", "hash": "h", "scopes": "judge", "created": 1.0}


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_database_has_exactly_the_tables_of_the_schema(database_url: str) -> None:
    database = Database.open(database_url)
    with database.reading() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": migrations.VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, schema.metadata) == []
    database.close()


def test_the_version_that_is_asked_for_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_current_head() == migrations.HEAD


def test_what_is_written_stays_and_what_fails_leaves_nothing(database_url: str) -> None:
    database = Database.open(database_url)
    with database.writing() as connection:
        connection.execute(insert(schema.tokens), [_TOKEN])
    with pytest.raises(KeyError), database.writing() as connection:
        connection.execute(insert(schema.tokens), [{**_TOKEN, "id": "b"}])
        raise KeyError
    database.close()
    again = Database.open(database_url, migrate=False)
    with again.reading() as connection:
        assert len(connection.execute(select(schema.tokens.c.id)).all()) == 1
    again.close()


def test_only_one_writes_at_a_time_and_others_do_not_wait_for_ever(database_url: str) -> None:
    first, second = Database.open(database_url), Database.open(database_url, patience=0.05)
    with first.writing(), pytest.raises(StoreError, match="locked by another process"), second.writing():
        pass
    with second.writing() as connection:
        connection.execute(insert(schema.tokens), [_TOKEN])
    first.close()
    second.close()


def test_readers_see_one_moment_and_disturb_no_writer(database_url: str) -> None:
    database = Database.open(database_url)
    with database.reading() as reader:
        assert reader.execute(select(schema.tokens.c.id)).all() == []
        with database.writing() as writer:
            writer.execute(insert(schema.tokens), [_TOKEN])
        assert reader.execute(select(schema.tokens.c.id)).all() == []
    database.close()


def test_many_may_make_the_same_database_at_once(database_url: str) -> None:
    problems: list[Exception] = []
    start = threading.Barrier(6)

    def open_() -> None:
        start.wait()
        try:
            Database.open(database_url).close()
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=open_) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_only_its_owner_may_read_a_new_database(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    database = Database.open(f"sqlite:///{folder / 'service.sqlite'}")
    with database.writing() as connection:
        connection.execute(insert(schema.tokens), [_TOKEN])
    assert _mode(folder) == 0o700
    modes = {path.name: _mode(path) for path in folder.iterdir()}
    assert modes == {"service.sqlite": 0o600, "service.sqlite-wal": 0o600, "service.sqlite-shm": 0o600}
    database.close()


def test_sqlite_writes_to_the_disk_before_a_commit_returns(log: Log) -> None:
    with log.database.reading() as connection:
        pragmas = [
            connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        ]
    assert pragmas == ["wal", 2, 1, 1]


def test_postgresql_writes_to_the_disk_before_a_commit_returns(postgres: Postgres) -> None:
    database = Database.open(postgres.new_database())
    with database.reading() as connection:
        assert connection.execute(text("SHOW synchronous_commit")).scalar() == "on"
    database.close()


def test_the_default_database_lies_in_the_data_folder(tmp_path: Path) -> None:
    settings = Settings(data_folder=tmp_path / "data")
    assert folder_of(default_url(settings)) == tmp_path / "data"
    assert folder_of("postgresql://user@host/name") is None


@pytest.mark.parametrize(
    "url", ["secret", "mysql://user:secret@host/name", "://secret", "sqlite://", "sqlite:///:memory:", ""]
)
def test_a_url_that_cannot_be_used_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(StoreError, match="write") as refusal:
        Database.open(url)
    assert "secret" not in str(refusal.value)


def test_a_wrong_password_is_said_and_never_shown(postgres: Postgres) -> None:
    with pytest.raises(StoreError, match="check the user, the password") as refusal:
        Database.open(postgres.url(password="wrong-secret"))
    assert "wrong-secret" not in str(refusal.value)
    assert str(postgres.port) in str(refusal.value)


def test_a_database_that_is_not_there_is_said(postgres: Postgres) -> None:
    with pytest.raises(StoreError, match='database "nowhere" does not exist'):
        Database.open(postgres.url("nowhere"))


def test_a_server_that_cannot_be_reached_is_said_without_the_password() -> None:
    with pytest.raises(StoreError, match=r"cannot be reached .*check that its server runs") as refusal:
        Database.open("postgresql://user:secret@127.0.0.1:1/name", patience=2)
    assert "secret" not in str(refusal.value)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("This is no folder.")
    with pytest.raises(StoreError, match="Choose a folder that you may write to"):
        Database.open(f"sqlite:///{tmp_path / 'file' / 'service.sqlite'}")
    with pytest.raises(StoreError, match="is a folder"):
        Database.open(f"sqlite:///{tmp_path}")


def test_a_database_of_a_newer_version_is_refused(database_url: str) -> None:
    database = Database.open(database_url)
    with database.writing() as connection:
        connection.execute(text(f"UPDATE {migrations.VERSION_TABLE} SET version_num = '9999'"))
    database.close()
    for migrate in (True, False):
        with pytest.raises(StoreError, match=r"made by a newer Salus .*9999.*pip install -U"):
            Database.open(database_url, migrate=migrate)


def test_nothing_is_made_where_a_log_is_to_be_there_already(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="There is no database"):
        Database.open(f"sqlite:///{tmp_path / 'service.sqlite'}", migrate=False)
    sqlite3.connect(tmp_path / "empty.sqlite").close()
    (tmp_path / "empty.sqlite").touch()
    with pytest.raises(StoreError, match="holds no log yet"):
        Database.open(f"sqlite:///{tmp_path / 'empty.sqlite'}", migrate=False)


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Not a database at all. " * 100)
    with pytest.raises(StoreError, match="is no SQLite database, or is damaged"):
        Database.open(f"sqlite:///{tmp_path / 'notes.txt'}")
