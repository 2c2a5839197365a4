"""A database of one's own, that need not be made anew for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from salus.serve.database import Database


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a database with all tables and no rows."""
    path = tmp_path_factory.mktemp("empty") / "service.sqlite"
    Database.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def database(empty_database: Path, tmp_path: Path) -> Iterator[Database]:
    """A database without rows."""
    path = tmp_path / "data" / "service.sqlite"
    path.parent.mkdir()
    shutil.copy(empty_database, path)
    database = Database.open(f"sqlite:///{path}")
    yield database
    database.close()
