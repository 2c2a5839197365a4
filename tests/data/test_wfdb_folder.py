from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from salus.data import load
from salus.data.wfdb_folder import record_groups
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


@pytest.mark.parametrize(
    ("places", "patients"),
    [
        (("patient001/rec_1", "patient001/rec_2", "patient002/rec_1", "patient003/rec_1"), [1, 1, 2, 3]),
        (("p1000/p10000032/s5041/5041", "p1000/p10000032/s5042/5042", "p1000/p10000048/s7/7"), [1, 1, 2]),
        (("files/anna/1", "files/anna/2", "files/ben/1", "files/ben/2"), [1, 1, 2, 2]),
        (("sub-01/ses-01/ecg", "sub-01/ses-02/ecg", "sub-02/ses-01/ecg"), [1, 1, 2]),
        (("site a/p7/1", "site a/p7/2", "site b/p8/1"), [1, 1, 2]),
        (("records/1", "records/2", "records/3"), [1, 2, 3]),
        (("1", "2", "below/3"), [1, 2, 3]),
        (("1", "below/2", "below/3"), [1, 2, 2]),
        (("a/1", "b/2", "c/3"), [1, 2, 3]),
    ],
)
def test_records_in_the_folder_of_a_patient_are_of_one_patient(places: tuple[str, ...], patients: list[int]) -> None:
    ids = record_groups(places, None, name="own").ids.tolist()
    assert [[a == b for b in ids] for a in ids] == [[a == b for b in patients] for a in patients]


def test_the_rule_by_which_patients_were_found_is_told_and_can_be_another(tmp_path: Path, write_record: Write) -> None:
    for name in "abcd":
        write_record(tmp_path / f"patient{name}", "rec_1", BEATS)
        write_record(tmp_path / f"patient{name}", "rec_2", BEATS)
    splits = load(tmp_path)
    notes = splits.test.provenance.notes
    assert "4 patients by the folders above the records (--group-by '(.*)' makes each record one patient)" in notes
    assert "patients: 0 is patienta, 1 is patientb, 2 is patientc, 3 is patientd" in notes
    assert [len(data) for _, data in splits] == [20, 20, 20, 20]
    assert splits.test.provenance.split.endswith("; records in one folder are of one patient")
    alone = load(tmp_path, group_by="(.*)")
    assert sum(alone.describe()["groups"].values()) == 8
    assert r"8 patients by the pattern '(.*)' on names" in alone.test.provenance.notes
    (tmp_path / "who.csv").write_text(
        "name,group\n"
        + "".join(f"patient{name}/rec_{i},{'abcd'.index(name) * 2 + i}\n" for name in "abcd" for i in (1, 2))
    )
    assert sum(load(tmp_path, group_by=str(tmp_path / "who.csv")).describe()["groups"].values()) == 8


def test_too_few_folders_of_records_name_the_way_out(tmp_path: Path, write_record: Write) -> None:
    for batch, name in ("1a", "1b", "2c", "2d"):
        write_record(tmp_path / f"batch {batch}", name, BEATS)
    with pytest.raises(
        DataError, match=r"come from 2 patients .*a folder of records counts as one.*--group-by '\(\.\*\)'"
    ):
        load(tmp_path)
    assert sum(load(tmp_path, group_by="([a-d])$").describe()["groups"].values()) == 4


def test_one_record_is_read_by_itself_all_of_it_test(tmp_path: Path, write_record: Write) -> None:
    for name in ("a", "b"):
        write_record(tmp_path / "patient001", name, BEATS)
    write_record(tmp_path, "bare", [], peaks=[1000])
    for path in ("patient001/a", "patient001/a.hea", "patient001/a.dat"):
        splits = load(tmp_path / path, split="all")
        assert len(splits.test) == len(BEATS) - 1 and not len(splits.train)
        assert splits.name == "a" and set(splits.test.names[0].split()) >= {"a", "s"}
    assert len(load(tmp_path, split="all").test) == 2 * (len(BEATS) - 1)
    with pytest.raises(DataError, match=r"bare\.atr is missing"):
        load(tmp_path / "bare", split="all")
    with pytest.raises(DataError, match="1 patient"):
        load(tmp_path / "patient001" / "a")
