"""Whatever is done to the log behind Salus's back is found, and the place is named."""

from __future__ import annotations

import json
import re
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from salus.serve.keys import Keys, PublicKey
from salus.serve.log.chain import link
from salus.serve.log.checkpoints import Signed
from salus.serve.log.entry import EventEntry, VerdictEntry, canonical
from salus.serve.log.pruning import prune
from salus.serve.log.verifying import Verification, verify
from salus.serve.log.writer import KeptInput, Submission

if TYPE_CHECKING:
    from serve.conftest import Log

MakeEntry = Callable[..., VerdictEntry]

#: The log of these tests: entries 1 to 9 are pruned, every tenth is signed, and 52 too; 53 to 55 are not.
_PRUNED, _SIGNED, _LAST = 10, (10, 20, 30, 40, 50, 52), 55

#: For what differs by the place alone: a third of the examples that this run takes.
_fewer = settings(max_examples=settings.get_profile(settings.get_current_profile_name()).max_examples // 3)

_COLUMNS = {
    "entries": ("seq", "time", "kind", "request", "guard", "outcome", "body", "hash"),
    "checkpoints": ("seq", "time", "body", "signature"),
    "anchors": ("seq", "time", "body", "signature"),
    "inputs": ("x",),
}


class Victim:
    """A log, and somebody who can write to its database as he likes."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.raw = sqlite3.connect(log.database.place, isolation_level=None)
        self.raw.execute("PRAGMA synchronous = OFF")

    def verify(self, **changes: Any) -> Verification:
        settings: dict[str, Any] = {"checkpoints": self.log.keys.checkpoints, "keys": self.log.keys}
        return verify(self.log.database, self.log.keys.public, **{**settings, **changes})

    @contextmanager
    def changed(self, *statements: str | tuple[str, tuple[Any, ...]]) -> Iterator[Verification]:
        """Change the database, check the log, and put everything back."""
        tables = {table: self.raw.execute(f"SELECT * FROM {table}").fetchall() for table in _COLUMNS}
        self.raw.execute("BEGIN")
        for statement in statements:
            self.raw.execute(*((statement,) if isinstance(statement, str) else statement))
        self.raw.execute("COMMIT")
        try:
            yield self.verify()
        finally:
            self.raw.execute("BEGIN")
            for table, rows in tables.items():
                self.raw.execute(f"DELETE FROM {table}")
                marks = ",".join("?" * len(rows[0]))
                self.raw.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
            self.raw.execute("COMMIT")

    def recompute(self, bodies: list[dict[str, Any]]) -> list[str | tuple[str, tuple[Any, ...]]]:
        """Write the whole chain anew, as if it had always been so; all but the signatures."""
        (body,) = self.raw.execute("SELECT body FROM anchors").fetchone()
        before = json.loads(body)["hash"]
        statements: list[str | tuple[str, tuple[Any, ...]]] = ["DELETE FROM inputs", "DELETE FROM entries"]
        for number, content in enumerate(bodies, _PRUNED + 1):
            text = canonical({**content, "seq": number})
            before = link(before, text)
            columns = [content.get(name) for name in ("request", "guard", "outcome")]
            row = (number, content["time"], content["kind"], *columns, text, before)
            statements.append(("INSERT INTO entries VALUES (?,?,?,?,?,?,?,?)", row))
        return statements

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for (body,) in self.raw.execute("SELECT body FROM entries ORDER BY seq")]


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory, log_at: Callable[..., Log], entry: MakeEntry) -> Iterator[Victim]:
    log = log_at(tmp_path_factory.mktemp("victim"))
    writer = log.writer(checkpoint_entries=10)
    for row in range(51):
        x = struct.pack("<3f", row, 0.5, 1.0)
        told = EventEntry("told", {"row": row}) if row % 7 == 3 else entry(row, input=log.keys.input_digest(x))
        kept = [KeptInput(0, "beat", x)] if row % 5 == 0 and isinstance(told, VerdictEntry) else []
        writer.append(Submission([told], kept=kept)).result(20)
        if row == 19:
            log.change("UPDATE checkpoints SET time = 1 WHERE seq = 10")  # so that it is old
            old = log.rows("SELECT body FROM checkpoints WHERE seq = 10")[0][0]
            place = replace(Signed(old, "").place(), time=1.0)
            signed = Signed.of(place, log.keys)
            values = {"body": signed.body, "signature": signed.signature}
            log.change("UPDATE checkpoints SET body = :body, signature = :signature WHERE seq = 10", **values)
            lines = log.keys.checkpoints.read_text().splitlines(keepends=True)
            log.keys.checkpoints.write_text("".join(lines[1:]))
            assert prune(log.database, log.keys, older_than=1.0).last == _PRUNED
    writer.close(20)
    writer = log.writer()
    for row in range(3):
        writer.append(Submission([entry(row)])).result(20)
    victim = Victim(log)
    yield victim
    victim.raw.close()
    log.close()


def test_a_log_that_nobody_touched_is_whole(victim: Victim) -> None:
    verification = victim.verify()
    assert verification.ok, verification.fault
    assert (verification.first, verification.last, verification.entries) == (_PRUNED + 1, _LAST, 45)
    assert (verification.uncovered, verification.notes) == (3, ())
    assert verification.sentence().endswith("45 entries (11 to 55), 6 checkpoints; no signature covers the last 3 yet.")


@given(data=st.data())
def test_a_changed_byte_of_any_column_of_any_row_is_found_and_its_place_named(
    victim: Victim, data: st.DataObject
) -> None:
    table = data.draw(st.sampled_from(sorted(_COLUMNS)))
    column = data.draw(st.sampled_from(_COLUMNS[table]))
    rows = victim.raw.execute(f"SELECT seq, {column} FROM {table} ORDER BY seq").fetchall()
    seq, value = data.draw(st.sampled_from(rows))
    changed = _flipped(value, data)
    statement = f"UPDATE {table} SET {column} = ? WHERE seq = ?"
    if isinstance(value, str):
        statement = statement.replace("= ?", "= CAST(? AS TEXT)", 1)  # whatever bytes they are
    try:
        with victim.changed((statement, (changed, seq))) as verification:
            assert verification.fault is not None
            numbers = {
                int(number)
                for number in re.findall(r"entry (\d+)|entries (\d+)", verification.fault)
                for number in number
                if number
            }
            assert numbers & {seq, changed}, verification.fault
    except sqlite3.IntegrityError:  # another row has this number, or NaN is NULL
        victim.raw.execute("ROLLBACK")
        assume(False)


def _flipped(value: Any, data: st.DataObject) -> Any:
    """Change one bit of a value as SQLite stores it."""
    if value is None:
        return b"x"
    if isinstance(value, int):
        return value ^ (1 << data.draw(st.integers(0, 62)))
    content = (
        struct.pack(">d", value) if isinstance(value, float) else value.encode() if isinstance(value, str) else value
    )
    place, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))
    changed = content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :]
    return struct.unpack(">d", changed)[0] if isinstance(value, float) else changed


@_fewer
@given(st.integers(_PRUNED + 1, _SIGNED[-1]), st.integers(1, 5))
def test_entries_that_were_deleted_are_missed(victim: Victim, first: int, count: int) -> None:
    with victim.changed(f"DELETE FROM entries WHERE seq >= {first} AND seq < {first + count}") as verification:
        assert re.search(rf"entr(y|ies) {first} ", verification.fault or "")


@_fewer
@given(st.integers(_PRUNED, _SIGNED[-1] - 1))
def test_an_end_that_was_cut_off_is_missed_with_its_checkpoints_too(victim: Victim, last: int) -> None:
    cuts = [f"DELETE FROM {table} WHERE seq > {last}" for table in ("entries", "checkpoints")]
    with victim.changed(*cuts) as verification:
        assert f"it ends at entry {last}, but entry 52 was signed (line" in (verification.fault or "") or re.search(
            r"the checkpoint at entry \d+ is missing from the database, see line \d+", verification.fault or ""
        )
    with victim.changed(cuts[0]) as verification:
        assert f"it ends at entry {last}, but entry 52 was signed" in (verification.fault or "")


@_fewer
@given(st.lists(st.integers(_PRUNED + 1, _LAST), min_size=2, max_size=2, unique=True))
def test_entries_that_were_swapped_are_found(victim: Victim, pair: list[int]) -> None:
    first, second = sorted(pair)
    swap = "UPDATE entries SET seq = CASE seq WHEN {0} THEN -{1} WHEN {1} THEN -{0} END WHERE seq IN ({0}, {1})"
    back = "UPDATE entries SET seq = -seq WHERE seq < 0"
    with victim.changed(swap.format(first, second), back) as verification:
        assert f"entry {first} was changed" in (verification.fault or "")


@_fewer
@given(st.integers(_PRUNED, _LAST - 2))
def test_an_entry_that_was_put_in_is_found(victim: Victim, after: int) -> None:
    shift = [f"UPDATE entries SET seq = -seq - 1 WHERE seq > {after}", "UPDATE entries SET seq = -seq WHERE seq < 0"]
    columns = "time, kind, request, guard, outcome, body, hash"
    copy = f"INSERT INTO entries SELECT {after + 1}, {columns} FROM entries WHERE seq = {_LAST + 1}"
    with victim.changed(*shift, copy) as verification:
        assert f"entry {after + 1} was changed" in (verification.fault or "")


def test_an_entry_before_the_beginning_is_found(victim: Victim) -> None:
    copy = "INSERT INTO entries SELECT {0}, time, kind, request, guard, outcome, body, hash FROM entries WHERE seq = 20"
    for seq in (-3, 0, 4, _PRUNED):
        with victim.changed(copy.format(seq)) as verification:
            assert f"entry {seq} was put in before the log's beginning" in (verification.fault or "")


@_fewer
@given(st.integers(_PRUNED + 1, _SIGNED[-1]), st.sampled_from(["changed", "deleted", "put in"]))
def test_a_chain_that_was_computed_anew_does_not_fit_what_was_signed(victim: Victim, seq: int, how: str) -> None:
    bodies = victim.bodies()
    index = seq - _PRUNED - 1
    if how == "changed":
        bodies[index] = {**bodies[index], "token": "somebody"}
    elif how == "deleted":
        del bodies[index]
    else:
        bodies.insert(index, {**bodies[index], "token": "somebody"})
    since, until = next((a + 1, b) for a, b in pairwise(_SIGNED) if a < seq <= b)
    with victim.changed(*victim.recompute(bodies)) as verification:
        assert f"entries {since} to {until} are others than those that were signed" in (verification.fault or "")


@pytest.mark.parametrize("seq", _SIGNED[1:])
def test_checkpoints_that_were_deleted_are_missed(victim: Victim, seq: int) -> None:
    with victim.changed(f"DELETE FROM checkpoints WHERE seq = {seq}") as verification:
        assert f"the checkpoint at entry {seq} is missing" in (verification.fault or "")
    if seq != _SIGNED[-1]:
        with victim.changed(f"DELETE FROM checkpoints WHERE seq = {seq}"):
            fault = victim.verify(checkpoints=None).fault
            assert f"the checkpoint at entry {seq} is missing" in (fault or "")


def test_a_beginning_that_was_cut_off_without_an_anchor_is_missed(victim: Victim) -> None:
    with victim.changed(
        "DELETE FROM entries WHERE seq <= 20", "DELETE FROM checkpoints WHERE seq < 20"
    ) as verification:
        assert "entries 11 to 20 are missing" in (verification.fault or "")
    with victim.changed("DELETE FROM anchors") as verification:
        assert "entries 1 to 10 are missing" in (verification.fault or "")


def test_a_checkpoint_is_no_anchor(victim: Victim) -> None:
    move = "INSERT INTO anchors SELECT seq, time, body, signature FROM checkpoints WHERE seq = 20"
    with victim.changed("DELETE FROM anchors", move, "DELETE FROM entries WHERE seq <= 20") as verification:
        assert "signed as something else (checkpoint)" in (verification.fault or "")


def test_a_key_that_was_replaced_is_found_with_a_copy_of_the_public_one(victim: Victim, tmp_path: Path) -> None:
    attacker = Keys.open(tmp_path / "key.pem", data_folder=None)
    bodies = [{**body, "token": "somebody"} for body in victim.bodies()]
    changes = victim.recompute(bodies)
    for table in ("anchors", "checkpoints"):
        for seq, body in victim.raw.execute(f"SELECT seq, body FROM {table}").fetchall():
            place = replace(Signed(body, "").place(), key=attacker.id)
            signed = Signed.of(place, attacker)
            statement = f"UPDATE {table} SET body = ?, signature = ? WHERE seq = ?"
            changes.append((statement, (signed.body, signed.signature, seq)))
    with victim.changed(*changes) as verification:
        assert f"is signed with the key {attacker.id}, not with {victim.log.keys.id}" in (verification.fault or "")


def test_a_forged_checkpoint_under_the_right_keys_name_is_found(victim: Victim, tmp_path: Path) -> None:
    attacker = Keys.open(tmp_path / "key.pem", data_folder=None)
    (body,) = victim.raw.execute("SELECT body FROM checkpoints WHERE seq = 30").fetchone()
    forged = canonical({**asdict(Signed(body, "").place()), "hash": "0" * 64})
    values = (forged, attacker.sign(forged.encode()))
    with victim.changed(("UPDATE checkpoints SET body = ?, signature = ? WHERE seq = 30", values)) as verification:
        assert "the checkpoint at entry 30 was changed: its signature does not fit" in (verification.fault or "")


def test_another_log_that_the_same_key_signed_is_not_taken_for_this_one(
    victim: Victim, log_at: Callable[..., Log], tmp_path: Path
) -> None:
    other = log_at(tmp_path)
    other.keys = victim.log.keys
    other.fill(20)
    rows = other.rows("SELECT seq, time, body, signature FROM checkpoints")
    other.close()
    with victim.changed(
        *[("INSERT OR REPLACE INTO checkpoints VALUES (?,?,?,?)", tuple(row)) for row in rows if row[0] > _PRUNED]
    ) as verification:
        assert "the checkpoint at entry 20 belongs to another log" in (verification.fault or "")


def test_a_file_of_checkpoints_that_was_changed_is_found(victim: Victim, tmp_path: Path) -> None:
    lines = victim.log.keys.checkpoints.read_text().splitlines(keepends=True)
    copy = tmp_path / "checkpoints.jsonl"
    copy.write_text("".join(lines).replace('\\"time\\":1', '\\"time\\":2'))
    assert re.search("its signature does not fit|is no checkpoint", victim.verify(checkpoints=copy).fault or "")
    copy.write_text("".join([lines[0], "no checkpoint\n", *lines[1:]]))
    assert "Line 2 of" in (victim.verify(checkpoints=copy).fault or "")
    copy.write_text("".join(lines[:2]) + lines[2][:50])  # one that died while it wrote
    assert victim.verify(checkpoints=copy).ok


def test_it_says_what_it_cannot_tell_without_the_file_of_checkpoints(victim: Victim, tmp_path: Path) -> None:
    for checkpoints in (None, tmp_path / "none.jsonl"):
        verification = victim.verify(checkpoints=checkpoints)
        assert verification.ok
        assert "missing at the end" in verification.notes[0]


def test_the_public_key_alone_checks_all_but_the_kept_inputs(victim: Victim) -> None:
    public = PublicKey.read(victim.log.keys.public_path)
    ((seq,),) = victim.raw.execute("SELECT max(seq) FROM inputs").fetchall()
    change = f"UPDATE inputs SET x = zeroblob(12) WHERE seq = {seq}"
    with victim.changed(change) as verification:
        assert f"the input that was kept with entry {seq} was changed" in (verification.fault or "")
        assert verify(victim.log.database, public, checkpoints=victim.log.keys.checkpoints).ok


def test_an_empty_log_is_whole(log: Log) -> None:
    verification = log.verify()
    assert verification.ok
    assert verification.sentence().endswith("is whole: it has no entries.")


def test_a_log_in_postgresql_is_checked_alike(any_log: Log) -> None:
    any_log.fill(25)
    with closing(any_log.another_database()):
        any_log.change("UPDATE entries SET outcome = 'rejected' WHERE seq = 13")
    assert "entry 13 was changed: its column 'outcome'" in (any_log.verify().fault or "")


def test_a_log_can_be_checked_while_it_is_written(any_log: Log) -> None:
    writer = any_log.writer(any_log.another_database(), checkpoint_entries=3)
    futures = [writer.append(Submission([EventEntry("busy", {})])) for _ in range(200)]
    while not futures[-1].done():
        verification = any_log.verify()
        assert verification.ok, verification.fault
