"""The commands ``salus log`` and ``salus token``, and what they end with."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner, Result

from salus.cli.log import log as log_group
from salus.cli.token import token as token_group
from salus.errors import SalusError

if TYPE_CHECKING:
    from serve.conftest import Log, Postgres

Run = Callable[..., Result]


@click.group()
def _salus() -> None:
    pass


for _group in (log_group, token_group):
    _salus.add_command(_group)


@pytest.fixture
def run(log: Log) -> Run:
    """Run a command on the log; mistakes come as they are."""
    data = Path(log.database.place).parent

    def run_(*words: str, where: bool = True) -> Result:
        place = ["--data-folder", str(data), "--key-file", str(log.keys.path)] if where else []
        return CliRunner().invoke(_salus, [*words, *place])

    return run_


def test_a_whole_log_is_said_to_be_whole(log: Log, run: Run) -> None:
    log.fill(3)
    result = run("log", "verify")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "is whole: 3 entries (1 to 3), 1 checkpoints; all of them are signed." in result.stdout


def test_a_log_that_was_tampered_with_ends_with_one_and_the_place(log: Log, run: Run) -> None:
    log.fill(3)
    log.change("DELETE FROM entries WHERE seq = 2")
    result = run("log", "verify")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "was tampered with: entry 2 is missing." in result.stderr


def test_a_log_that_cannot_be_read_is_a_mistake(run: Run, tmp_path: Path) -> None:
    result = run("log", "verify", "--data-folder", str(tmp_path / "nowhere"), where=False)
    assert isinstance(result.exception, SalusError)


def test_a_log_is_checked_with_a_copy_of_the_public_key_and_of_the_checkpoints(
    log: Log, run: Run, tmp_path: Path
) -> None:
    log.fill(3)
    copies = []
    for path in (log.keys.public_path, log.keys.checkpoints):
        copies.append(tmp_path / path.name)
        copies[-1].write_bytes(path.read_bytes())
    words = ("log", "verify", "--public-key", str(copies[0]), "--checkpoints", str(copies[1]))
    assert run(*words).exit_code == 0
    log.change("DELETE FROM entries")
    log.change("DELETE FROM checkpoints")
    assert "3 was signed" in run(*words).stderr


def test_an_export_is_written_and_checked_elsewhere(log: Log, run: Run, tmp_path: Path) -> None:
    log.fill(3)
    out = str(tmp_path / "log.jsonl")
    result = run("log", "export", "--out", out, "--since", "2020-01-01", "--until", "2220-01-01T10:00+02:00")
    assert "Entries 1 to 3" in result.stdout
    check = ("log", "verify", "--export", out, "--public-key", str(log.keys.public_path))
    assert run(*check, where=False).exit_code == 0
    Path(out).write_text(Path(out).read_text().replace("normal", "ectopic", 1))
    assert run(*check, where=False).exit_code == 1


def test_a_time_that_is_none_is_refused(run: Run, tmp_path: Path) -> None:
    result = run("log", "export", "--out", str(tmp_path / "x"), "--since", "yesterday")
    assert "--since takes a time as 2026-11-30" in str(result.exception)


def test_old_entries_are_pruned(log: Log, run: Run) -> None:
    log.fill(3)
    assert "Nothing is old enough" in run("log", "prune", "--older-than", "1").stdout
    assert "3 entries deleted; the log begins at entry 4 now." in run("log", "prune", "--older-than", "0").stdout
    assert run("log", "verify").exit_code == 0


def test_tokens_are_made_listed_and_revoked(log: Log, run: Run) -> None:
    made = run("token", "add", "ward 7", "--scope", "judge", "--scope", "scores", "--days", "30")
    secret = made.stdout.strip()  # alone, to be piped on
    id_ = secret.split("_")[1]
    assert secret.startswith("salus_")
    assert "ward 7: judge, scores; made" in run("token", "list").stdout
    assert f"Token {id_} is revoked." in run("token", "revoke", id_).stdout
    listed = run("token", "list").stdout
    assert "revoked" in listed
    assert secret not in listed
    assert [json.loads(row[0])["what"] for row in log.rows("SELECT body FROM entries")] == [
        "token made",
        "token revoked",
    ]


def test_days_of_a_token_that_make_no_sense_are_refused(run: Run) -> None:
    assert "--days takes a number above 0" in str(
        run("token", "add", "x", "--scope", "judge", "--days", "nan").exception
    )


def test_there_may_be_no_tokens(run: Run) -> None:
    assert "There are no tokens" in run("token", "list").stdout


def test_a_database_server_is_named_by_its_url(postgres: Postgres, tmp_path: Path, run: Run) -> None:
    place = ("--database", postgres.new_database(), "--key-file", str(tmp_path / "key.pem"))
    assert run("token", "add", "ward", "--scope", "judge", *place, where=False).exit_code == 0
    assert "ward: judge" in run("token", "list", *place, where=False).stdout


def test_what_is_missing_is_named_with_how_to_get_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "alembic", None)
    for words in (("log", "verify"), ("token", "list")):
        assert "alembic, which is not installed: pip install 'salus[serve]'" in str(run(*words).exception)
