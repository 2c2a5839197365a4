"""Writing to the log: receipts, groups, repetitions, several writers, signatures, and what is kept for a time."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from salus.errors import StoreError
from salus.serve.keys import Keys
from salus.serve.log.entry import EventEntry, VerdictEntry, canonical
from salus.serve.log.writer import (
    KeptInput,
    LogUnavailable,
    LogWriter,
    Receipt,
    Repeatable,
    RepeatConflict,
    Submission,
)

if TYPE_CHECKING:
    from serve.conftest import Log

MakeEntry = Callable[..., VerdictEntry]
AppendAll = Callable[[LogWriter, int], list[Receipt]]


def _repeatable(answer: bytes, digest: str = "d", key: str = "k", **more: Any) -> Submission:
    return Submission(more.pop("entries"), answer, Repeatable("ward", key, digest), **more)


def test_a_body_is_canonical_json_with_null_for_what_is_no_number(entry: MakeEntry) -> None:
    body = entry(3, scores={"b": float("nan"), "a": 0.1 + 0.2, "c": float("-inf")}, label="é\0").body(7, 12.5)
    content = json.loads(body)
    assert body == json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert content["scores"] == {"a": 0.1 + 0.2, "b": None, "c": None}
    assert (content["seq"], content["time"], content["kind"], content["label"]) == (7, 12.5, "verdict", "é\0")
    assert set(content) == {
        *("seq", "time", "kind", "request", "token", "guard", "bundle", "row", "input", "outcome", "label"),
        *("probabilities", "scores", "thresholds", "rejected_by"),
    }


def test_canonical_json_does_not_depend_on_the_order_of_keys() -> None:
    assert canonical({"b": [1, (2.0, None)], "a": {"z": 1, "y": 2}}) == '{"a":{"y":2,"z":1},"b":[1,[2.0,null]]}'


def test_entries_stand_in_the_log_as_their_receipts_say(any_log: Log, entry: MakeEntry) -> None:
    writer = any_log.writer()
    first = writer.append(Submission([entry(0), entry(1)], b"answer")).result(20)
    second = writer.append(Submission([EventEntry("guard loaded", {"guard": "hearts"})])).result(20)
    nothing = writer.append(Submission([])).result(20)
    assert (first, second.first_seq, nothing.first_seq) == (Receipt(1, b"answer", repeated=False), 3, None)
    stored = any_log.rows("SELECT seq, kind, request, guard, outcome, body FROM entries ORDER BY seq")
    assert [row[:5] for row in stored] == [
        (1, "verdict", "request-0", "hearts", "accepted"),
        (2, "verdict", "request-1", "hearts", "accepted"),
        (3, "event", None, None, None),
    ]
    assert json.loads(stored[2][5])["detail"] == {"guard": "hearts"}
    assert writer.state.seq == 3
    assert any_log.verify().ok


def test_what_waits_is_written_in_one_transaction(log: Log, receipts: AppendAll) -> None:
    writer = log.writer()
    with log.another_database().writing():  # nothing can be written meanwhile
        futures = [writer.append(Submission([EventEntry("waiting", {"n": n})])) for n in range(200)]
    assert sorted(future.result(20).first_seq or 0 for future in futures) == list(range(1, 201))
    assert writer.state.commits <= 2
    assert writer.state.waiting == 0


def test_a_repeated_key_gives_the_first_answer_and_adds_nothing(any_log: Log, entry: MakeEntry) -> None:
    writer = any_log.writer()
    first = writer.append(_repeatable(b"first", entries=[entry(0)])).result(20)
    again = writer.append(_repeatable(b"second", entries=[entry(0)])).result(20)
    assert first == Receipt(1, b"first", repeated=False)
    assert again == Receipt(None, b"first", repeated=True)
    assert writer.answered("ward", "k") == ("d", b"first")
    assert writer.answered("ward", "other") is writer.answered("another ward", "k") is None
    assert any_log.rows("SELECT count(*) FROM entries") == [(1,)]


def test_repetitions_within_one_transaction_count_as_repetitions(log: Log, entry: MakeEntry) -> None:
    writer = log.writer()
    with log.another_database().writing():
        futures = [writer.append(_repeatable(b"%d" % n, entries=[entry(0)])) for n in range(5)]
        conflict = writer.append(_repeatable(b"x", digest="other", entries=[entry(0)]))
    outcomes = [future.result(20) for future in futures]
    assert [outcome.answer for outcome in outcomes] == [b"0"] * 5
    assert [outcome.repeated for outcome in outcomes] == [False, True, True, True, True]
    assert isinstance(conflict.exception(20), RepeatConflict)
    assert log.rows("SELECT count(*) FROM entries") == [(1,)]


def test_a_key_that_comes_with_another_request_conflicts(any_log: Log, entry: MakeEntry) -> None:
    writer = any_log.writer()
    writer.append(_repeatable(b"first", entries=[entry(0)])).result(20)
    with pytest.raises(RepeatConflict, match="'k' came with another request"):
        writer.append(_repeatable(b"first", digest="other", entries=[entry(0)])).result(20)
    assert any_log.rows("SELECT count(*) FROM entries") == [(1,)]


def test_two_writers_share_one_chain_without_a_gap(any_log: Log, receipts: AppendAll) -> None:
    writers = [any_log.writer(), any_log.writer(any_log.another_database())]
    sequences: list[int] = []

    def append(writer: LogWriter) -> None:
        for _ in range(10):
            sequences.extend(receipt.first_seq or 0 for receipt in receipts(writer, 5))

    threads = [threading.Thread(target=append, args=(writer,)) for writer in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sequences) == list(range(1, 101))
    verification = any_log.verify()
    assert (verification.ok, verification.entries) == (True, 100)


def test_of_two_writers_that_race_with_one_key_one_wins(any_log: Log, entry: MakeEntry) -> None:
    writers = [any_log.writer(), any_log.writer(any_log.another_database())]
    for turn in range(10):
        start = threading.Barrier(2)
        outcomes: list[Receipt] = []

        def race(
            writer: LogWriter, answer: bytes, start: threading.Barrier = start, turn: int = turn,
            outcomes: list[Receipt] = outcomes,
        ) -> None:  # fmt: skip
            start.wait()
            outcomes.append(writer.append(_repeatable(answer, key=f"k{turn}", entries=[entry(turn)])).result(20))

        threads = [threading.Thread(target=race, args=(writer, b"%d" % n)) for n, writer in enumerate(writers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({outcome.answer for outcome in outcomes}) == 1
        assert sorted(outcome.repeated for outcome in outcomes) == [False, True]
    assert any_log.rows("SELECT count(*) FROM entries") == [(10,)]


def test_the_log_is_signed_after_so_many_entries_and_at_the_end(any_log: Log, receipts: AppendAll) -> None:
    writer = any_log.writer(checkpoint_entries=10)
    for _ in range(25):
        receipts(writer, 1)
    writer.close(20)
    assert any_log.rows("SELECT seq FROM checkpoints ORDER BY seq") == [(10,), (20,), (25,)]
    lines = [json.loads(line) for line in any_log.keys.checkpoints.read_text().splitlines()]
    assert [json.loads(line["body"])["seq"] for line in lines] == [10, 20, 25]
    assert any_log.verify().sentence().endswith("3 checkpoints; all of them are signed.")


def test_the_log_is_signed_after_so_many_seconds(log: Log, receipts: AppendAll) -> None:
    writer = log.writer(checkpoint_seconds=0.05)
    receipts(writer, 3)
    _wait_for(lambda: log.rows("SELECT seq FROM checkpoints") == [(3,)])
    commits = writer.state.commits
    receipts(writer, 1)
    _wait_for(lambda: len(log.rows("SELECT seq FROM checkpoints")) == 2)
    assert writer.state.commits - commits <= 2


def test_entries_of_a_service_that_died_are_signed_by_the_next(log: Log) -> None:
    log.fill(5, signed_every=1000, last_signed=False)
    log.writer(checkpoint_seconds=0.05)
    _wait_for(lambda: log.rows("SELECT seq FROM checkpoints") == [(5,)])


def test_several_writers_sign_an_entry_once(log: Log, receipts: AppendAll) -> None:
    writers = [log.writer(checkpoint_seconds=0.05), log.writer(log.another_database(), checkpoint_seconds=0.05)]
    for writer in writers:
        receipts(writer, 3)
    _wait_for(lambda: log.rows("SELECT max(seq) FROM checkpoints") == [(6,)])
    for writer in writers:
        writer.close(20)
    assert log.verify().ok


def test_kept_inputs_stand_beside_their_entries(any_log: Log, entry: MakeEntry) -> None:
    inputs = [b"\0\0\x80?" * 4, b"\0\0\0@" * 4]
    entries = [entry(row, input=any_log.keys.input_digest(x)) for row, x in enumerate(inputs)]
    kept = [KeptInput(row, f"beat {row}", x) for row, x in enumerate(inputs)]
    any_log.writer().append(Submission([*entries], kept=kept)).result(20)
    rows = any_log.rows("SELECT seq, name, x FROM inputs ORDER BY seq")
    assert [(seq, name, bytes(x)) for seq, name, x in rows] == [(1, "beat 0", inputs[0]), (2, "beat 1", inputs[1])]
    assert any_log.verify(any_log.keys).ok


def test_answers_end_after_a_day_and_inputs_when_they_are_told_to(log: Log, entry: MakeEntry) -> None:
    submission = _repeatable(b"answer", entries=[entry(0)], kept=[KeptInput(0, "beat", b"1234")])
    writer = log.writer()
    writer.append(submission).result(20)
    writer.close(20)
    log.change("UPDATE answers SET time = time - 23 * 3600")
    log.change("UPDATE inputs SET time = time - 2 * 86400")
    log.writer(keep_days=3.0).close(20)
    assert log.rows("SELECT (SELECT count(*) FROM answers), (SELECT count(*) FROM inputs)") == [(1, 1)]
    log.change("UPDATE answers SET time = time - 3601")
    log.change("UPDATE inputs SET time = time - 86401")
    log.writer(keep_days=3.0).close(20)
    assert log.rows("SELECT (SELECT count(*) FROM answers), (SELECT count(*) FROM inputs)") == [(0, 0)]
    assert log.verify().ok


def test_thousands_of_old_answers_are_deleted_bit_by_bit(log: Log) -> None:
    log.fill(1, last_signed=False)
    rows = [{"key": str(n), "time": float(n // 1200)} for n in range(2500)]
    for row in rows:
        row |= {"token": "ward", "digest": "d", "body": b""}
    from sqlalchemy import insert

    from salus.serve import schema

    with log.database.writing() as connection:
        connection.execute(insert(schema.answers), rows)
    log.writer()
    _wait_for(lambda: log.rows("SELECT count(*) FROM answers") == [(0,)])


def test_a_clock_that_jumps_disturbs_neither_chain_nor_checkpoints(
    log: Log, receipts: AppendAll, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, true_time = log.writer(checkpoint_entries=2), time.time
    for jump in (0.0, -4e8, 9e9, -1e9, 3.0):
        monkeypatch.setattr(time, "time", lambda jump=jump: true_time() + jump)
        receipts(writer, 3)
    monkeypatch.undo()
    receipts(writer, 1)
    writer.close(20)
    verification = log.verify()
    assert (verification.ok, verification.entries, verification.uncovered) == (True, 16, 0)


def test_a_clock_that_jumps_ahead_ends_no_answer_and_no_input_early(
    log: Log, entry: MakeEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from salus.serve.log.sweeping import Sweeper

    log.writer().append(_repeatable(b"", entries=[entry(0)], kept=[KeptInput(0, "beat", b"1234")])).result(20)
    sweeper, true_time = Sweeper(keep_days=1.0), time.time
    monkeypatch.setattr(time, "time", lambda: true_time() + 1e9)
    with log.database.writing() as connection:
        sweeper.sweep(connection)
    assert log.rows("SELECT (SELECT count(*) FROM answers), (SELECT count(*) FROM inputs)") == [(1, 1)]


def test_an_entry_that_cannot_be_written_fails_alone(any_log: Log, entry: MakeEntry, receipts: AppendAll) -> None:
    writer = any_log.writer()
    wrong: Any = object()
    with any_log.another_database().writing():
        good = [writer.append(Submission([entry(row)])) for row in range(3)]
        bad = writer.append(Submission([entry(3, label=wrong)]))
        outside = writer.append(Submission([entry(4)], kept=[KeptInput(7, "beat", b"1234")]))
        good.append(writer.append(Submission([entry(5)])))
    assert sorted(future.result(20).first_seq or 0 for future in good) == [1, 2, 3, 4]
    assert isinstance(bad.exception(20), TypeError)
    assert outside.exception(20) is not None
    assert writer.state.available
    assert any_log.verify().ok


def test_more_than_may_wait_is_refused_at_once(log: Log, entry: MakeEntry) -> None:
    writer = log.writer(capacity=10)
    with log.another_database().writing():
        held = writer.append(Submission([entry(0)]))
        _wait_for(lambda: writer.state.waiting == 0)  # it is being written
        waiting = [writer.append(Submission([entry(row) for row in range(4)])) for _ in range(2)]
        refused = writer.append(Submission([entry(row) for row in range(4)]))
        assert isinstance(refused.exception(0), LogUnavailable)
        assert writer.state.waiting == 8
    assert [future.result(20).first_seq for future in (held, *waiting)] == [1, 2, 6]


def test_closing_writes_what_waits_and_takes_nothing_more(log: Log, entry: MakeEntry) -> None:
    writer = log.writer(wait=0.05)
    futures = [writer.append(Submission([entry(row)])) for row in range(5)]
    writer.close(20)
    assert [future.result(0).first_seq for future in futures] == [1, 2, 3, 4, 5]
    with pytest.raises(LogUnavailable, match="is closed"):
        writer.append(Submission([entry(6)])).result(0)


def test_what_is_not_written_when_the_time_to_close_is_over_fails(log: Log, entry: MakeEntry) -> None:
    writer = log.writer()
    with log.another_database().writing():
        held = writer.append(Submission([entry(0)]))
        _wait_for(lambda: writer.state.waiting == 0)
        late = writer.append(Submission([entry(1)]))
        writer.close(0.05)
        with pytest.raises(LogUnavailable, match="ended before"):
            late.result(0)
    assert held.result(20).first_seq == 1


def test_what_was_handed_in_cannot_be_taken_back(log: Log, entry: MakeEntry) -> None:
    future = log.writer().append(Submission([entry(0)]))
    assert not future.cancel()
    assert future.result(20).first_seq == 1


def test_a_log_that_lost_its_end_is_not_gone_on_with(log: Log) -> None:
    log.fill(20)
    log.change("DELETE FROM entries WHERE seq > 15")
    log.change("DELETE FROM checkpoints WHERE seq > 15")
    with pytest.raises(StoreError, match=r"ends at entry 15 .*entry 20 was signed.*move that file away"):
        log.writer()


def test_a_new_log_at_an_old_ones_place_is_not_begun_in_silence(log: Log) -> None:
    log.fill(5)
    for table in ("entries", "checkpoints"):
        log.change(f"DELETE FROM {table}")
    with pytest.raises(StoreError, match=r"ends at entry 0 .*entry 5 was signed"):
        log.writer()
    log.keys.checkpoints.rename(log.keys.checkpoints.with_suffix(".old"))
    log.fill(1)
    assert log.verify().ok


def test_a_log_is_not_gone_on_with_another_key(log: Log) -> None:
    log.fill(3)
    log.keys.path.unlink()
    log.keys = Keys.open(log.keys.path, data_folder=None)
    with pytest.raises(StoreError, match="was signed with another key"):
        log.writer()


def test_checkpoints_that_the_file_lacks_are_added_at_the_start(log: Log) -> None:
    log.fill(30)
    lines = log.keys.checkpoints.read_text().splitlines(keepends=True)
    log.keys.checkpoints.write_text(lines[0] + lines[1][:40])  # it died while it wrote
    log.writer().close(20)
    assert log.keys.checkpoints.read_text().splitlines(keepends=True) == lines
    assert log.verify().ok


def test_logs_that_share_a_key_do_not_mix_up_their_checkpoints(open_log: Callable[..., Log]) -> None:
    first, second = open_log(), open_log()
    second.keys = first.keys
    first.fill(12)
    second.fill(35)
    assert first.verify().ok
    assert second.verify().ok
    first.writer().close(20)


def _wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("It did not come about.")
