"""The log as a file: whole without the database, and found out when it was changed."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salus.errors import OptionError, StoreError
from salus.serve.keys import Keys, PublicKey
from salus.serve.log.exporting import export, verify_export
from salus.serve.log.pruning import prune

if TYPE_CHECKING:
    from serve.conftest import Log


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, log_at: Callable[..., Log]) -> Iterator[tuple[Path, PublicKey]]:
    """A log of 23 entries as a file, signed at 10, 20 and 23."""
    folder = tmp_path_factory.mktemp("exported")
    log = log_at(folder)
    log.fill(23)
    export(log.database, log.keys, folder / "log.jsonl")
    yield folder / "log.jsonl", log.keys.public
    log.close()


def test_an_export_is_checked_with_the_public_key_alone(any_log: Log, tmp_path: Path) -> None:
    any_log.fill(25, signed_every=10)
    file = tmp_path / "out" / "log.jsonl"
    header = export(any_log.database, any_log.keys, file)
    verification = verify_export(file, PublicKey.read(any_log.keys.public_path))
    assert verification.ok, verification.fault
    assert (verification.first, verification.last, verification.checkpoints) == (1, 25, 3)
    assert header.last.seq == 25
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_entries_are_plain_json_for_whoever_reads_them(exported: tuple[Path, PublicKey]) -> None:
    lines = [json.loads(line) for line in exported[0].read_text().splitlines()]
    assert [list(line) for line in lines[:5]] == [["header", "signature"], *[["checkpoint"]] * 3, ["hash", "entry"]]
    assert [line["entry"]["seq"] for line in lines[4:]] == list(range(1, 24))
    assert json.loads(lines[0]["header"])["public_key"] == exported[1].pem


def test_a_part_goes_on_to_the_next_checkpoint(log: Log, tmp_path: Path) -> None:
    log.fill(33)
    times = [row[0] for row in log.rows("SELECT time FROM entries ORDER BY seq")]
    file = tmp_path / "part.jsonl"
    header = export(log.database, log.keys, file, since=times[6], until=times[14])
    assert (header.before.seq, header.last.seq, header.checkpoints) == (6, 20, 2)
    assert verify_export(file, log.keys.public).ok
    header = export(log.database, log.keys, file, since=times[31])
    assert (header.before.seq, header.last.seq) == (31, 33)
    assert verify_export(file, log.keys.public).ok


def test_a_time_with_no_entries_is_said(log: Log, tmp_path: Path) -> None:
    log.fill(1)
    with pytest.raises(OptionError, match="No entry of the log is from that time"):
        export(
            log.database, log.keys, tmp_path / "part.jsonl", until=datetime(2001, 1, 1, tzinfo=timezone.utc).timestamp()
        )
    assert not (tmp_path / "part.jsonl").exists()


def test_what_is_left_after_pruning_is_exported_and_checked(log: Log, tmp_path: Path) -> None:
    log.fill(20)
    prune(log.database, log.keys, older_than=0)
    file = tmp_path / "log.jsonl"
    assert export(log.database, log.keys, file).before.seq == 20
    verification = verify_export(file, log.keys.public)
    assert (verification.ok, verification.first, verification.last) == (True, 21, 21)


def test_a_log_that_was_tampered_with_is_so_in_its_export(log: Log, tmp_path: Path) -> None:
    log.fill(20)
    log.change("UPDATE entries SET body = replace(body, 'normal', 'ectopic') WHERE seq = 13")
    export(log.database, log.keys, tmp_path / "log.jsonl")
    assert "line 16 was changed, behind entry 12" in (
        verify_export(tmp_path / "log.jsonl", log.keys.public).fault or ""
    )


@given(data=st.data())
def test_a_changed_byte_of_an_export_is_found(exported: tuple[Path, PublicKey], data: st.DataObject) -> None:
    file, public = exported
    content = file.read_bytes()
    place, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))
    copy = file.with_name("changed.jsonl")
    copy.write_bytes(content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :])
    try:
        assert not verify_export(copy, public).ok
    except StoreError as error:
        assert "is no export" in str(error)


@pytest.mark.parametrize("line", [1, 3, 4, 10, 26])
def test_a_line_that_was_taken_out_of_an_export_is_missed(exported: tuple[Path, PublicKey], line: int) -> None:
    file, public = exported
    lines = file.read_text().splitlines(keepends=True)
    copy = file.with_name(f"without-{line}.jsonl")
    copy.write_text("".join(lines[:line] + lines[line + 1 :]))
    assert verify_export(copy, public).fault is not None


def test_an_export_that_was_cut_off_or_added_to_is_found(exported: tuple[Path, PublicKey]) -> None:
    file, public = exported
    lines = file.read_text().splitlines(keepends=True)
    copy = file.with_name("cut.jsonl")
    copy.write_text("".join(lines[:-4]))
    assert "it ends at entry 19, but entry 23 was signed" in (verify_export(copy, public).fault or "")
    copy.write_text("".join([*lines, lines[-1]]))
    assert "entry 23 was put in" in (verify_export(copy, public).fault or "")


def test_an_export_of_another_key_is_found(exported: tuple[Path, PublicKey], tmp_path: Path) -> None:
    other = Keys.open(tmp_path / "key.pem", data_folder=None)
    assert f"not with {other.id}" in (verify_export(exported[0], other.public).fault or "")


def test_what_is_no_export_is_said(exported: tuple[Path, PublicKey], tmp_path: Path) -> None:
    for content in ("", "{}\n", "[1]\n", "notes\n", '{"header": "{}", "signature": ""}\n'):
        (tmp_path / "notes").write_text(content)
        with pytest.raises(StoreError, match="is no export of a log"):
            verify_export(tmp_path / "notes", exported[1])
    with pytest.raises(StoreError, match="cannot be read"):
        verify_export(tmp_path / "nothing", exported[1])
