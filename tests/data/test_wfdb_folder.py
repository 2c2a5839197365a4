from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from salus.data import load
from salus.errors import DataError

Write = Callable[..., np.ndarray]
BEATS = "NNNNNVVVVV/"


def test_a_folder_of_records_is_split_by_patient(tmp_path: Path, write_record: Write) -> None:
    for name in ("7", "12", "20", "33"):
        write_record(tmp_path, name, BEATS)
    splits = load(tmp_path)
    assert splits.train.classes == ("N", "V")
    assert splits.train.positive == ("V",)
    assert sorted(int(data.groups[0]) for _, data in splits if data.groups is not None) == [7, 12, 20, 33]
    assert [len(data) for _, data in splits] == [10, 10, 10, 10]
    assert [(drop.what, drop.count) for drop in splits.test.provenance.dropped] == [("Q", 4)]
    assert splits.test.provenance.checksum


def test_leads_rates_and_bare_records_are_told(tmp_path: Path, write_record: Write) -> None:
    write_record(tmp_path, "a", BEATS, leads=("I", "MLII"))
    write_record(tmp_path, "b", BEATS, leads=("II", "V1"))
    write_record(tmp_path / "below", "c", BEATS, rate=250)
    write_record(tmp_path, "d", BEATS)
    write_record(tmp_path, "bare", [], peaks=[1000])
    splits = load(tmp_path)
    notes = splits.test.provenance.notes
    assert "record b has no lead MLII; its first, II, was read" in notes
    assert "record below/c was resampled from 250 to 360 Hz" in notes
    assert "record bare has no annotations (.atr) and was passed over" in notes
    assert "patients: 0 is a, 1 is b, 2 is below/c, 3 is d" in notes
    assert sum(len(data) for _, data in splits) == 40


def test_beats_of_few_patients_are_split_when_asked(tmp_path: Path, write_record: Write) -> None:
    write_record(tmp_path, "one", "NV" * 10)
    with pytest.raises(DataError, match="too few to split"):
        load(tmp_path)
    splits = load(tmp_path, split="beats")
    assert sum(len(data) for _, data in splits) == 20
    assert any("beats of one patient" in note for note in splits.test.provenance.notes)


def test_a_folder_that_cannot_be_used_says_why(tmp_path: Path, write_record: Write) -> None:
    with pytest.raises(DataError, match="holds no WFDB records"):
        load(tmp_path)
    write_record(tmp_path, "s0010_re", [], peaks=[1000])
    with pytest.raises(DataError, match=r"record s0010_re has no annotations \(the file s0010_re.atr"):
        load(tmp_path)
    write_record(tmp_path, "paced", "//~+")
    with pytest.raises(DataError, match="no beats of the classes N, S, V, F"):
        load(tmp_path)
    (tmp_path / "alone.atr").write_bytes((tmp_path / "paced.atr").read_bytes())
    with pytest.raises(DataError, match=r"alone: the file alone\.hea is missing"):
        load(tmp_path)


def test_one_class_alone_is_refused(tmp_path: Path, write_record: Write) -> None:
    for name in "abcd":
        write_record(tmp_path, name, "NNNN")
    with pytest.raises(DataError, match="fewer than two classes"):
        load(tmp_path)
