"""What happens to the log when its process, its database or its disk fails."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Connection, event, text

from salus.serve.log.entry import EventEntry, VerdictEntry
from salus.serve.log.writer import KeptInput, LogUnavailable, LogWriter, Receipt, Repeatable, Submission

if TYPE_CHECKING:
    from serve.conftest import Log, Postgres

MakeEntry = Callable[..., VerdictEntry]
AppendAll = Callable[[LogWriter, int], list[Receipt]]

#: Appends from several threads for ever, and says what was acknowledged.
_UNDER_LOAD = """
import sys, threading
from pathlib import Path
from salus.serve.database import Database
from salus.serve.keys import Keys
from salus.serve.log.writer import EventEntry, LogWriter, Submission

url, key = sys.argv[1:]
writer = LogWriter(Database.open(url), Keys.open(Path(key), data_folder=None), wait=0.0, checkpoint_entries=20,
                   checkpoint_seconds=60.0, keep_days=None)
writer.start()

def append(name):
    count = 0
    while True:
        events = [EventEntry("load", {"name": f"{name}-{count}-{row}"}) for row in range(3)]
        receipt = writer.append(Submission(events)).result()
        print(f"{receipt.first_seq} {name}-{count}\\n", end="", flush=True)
        count += 1

threads = [threading.Thread(target=append, args=(n,)) for n in range(4)]
for thread in threads:
    thread.start()
"""


def _kill_under_load(log: Log, acknowledged: int, meanwhile: Callable[[], object]) -> None:
    """Let another process write, kill it, and check that what it was told is true."""
    process = subprocess.Popen(
        [sys.executable, "-c", _UNDER_LOAD, log.database.url, str(log.keys.path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = []
    for _ in range(acknowledged):
        lines.append(process.stdout.readline())
        meanwhile()
    os.kill(process.pid, signal.SIGKILL)
    lines += [line for line in process.stdout if line.endswith("\n")]
    process.stdout.close()
    assert process.wait(20) == -signal.SIGKILL
    stored = {
        seq: json.loads(body).get("detail", {}).get("name") for seq, body in log.rows("SELECT seq, body FROM entries")
    }
    for line in lines:
        first, name = line.split()
        assert [stored[int(first) + row] for row in range(3)] == [f"{name}-{row}" for row in range(3)]
    assert len(lines) >= acknowledged


def test_what_a_killed_process_acknowledged_is_in_the_chain_that_another_went_on_with(
    log: Log, receipts: AppendAll
) -> None:
    log.fill(1, last_signed=False)
    writer = log.writer(log.another_database(), checkpoint_entries=30)
    sequences: list[int] = []

    def write() -> None:
        event = EventEntry("meanwhile", {})
        sequences.append(writer.append(Submission([event])).result(20).first_seq or 0)

    _kill_under_load(log, 60, write)
    write()
    writer.close(20)
    verification = log.verify()
    assert verification.ok, verification.fault
    assert verification.entries >= 1 + 61 + 180
    assert len(set(sequences)) == 61


@pytest.mark.soak
def test_however_often_a_process_is_killed_nothing_acknowledged_is_lost(any_log: Log) -> None:
    for turn in range(12):
        _kill_under_load(any_log, 20 + 37 * turn, lambda: None)
        assert any_log.verify().ok


def test_a_full_disk_refuses_the_whole_group_and_is_gone_on_from_when_there_is_room(
    log: Log, entry: MakeEntry, receipts: AppendAll
) -> None:
    pages = [10**9]

    @event.listens_for(log.database.engine, "begin")
    def limit(connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages[0]}")

    writer = log.writer()
    receipts(writer, 3)
    before = log.rows("SELECT (SELECT count(*) FROM entries), (SELECT count(*) FROM answers)")
    pages[0] = 1  # SQLite takes it as: no more than now
    with log.another_database().writing():
        group = [
            writer.append(
                Submission(
                    [entry(row)],
                    b"answer" * 1000,
                    Repeatable("ward", f"k{row}", "d"),
                    [KeptInput(0, "x", bytes(20_000))],
                )
            )
            for row in range(5)
        ]
    for future in group:
        with pytest.raises(LogUnavailable, match=r"disk .* is full: free some space"):
            future.result(20)
    assert not writer.state.available
    assert "is full" in (writer.state.fault or "")
    assert log.rows("SELECT (SELECT count(*) FROM entries), (SELECT count(*) FROM answers)") == before
    pages[0] = 10**9
    _wait_for(lambda: writer.state.available)
    assert writer.append(Submission([entry(9)])).result(20).first_seq == 5
    resumed = json.loads(log.rows("SELECT body FROM entries WHERE seq = 4")[0][0])
    assert (resumed["what"], resumed["detail"]["refused"]) == ("log resumed", 5)
    assert log.verify().ok


def test_a_database_that_another_process_locks_for_long_is_gone_on_with_afterwards(
    open_log: Callable[..., Log], entry: MakeEntry
) -> None:
    log = open_log(patience=0.05)
    writer = log.writer()
    with closing(sqlite3.connect(log.database.place, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LogUnavailable, match="is locked by another process"):
            writer.append(Submission([entry(0)])).result(20)
    assert writer.append(Submission([entry(1)])).result(20).first_seq == 2
    assert writer.state.available
    assert log.verify().ok


def test_a_database_server_that_stops_and_comes_back_is_gone_on_with(
    postgres: Postgres, open_log: Callable[..., Log], entry: MakeEntry
) -> None:
    log = open_log(postgres.new_database(), patience=2.0)
    writer = log.writer()
    writer.append(Submission([entry(0)])).result(20)
    try:
        postgres.stop()
        for _ in range(2):
            with pytest.raises(LogUnavailable, match="cannot be reached") as refusal:
                writer.append(Submission([entry(1)])).result(20)
            assert postgres.password not in str(refusal.value)
        with pytest.raises(LogUnavailable):
            writer.answered("ward", "k")
        assert not writer.state.available
    finally:
        postgres.start()
    _wait_for(lambda: writer.state.available)
    assert writer.append(Submission([entry(2)])).result(20).first_seq == 3
    assert writer.answered("ward", "k") is None
    assert log.verify().ok


def test_a_file_of_checkpoints_that_cannot_be_written_stops_no_answer_and_is_made_up_for(
    log: Log, receipts: AppendAll
) -> None:
    writer = log.writer(checkpoint_entries=2)
    place = log.keys.checkpoints
    place.unlink()
    place.mkdir()
    for _ in range(3):
        receipts(writer, 2)
    assert writer.state.available
    _wait_for(lambda: "Cannot write" in (writer.state.fault or ""))
    place.rmdir()
    receipts(writer, 1)
    _wait_for(lambda: writer.state.fault is None)
    assert len(place.read_text().splitlines()) == 3
    assert log.verify().ok


def test_damage_to_a_checkpoint_is_said_and_not_written_over(log: Log, entry: MakeEntry) -> None:
    writer = log.writer(checkpoint_entries=2)
    writer.append(Submission([entry(0), entry(1)])).result(20)
    log.change("UPDATE checkpoints SET body = 'nothing'")
    with pytest.raises(LogUnavailable, match="checkpoint of the log is damaged"):
        writer.append(Submission([entry(2), entry(3)])).result(20)
    assert log.rows("SELECT max(seq) FROM entries") == [(2,)]


def test_what_a_failed_commit_held_is_not_acknowledged(log: Log, entry: MakeEntry) -> None:
    writer = log.writer()
    writer.append(Submission([entry(0)])).result(20)
    failures = [3]

    @event.listens_for(log.database.engine, "commit")
    def fail(connection: Connection) -> None:
        if failures[0]:
            failures[0] -= 1
            connection.execute(text("SELECT * FROM no_such_table"))

    answers: list[Any] = []
    for row in range(1, 6):
        future = writer.append(Submission([entry(row)]))
        answers.append(future.exception(20) or future.result(0))
    kept = [answer.first_seq for answer in answers if isinstance(answer, Receipt)]
    assert len(kept) >= 2
    assert log.verify().entries == writer.state.seq >= 1 + len(kept)
    assert log.verify().ok


def _wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("It did not come about.")
