"""Pruning: what is old goes, what is left is still proven, whatever the clock did."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from salus.errors import OptionError, StoreError
from salus.serve.log import pruning
from salus.serve.log.checkpoints import Signed
from salus.serve.log.entry import EventEntry, VerdictEntry
from salus.serve.log.pruning import Pruning, prune
from salus.serve.log.writer import KeptInput, Submission

if TYPE_CHECKING:
    from serve.conftest import Log

MakeEntry = Callable[..., VerdictEntry]

_DAY = 86_400.0


def _date(log: Log, days_ago: dict[int, float]) -> None:
    """Let checkpoints have been signed at other times."""
    now, lines = time.time(), []
    for seq, body in log.rows("SELECT seq, body FROM checkpoints ORDER BY seq"):
        place = replace(Signed(body, "").place(), time=now - days_ago.get(seq, 0.0) * _DAY)
        signed = Signed.of(place, log.keys)
        values = {"time": place.time, "body": signed.body, "signature": signed.signature, "seq": seq}
        log.change(
            "UPDATE checkpoints SET time = :time, body = :body, signature = :signature WHERE seq = :seq", **values
        )
        lines.append(json.dumps({"database": log.database.place, "body": signed.body, "signature": signed.signature}))
    log.keys.checkpoints.write_text("".join(f"{line}\n" for line in lines))
    assert log.verify().ok


def test_entries_go_up_to_the_last_checkpoint_that_is_old(any_log: Log) -> None:
    any_log.fill(35)
    _date(any_log, {10: 9.0, 20: 8.0, 30: 2.0})
    assert prune(any_log.database, any_log.keys, older_than=7) == Pruning(deleted=20, last=20)
    assert any_log.rows("SELECT min(seq), max(seq) FROM entries") == [(21, 36)]
    (event,) = any_log.rows("SELECT body FROM entries WHERE seq = 36")[0]
    assert json.loads(event)["detail"] == {"first": 1, "last": 20, "days": 7}
    verification = any_log.verify()
    assert (verification.ok, verification.first, verification.uncovered) == (True, 21, 1)
    assert prune(any_log.database, any_log.keys, older_than=7) == Pruning(deleted=0, last=20)


def test_a_log_is_pruned_again_and_again_and_gone_on_with(log: Log) -> None:
    for turn in range(4):
        log.fill(10)
        assert prune(log.database, log.keys, older_than=0).deleted > 0
        verification = log.verify()
        assert verification.ok, (turn, verification.fault)
    assert len(log.keys.checkpoints.read_text().splitlines()) == 1  # those before the beginning are dropped
    log.writer().close(20)


def test_everything_may_go_and_the_chain_is_gone_on_with(log: Log) -> None:
    log.fill(10)
    prune(log.database, log.keys, older_than=0)
    log.change("DELETE FROM entries")
    assert log.verify().last == 10
    writer = log.writer()
    assert writer.append(Submission([EventEntry("on", {})])).result(20).first_seq == 11
    assert log.verify().ok


def test_kept_inputs_go_with_their_entries(any_log: Log, entry: MakeEntry) -> None:
    x = b"1234"
    submission = Submission([entry(0, input=any_log.keys.input_digest(x))], kept=[KeptInput(0, "beat", x)])
    writer = any_log.writer(checkpoint_entries=1)
    for _ in range(2):
        writer.append(submission).result(20)
    _date(any_log, {1: 2.0})
    prune(any_log.database, any_log.keys, older_than=1)
    assert any_log.rows("SELECT seq FROM inputs") == [(2,)]


def test_what_was_tampered_with_is_evidence_and_stays(log: Log) -> None:
    log.fill(20)
    log.change("UPDATE entries SET outcome = 'rejected' WHERE seq = 4")
    with pytest.raises(StoreError, match=r"entry 4 was changed.*Nothing was pruned"):
        prune(log.database, log.keys, older_than=0)
    assert log.rows("SELECT count(*) FROM entries") == [(20,)]


@pytest.mark.parametrize(
    ("days_ago", "last"),
    [
        ({10: 9.0, 20: -5000.0, 30: 8.0}, 30),  # it jumped ahead and back again: that is no time
        ({10: 9.0, 20: 1.0, 30: 9000.0}, 10),  # it jumped back: what comes later is not older
        ({10: -3.0, 20: -2.0, 30: -1.0}, None),
    ],
)
def test_a_clock_that_jumped_lets_nothing_go_early(log: Log, days_ago: dict[int, float], last: int | None) -> None:
    log.fill(30)
    _date(log, days_ago)
    assert prune(log.database, log.keys, older_than=7).last == (last or 0)
    assert log.verify().ok


def test_a_pruning_that_is_stopped_leaves_a_log_that_is_whole(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "_STEP", 7)
    log.fill(30)
    steps = iter([None, None])
    monkeypatch.setattr(time, "sleep", lambda _: next(steps))
    with pytest.raises(StopIteration):
        prune(log.database, log.keys, older_than=0)
    assert log.rows("SELECT min(seq) FROM entries") == [(22,)]
    assert log.verify().ok
    monkeypatch.setattr(time, "sleep", lambda _: None)
    assert prune(log.database, log.keys, older_than=0) == Pruning(deleted=9, last=30)
    assert log.verify().ok


def test_the_service_writes_on_while_the_log_is_pruned(any_log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "_STEP", 10)
    monkeypatch.setattr(pruning, "_PAUSE", 0.0)
    any_log.fill(60)
    writer = any_log.writer(any_log.another_database())
    futures = [writer.append(Submission([EventEntry("busy", {})])) for _ in range(50)]
    prune(any_log.database, any_log.keys, older_than=0)
    assert len({future.result(20).first_seq for future in futures}) == 50
    assert any_log.verify().ok


def test_days_that_make_no_sense_are_refused(log: Log) -> None:
    for days in (-1.0, float("nan"), float("inf")):
        with pytest.raises(OptionError, match="0 or more days"):
            prune(log.database, log.keys, older_than=days)
