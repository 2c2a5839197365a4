from __future__ import annotations

import importlib
import os
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from salus.data import Splits, fetch, load
from salus.data.download import Patience
from salus.data.ptbdb import CLASSES, OTHER_DIAGNOSIS, read_record
from salus.data.published import PTBDB
from salus.errors import DataError, OptionError
from salus.preprocessing.beats import INVALID, NEAR_END

if TYPE_CHECKING:
    from data.conftest import Home

Write = Callable[..., np.ndarray]
PARTS = ("train", "validation", "calibration", "test")


def _kept(splits: Splits) -> Counter[str]:
    return sum((Counter(data.counts) for _, data in splits), Counter())


def _owners(splits: Splits) -> dict[str, set[int]]:
    return {part: set(data.groups.tolist()) for part, data in splits if data.groups is not None}


@pytest.fixture
def copy(tmp_path: Path, small_ptbdb: Path) -> Path:
    """A copy of the small database that may be spoilt, without its list of sums."""
    shutil.copytree(small_ptbdb / "ptbdb", tmp_path / "ptbdb")
    (tmp_path / "ptbdb" / PTBDB.sums).unlink()
    return tmp_path / "ptbdb"


# One record.


def test_a_record_is_cut_around_the_peaks_that_were_put_there(tmp_path: Path, write_ptb_record: Write) -> None:
    at = np.round(360 * write_ptb_record(tmp_path / "patient007", "s0001_re", "Myocardial infarction"))
    record = read_record(tmp_path / "patient007" / "s0001_re")
    assert record.header.label == record.header.diagnosis.lower() == "myocardial infarction"
    assert (record.header.patient, record.header.told_by) == ("7", "folder")
    assert record.rate == 1000
    inside = at[(at >= 140) & (at <= 9 * 360 - 140)]
    assert len(record.x) == len(record.peaks) == len(inside)
    assert np.abs(record.peaks - inside).max() <= 3
    assert record.x.dtype == np.float32
    assert record.x.shape[1] == 280
    assert (record.x.min(1) == 0).all()
    assert (record.x.max(1) == 1).all()
    assert np.abs(record.x.argmax(1) - 140).max() <= 3
    assert record.dropped == {NEAR_END: len(at) - len(inside)}
    low, high = record.span.T
    assert record.span.shape == (len(inside), 2) and (low >= 0).all() and (high <= 1).all() and (low < high).all()
    assert high.max() == 1, "one of these beats has the record's highest value"


@pytest.mark.parametrize("suffix", ["", ".hea", ".dat"])
def test_the_lead_is_found_by_name_in_any_case_and_the_path_may_have_a_suffix(
    tmp_path: Path, write_ptb_record: Write, suffix: str
) -> None:
    write_ptb_record(tmp_path, "a", "healthy  CONTROL", leads=("V1", "II"))
    record = read_record(f"{tmp_path / 'a'}{suffix}")
    assert record.header.label == "healthy"
    assert len(record.x) > 8
    write_ptb_record(tmp_path, "b", "Healthy control", leads=("i", "iii"))
    with pytest.raises(DataError, match=r"b has no lead that can be read; it has: i, iii"):
        read_record(tmp_path / "b")


def test_the_patient_is_told_by_the_header_or_else_by_the_record(tmp_path: Path, write_ptb_record: Write) -> None:
    write_ptb_record(tmp_path, "a", "Palpitation", "Patient number: 0042")
    write_ptb_record(tmp_path, "b", None, "Patient 3 days in hospital")
    headers = [read_record(tmp_path / name).header for name in "ab"]
    assert [(header.patient, header.told_by) for header in headers] == [("42", "header"), ("b", "record name")]
    assert [(header.diagnosis, header.label) for header in headers] == [("Palpitation", None), ("none given", None)]


def test_beats_in_a_gap_are_dropped_and_the_others_found(tmp_path: Path, write_ptb_record: Write) -> None:
    at = write_ptb_record(tmp_path, "a", "Healthy control", gap=(4.0, 5.0))
    record = read_record(tmp_path / "a")
    assert np.isfinite(record.x).all()
    assert record.dropped[INVALID] > 0
    clear = [peak for peak in at if 0.4 < peak < 3.5 or 5.5 < peak < 8.6]
    assert len(record.x) == len(clear)


def test_reading_is_quiet(tmp_path: Path, write_ptb_record: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write_ptb_record(tmp_path, "a", "Healthy control")
    read_record(tmp_path / "a")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", ["dat", "hea"])
def test_a_file_of_a_record_that_is_missing_or_broken_is_named(
    tmp_path: Path, write_ptb_record: Write, suffix: str
) -> None:
    write_ptb_record(tmp_path, "a", "Healthy control")
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(path.read_bytes()[:13])
    with pytest.raises(DataError, match=rf"^Record .*a: its \.{suffix} file .*; get the record again\.$"):
        read_record(tmp_path / "a")
    path.unlink()
    with pytest.raises(DataError, match=rf"^Record .*a: the file a\.{suffix} is missing"):
        read_record(tmp_path / "a")


# The database.


def test_both_classes_are_loaded_and_other_diagnoses_counted(small_ptbdb: Path) -> None:
    splits = load("ptbdb", data_dir=small_ptbdb)
    assert splits.train.classes == CLASSES == ("healthy", "myocardial infarction")
    assert splits.train.positive == ("myocardial infarction",)
    assert splits.train.sample_rate == 360
    assert splits.train.x.shape[1:] == (1, 280)
    names = (small_ptbdb / "ptbdb" / "RECORDS").read_text().split()
    records = [read_record(small_ptbdb / "ptbdb" / name) for name in names]
    held = {label: [r for r in records if r.header.label == label] for label in CLASSES}
    assert _kept(splits) == {label: sum(len(r.x) for r in held[label]) for label in CLASSES}
    beats = {x.tobytes() for label in CLASSES for r in held[label] for x in r.x}
    assert beats == {x.numpy().tobytes() for _, data in splits for x in data.x[:, 0]}
    for _, data in splits:
        assert data.groups is not None
        assert torch.equal(data.y == 0, data.groups > 100)  # healthy patients have the numbers above 100 here
    dropped = {(drop.what, drop.reason): drop.count for drop in splits.test.provenance.dropped}
    assert dropped.pop(("records (Cardiomyopathy)", OTHER_DIAGNOSIS)) == 1
    assert dropped.pop(("records (none given)", OTHER_DIAGNOSIS)) == 1
    assert dropped == {
        (label, NEAR_END): count for label in CLASSES if (count := sum(r.dropped[NEAR_END] for r in held[label]))
    }


def test_beats_are_dealt_80_to_20_and_the_note_says_that_patients_mix(small_ptbdb: Path) -> None:
    splits = load("ptbdb", data_dir=small_ptbdb)
    assert len(splits.test) == pytest.approx(0.2 * sum(_kept(splits).values()), abs=2)
    assert any("beats of one patient" in note for note in splits.test.provenance.notes)
    assert load("ptbdb", data_dir=small_ptbdb, seed=1).test.fingerprint() != splits.test.fingerprint()


def test_no_patient_is_on_two_sides_of_the_patient_split(small_ptbdb: Path) -> None:
    for seed in range(5):
        owners = _owners(load("ptbdb", data_dir=small_ptbdb, split="patients", seed=seed))
        assert set().union(*owners.values()) == {1, 2, 3, 104, 105, 116}
        assert sum(map(len, owners.values())) == 6
        assert all(owners[part] for part in PARTS)
        assert {patient > 100 for patient in owners["train"]} == {True, False}


def test_smote_balances_training_alone(small_ptbdb: Path) -> None:
    plain = load("ptbdb", data_dir=small_ptbdb)
    for per_class in (5, 40):
        balanced = load("ptbdb", data_dir=small_ptbdb, smote=per_class)
        assert balanced.train.counts == dict.fromkeys(CLASSES, per_class)
        assert balanced.test.fingerprint() == plain.test.fingerprint()


def test_a_second_load_takes_what_was_prepared(small_ptbdb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load("ptbdb", data_dir=small_ptbdb)

    def never(*args: object) -> None:
        raise AssertionError("a record was read again")

    monkeypatch.setattr("salus.data.ptbdb.read_record", never)
    again = load("ptbdb", data_dir=small_ptbdb)
    assert again.describe() == first.describe()
    assert again.train.fingerprint() == first.train.fingerprint()


def test_provenance_says_how_far_the_files_are_verified(small_ptbdb: Path, copy: Path) -> None:
    listed = load("ptbdb", data_dir=small_ptbdb).test.provenance
    assert listed.version == "1.0.0"
    assert any("verified against the SHA256SUMS.txt beside" in n and "cannot vouch" in n for n in listed.notes)
    bare = load("ptbdb", data_dir=copy.parent).test.provenance
    assert bare.version == ""
    assert "not verified against the published sums of ptbdb 1.0.0 (9 of 549 records)" in bare.notes
    assert bare.checksum == listed.checksum
    assert any("resampled from 1000 to 360 Hz" in n and "XQRS" in n for n in bare.notes)


def test_records_that_lie_flat_are_read_and_each_counts_as_a_patient(tmp_path: Path, write_ptb_record: Write) -> None:
    for name, reason in {"a": "Healthy control", "b": "Myocardial infarction", "c": "Healthy control"}.items():
        write_ptb_record(tmp_path / "ptbdb", name, reason, *(["Patient: 9"] if name == "c" else []))
    splits = load("ptbdb", data_dir=tmp_path)
    notes = splits.test.provenance.notes
    assert "neither folder nor header tells the patient, so that each record counts as one: a, b" in notes
    assert "patients named by the header, for want of a patient folder: c" in notes
    assert "there is no RECORDS file: the records that lie there were read" in notes
    assert len(set().union(*_owners(splits).values())) == 3


def test_a_record_without_beats_is_told(copy: Path, write_ptb_record: Write) -> None:
    write_ptb_record(copy / "patient104", "s0306lre", "Healthy control", seconds=0.5)
    notes = load("ptbdb", data_dir=copy.parent).test.provenance.notes
    assert "records in which no beat was found or kept: patient104/s0306lre" in notes


def test_one_class_alone_is_refused_with_the_remedy(tmp_path: Path, write_ptb_record: Write) -> None:
    write_ptb_record(tmp_path / "ptbdb", "s0010_re", "Myocardial infarction")
    with pytest.raises(
        DataError, match=r"ptbdb hold 1 record, but none of class 'healthy'; .* run: salus data fetch ptbdb\.$"
    ):
        load("ptbdb", data_dir=tmp_path)
    write_ptb_record(tmp_path / "ptbdb", "s0010_re", "Palpitation")
    with pytest.raises(DataError, match="none of class 'healthy' or 'myocardial infarction'"):
        load("ptbdb", data_dir=tmp_path)


def test_a_missing_changed_or_truncated_file_is_named(small_ptbdb: Path, copy: Path) -> None:
    signal = copy / "patient104" / "s0306lre.dat"
    signal.write_bytes(signal.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"s0306lre: its \.dat file is truncated"):
        load("ptbdb", data_dir=copy.parent)
    shutil.copy(small_ptbdb / "ptbdb" / PTBDB.sums, copy)
    with pytest.raises(DataError, match=r"s0306lre\.dat is truncated or changed.*run: salus data fetch ptbdb"):
        load("ptbdb", data_dir=copy.parent)
    signal.unlink()
    with pytest.raises(DataError, match=r"s0306lre\.dat is missing; run: salus data fetch ptbdb"):
        load("ptbdb", data_dir=copy.parent)
    for text, message in {"../x": "leads out of its folder", "a/b": "no record of ptbdb", "": "no records"}.items():
        (copy / "RECORDS").write_text(text)
        with pytest.raises(DataError, match=message):
            load("ptbdb", data_dir=copy.parent)
    (copy / "RECORDS").unlink()
    with pytest.raises(DataError, match=r"holds patients but no file RECORDS.*run: salus data fetch ptbdb"):
        load("ptbdb", data_dir=copy.parent)


def test_a_database_that_is_nowhere_says_how_to_fetch_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SALUS_DATA", raising=False)
    with pytest.raises(DataError, match=r"'ptbdb' is not on this machine.*run: salus data fetch ptbdb"):
        load("ptbdb", data_dir=tmp_path)


def test_options_of_other_data_are_refused(small_ptbdb: Path) -> None:
    with pytest.raises(OptionError, match="Option without_mlii does not apply to the data 'ptbdb'"):
        load("ptbdb", data_dir=small_ptbdb, without_mlii="drop")
    with pytest.raises(OptionError, match="no split 'ds1-ds2'"):
        load("ptbdb", data_dir=small_ptbdb, split="ds1-ds2")


# Fetching it.


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("way", ["folder", "folder above", "zip"])
def test_a_copy_on_disk_is_fetched_without_what_is_not_read(
    tmp_path: Path, small_ptbdb: Path, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = tmp_path / "disk" / "ptb-diagnostic-ecg-database-1.0.0"
    shutil.copytree(small_ptbdb / "ptbdb", disk)
    (disk / "patient001" / "s0010_re.xyz").write_bytes(b"Frank leads")
    (disk / "CONTROLS").write_text("x")
    source = {"folder": disk, "folder above": disk.parent, "zip": tmp_path / "a.zip"}[way]
    if way == "zip":
        with zipfile.ZipFile(source, "w") as archive:
            for name, content in _files(disk).items():
                archive.writestr(f"ptbdb-1.0.0/{name}", content)
    folder = fetch("ptbdb", source=source, data_dir=tmp_path / "sets")
    assert folder is not None
    assert _files(folder) == _files(small_ptbdb / "ptbdb")
    assert " ".join(capsys.readouterr().err.split()).endswith("it is worth as much as where it came from.")
    assert len(load("ptbdb", data_dir=tmp_path / "sets").test)


def test_a_changed_file_on_disk_is_named_and_nothing_is_copied(tmp_path: Path, copy: Path, small_ptbdb: Path) -> None:
    shutil.copy(small_ptbdb / "ptbdb" / PTBDB.sums, copy)
    (copy / "patient002" / "s0015lre.dat").write_bytes(b"changed")
    with pytest.raises(DataError, match=r"s0015lre\.dat is not the published one"):
        fetch("ptbdb", source=copy, data_dir=tmp_path / "sets")
    (copy / PTBDB.sums).unlink()
    with pytest.raises(DataError, match=r"lacks SHA256SUMS\.txt, .*physionet\.org/files/ptbdb/1\.0\.0/"):
        fetch("ptbdb", source=copy, data_dir=tmp_path / "sets")
    assert not list((tmp_path / "sets").iterdir())


def test_a_download_that_breaks_off_is_not_taken_for_whole_and_is_completed(
    home: Home, tmp_path: Path, small_ptbdb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience = Patience(tries=2, backoff=0, read=5)
    monkeypatch.setattr(importlib.import_module("salus.data.fetching"), "PATIENCE", patience)
    home.files = _files(small_ptbdb / "ptbdb")
    home.faults = {"s0010_re.dat": ["500"] * 2, "s0303lre.hea": ["500"] * 2}
    with pytest.raises(DataError, match="answers 500"):
        fetch("ptbdb", data_dir=tmp_path, base_url=home.url)
    assert not (tmp_path / "ptbdb").exists()  # nothing came, nothing stays
    with pytest.raises(DataError, match="answers 500"):
        fetch("ptbdb", data_dir=tmp_path, base_url=home.url)
    assert (tmp_path / "ptbdb" / "patient104" / "s0306lre.dat").is_file()
    with pytest.raises(DataError, match="no file RECORDS, as when fetching broke off"):
        load("ptbdb", data_dir=tmp_path)
    fetch("ptbdb", data_dir=tmp_path, base_url=home.url)
    assert _files(tmp_path / "ptbdb") == home.files
    assert len(home.asked("patient104/s0306lre.dat")) == 1
    assert not home.asked("patient001/s0010_re.xyz")


def test_the_official_names_are_wanted_and_the_frank_leads_are_not() -> None:
    listing = "".join(
        f"{'0' * 64} {name}\n"
        for name in ("RECORDS", "CONTROLS", *(f"patient294/s0559lre.{s}" for s in ("dat", "hea", "xyz")))
    )
    assert list(PTBDB.wanted_sums(listing.encode(), where="here")) == [
        "patient294/s0559lre.dat",
        "patient294/s0559lre.hea",
        "RECORDS",
    ]
    assert PTBDB.base_url.startswith("https://physionet.org/")


# On the real record.


@pytest.fixture
def sample() -> Path:
    """The one real record, where the machine has it."""
    folder = Path(os.environ.get("SALUS_DATA", "")) / "ptbdb-sample"
    if not (folder / "s0010_re.hea").is_file():
        pytest.skip("SALUS_DATA holds no ptbdb-sample")
    return folder


def test_the_real_record_gives_regular_beats_with_the_r_wave_in_the_middle(sample: Path) -> None:
    record = read_record(sample / "s0010_re")
    assert record.header.label == "myocardial infarction"
    assert record.header.told_by == "record name"
    assert 50 <= len(record.x) <= 60
    intervals = np.diff(record.peaks) / 360
    assert np.abs(intervals / np.median(intervals) - 1).max() < 0.1  # no beat missed, none found twice
    # This infarction has a small R between a Q and a deeper S; the R is the crest nearest to the middle.
    middle = record.x[:, 132:149]
    assert np.abs(middle.argmax(1) - 8).max() <= 3
    upright = record.x - np.median(record.x, axis=1, keepdims=True)
    likeness = [np.corrcoef(beat[100:180], upright.mean(0)[100:180])[0, 1] for beat in upright]
    assert min(likeness) > 0.8  # cut at the same phase, the beats agree


def test_the_real_record_alone_is_refused_as_a_database(sample: Path, tmp_path: Path) -> None:
    shutil.copytree(sample, tmp_path / "ptbdb")
    with pytest.raises(DataError, match=r"hold 1 record, but none of class 'healthy'; .*salus data fetch ptbdb"):
        load("ptbdb", data_dir=tmp_path)
