"""Tokens: shown once, kept as a hash, ended in time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event

from salus.errors import OptionError, StoreError
from salus.serve import tokens as tokens_module
from salus.serve.tokens import Principal, Tokens

if TYPE_CHECKING:
    from serve.conftest import Log


@pytest.fixture
def tokens(log: Log) -> Tokens:
    return Tokens(log.database)


def test_a_secret_tells_who_asks_and_what_for(any_log: Log) -> None:
    tokens = Tokens(any_log.database)
    secret = tokens.add("ward 7", ["scores", "judge", "judge"])
    salus, id_, random = secret.split("_", 2)
    assert (salus, len(random)) == ("salus", 43)
    assert tokens.check(secret) == Principal(id_, "ward 7", frozenset({"judge", "scores"}))
    assert tokens.current(id_) == tokens.check(secret)


def test_the_secret_stands_nowhere_in_the_database(log: Log, tokens: Tokens) -> None:
    secret = tokens.add("ward", ["judge"])
    assert tokens.check(secret) is not None
    log.database.close()
    random = secret.split("_", 2)[2].encode()
    for path in Path(log.database.place).parent.iterdir():
        assert random not in path.read_bytes()


@pytest.mark.parametrize(
    "change", [lambda s: s[:-1], lambda s: s + "x", lambda s: s.upper(), lambda s: s.replace("salus", "Salus")]
)
def test_another_secret_is_nobodys(tokens: Tokens, change: Callable[[str], str]) -> None:
    assert tokens.check(change(tokens.add("ward", ["judge"]))) is None


@pytest.mark.parametrize("secret", ["", "salus", "salus__", "salus_abc_def", "\udcff_\0_é", "_" * 10_000])
def test_nonsense_is_nobodys(tokens: Tokens, secret: str) -> None:
    tokens.add("ward", ["judge"])
    assert tokens.check(secret) is None


def test_the_secret_of_one_token_does_not_do_for_another(tokens: Tokens) -> None:
    first, second = tokens.add("a", ["judge"]), tokens.add("b", ["admin"])
    assert tokens.check(f"salus_{first.split('_')[1]}_{second.split('_', 2)[2]}") is None


def test_tokens_end_when_they_expire(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    secret = tokens.add("ward", ["judge"], expires=now + 100)
    assert tokens.check(secret) is not None
    monkeypatch.setattr(time, "time", lambda: now + 100)
    assert tokens.check(secret) is None
    assert tokens.current(secret.split("_")[1]) is None


def test_tokens_end_when_they_are_revoked(tokens: Tokens) -> None:
    secret, other = tokens.add("ward", ["judge"]), tokens.add("other", ["judge"])
    id_ = secret.split("_")[1]
    assert tokens.check(secret) is not None
    tokens.revoke(id_)
    assert tokens.check(secret) is tokens.current(id_) is None
    assert tokens.check(other) is not None
    revoked = {token.id: token.revoked for token in tokens.list()}
    tokens.revoke(id_)
    assert {token.id: token.revoked for token in tokens.list()} == revoked


def test_another_process_hears_of_new_and_ended_tokens_within_seconds(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = Tokens(log.database), Tokens(log.another_database())
    assert there.check("salus_abc_def") is None
    clock = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    secret = here.add("ward", ["judge"])
    clock += tokens_module._LOOK + 0.01
    assert there.check(secret) is not None
    here.revoke(secret.split("_")[1])
    clock += tokens_module._FRESH - 0.01
    assert there.check(secret) is not None
    clock += 0.02
    assert there.check(secret) is None


def test_a_check_costs_no_query_most_of_the_time(log: Log, tokens: Tokens) -> None:
    secret = tokens.add("ward", ["judge"])
    tokens.check(secret)
    queries: list[str] = []

    @event.listens_for(log.database.engine, "before_cursor_execute")
    def count(connection: object, cursor: object, statement: str, *rest: object) -> None:
        queries.append(statement)

    for _ in range(100):
        assert tokens.check(secret) is not None
        tokens.check(f"salus_{'0' * 12}_unknown")
    assert len(queries) <= 5


def test_tokens_are_listed_without_secrets(tokens: Tokens) -> None:
    secret = tokens.add("ward", ["judge"], expires=5e9)
    (token,) = tokens.list()
    assert (token.id, token.name, token.scopes, token.expires) == (
        secret.split("_")[1],
        "ward",
        frozenset({"judge"}),
        5e9,
    )
    assert secret not in repr(token)


def test_the_log_says_who_got_and_lost_a_token(any_log: Log) -> None:
    tokens = Tokens(any_log.database)
    id_ = tokens.add("ward", ["judge"]).split("_")[1]
    tokens.revoke(id_)
    bodies = [json.loads(body) for (body,) in any_log.rows("SELECT body FROM entries ORDER BY seq")]
    assert [(body["what"], body["detail"]["token"]) for body in bodies] == [("token made", id_), ("token revoked", id_)]
    assert any_log.verify().ok


@pytest.mark.parametrize(
    ("name", "scopes", "reason"),
    [
        ("ward", ["juge"], "did you mean 'judge'"),
        ("ward", [], "give it a scope"),
        ("", ["judge"], "1 to 128 printable"),
        ("two\nlines", ["judge"], "1 to 128 printable"),
        ("x" * 129, ["judge"], "1 to 128 printable"),
    ],
)
def test_what_makes_no_sense_is_refused(tokens: Tokens, name: str, scopes: list[str], reason: str) -> None:
    with pytest.raises(OptionError, match=reason):
        tokens.add(name, scopes)
    assert tokens.list() == ()


def test_a_token_that_is_not_there_cannot_be_revoked(tokens: Tokens) -> None:
    with pytest.raises(OptionError, match="There is no token 'abc'"):
        tokens.revoke("abc")


def test_tokens_that_cannot_be_looked_up_are_said(log: Log, tokens: Tokens) -> None:
    log.change("ALTER TABLE tokens RENAME TO elsewhere")
    with pytest.raises(StoreError):
        tokens.check("salus_abc_def")
