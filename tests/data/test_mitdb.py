from __future__ import annotations

import hashlib
import shutil
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from salus.data import Splits, load
from salus.data.mitdb import DS1, DS2, PACED
from salus.data.published import MITDB
from salus.errors import DataError, OptionError
from salus.preprocessing.beats import AAMI, CLASSES

TOTALS = {"N": 90_631, "S": 2_781, "V": 7_236, "F": 803, "Q": 8_043}
KEPT = {"N": 90_591, "S": 2_781, "V": 7_235, "F": 802}


def _kept(splits: Splits) -> Counter[str]:
    return sum((Counter(data.counts) for _, data in splits), Counter())


def _kept_and_dropped(splits: Splits) -> dict[str, int]:
    total = _kept(splits)
    for drop in splits.test.provenance.dropped:
        assert drop.reason
        total[drop.what] += drop.count
    return dict(total)


def _owners(splits: Splits) -> dict[str, set[int]]:
    return {part: set(data.groups.tolist()) for part, data in splits if data.groups is not None}


# On small records, written here.


def test_beats_are_what_the_records_hold_sample_by_sample(small_mitdb: Path) -> None:
    import wfdb

    splits = load("mitdb", data_dir=small_mitdb)
    loaded = {(int(y), x.numpy().tobytes()) for _, data in splits for x, y in zip(data.x[:, 0], data.y, strict=True)}
    expected = set()
    for name in (small_mitdb / "mitdb" / "RECORDS").read_text().split():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            record = wfdb.rdrecord(str(small_mitdb / "mitdb" / name))
            marks = wfdb.rdann(str(small_mitdb / "mitdb" / name), "atr")
        lead = record.sig_name.index("V5" if name == "102" else "MLII")
        for peak, symbol in zip(marks.sample, marks.symbol, strict=True):
            classes = [c for c in CLASSES if symbol in AAMI[c]]
            if classes and peak >= 140:
                window = record.p_signal[peak - 140 : peak + 140, lead]
                scaled = (window - window.min()) / (window.max() - window.min())
                expected.add((CLASSES.index(classes[0]), scaled.astype(np.float32).tobytes()))
    assert loaded == expected
    assert len(loaded) == sum(_kept(splits).values()) == 9 * 20
    assert splits.train.x.shape[1:] == (1, 280)
    assert splits.train.positive == ("S", "V", "F")
    assert splits.train.sample_rate == 360


def test_every_dropped_beat_is_counted_with_its_reason(small_mitdb: Path) -> None:
    splits = load("mitdb", data_dir=small_mitdb)
    assert _kept(splits) == {"N": 63, "S": 36, "V": 45, "F": 36}
    dropped = {(drop.what, drop.reason[:5]): drop.count for drop in splits.test.provenance.dropped}
    assert dropped == {("N", "fewer"): 9, ("Q", "paced"): 18}
    for split in ("patients", "ds1-ds2"):
        assert _kept_and_dropped(load("mitdb", data_dir=small_mitdb, split=split)) == {
            "N": 72,
            "S": 36,
            "V": 45,
            "F": 36,
            "Q": 18,
        }


def test_records_without_mlii_are_read_from_v5_or_left_out(small_mitdb: Path) -> None:
    read, left_out = (load("mitdb", data_dir=small_mitdb, without_mlii=way) for way in ("v5", "drop"))
    assert "records without MLII, read from V5: 102" in read.test.provenance.notes
    assert sum(_kept(read).values()) - sum(_kept(left_out).values()) == 20
    assert not any("V5" in note for note in left_out.test.provenance.notes)
    assert 102 not in set().union(*_owners(left_out).values())
    test = read.test.subset(torch.from_numpy(np.flatnonzero(read.test.groups.numpy() != 102)))  # type: ignore[union-attr]
    assert test.fingerprint() == left_out.test.fingerprint()


def test_no_patient_is_on_both_sides_of_the_patient_split(small_mitdb: Path) -> None:
    for seed in range(4):
        owners = _owners(load("mitdb", data_dir=small_mitdb, split="patients", seed=seed))
        assert owners["test"] == {100, 103}
        assert sum(map(len, owners.values())) == len(set().union(*owners.values())) == 7


def test_the_published_split_warns_that_one_patient_is_on_both_sides(small_mitdb: Path) -> None:
    splits = load("mitdb", data_dir=small_mitdb, split="ds1-ds2")
    assert any(note.startswith("WARNING: records 201") for note in splits.test.provenance.notes)
    assert _owners(splits)["test"] == {100, 103, 201}  # 202 is of the patient of 201


def test_the_test_part_depends_on_the_seed_and_the_split_alone(small_mitdb: Path) -> None:
    plain = load("mitdb", data_dir=small_mitdb)
    assert load("mitdb", data_dir=small_mitdb, smote=30).test.fingerprint() == plain.test.fingerprint()
    assert load("mitdb", data_dir=small_mitdb, seed=1).test.fingerprint() != plain.test.fingerprint()


def test_smote_balances_training_alone_after_splitting(small_mitdb: Path) -> None:
    plain, balanced = load("mitdb", data_dir=small_mitdb), load("mitdb", data_dir=small_mitdb, smote=32)
    assert balanced.train.counts == dict.fromkeys(CLASSES, 32)
    for part in ("validation", "calibration", "test"):
        assert getattr(balanced, part).fingerprint() == getattr(plain, part).fingerprint()
    groups = balanced.train.groups
    assert groups is not None
    found = {x.numpy().tobytes() for x in plain.train.x}
    real = [x.numpy().tobytes() in found for x in balanced.train.x]
    assert real == (groups >= 0).tolist()
    assert 0 < sum(real) < 128
    assert any("made by SMOTE" in note for note in balanced.train.provenance.notes)
    again = load("mitdb", data_dir=small_mitdb, smote=32)
    assert again.train.fingerprint() == balanced.train.fingerprint()


def test_smote_below_the_smallest_class_only_thins(small_mitdb: Path) -> None:
    splits = load("mitdb", data_dir=small_mitdb, smote=5)
    assert splits.train.counts == dict.fromkeys(CLASSES, 5)
    assert splits.train.groups is not None
    assert (splits.train.groups >= 0).all()


def test_a_folder_that_is_nowhere_says_how_to_fetch_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SALUS_DATA", raising=False)
    with pytest.raises(DataError, match=r"not on this machine.*run: salus data fetch mitdb"):
        load("mitdb", data_dir=tmp_path)


def test_folders_are_searched_in_order(tmp_path: Path, small_mitdb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALUS_DATA", str(tmp_path))
    monkeypatch.setenv("SALUS_CACHE", str(tmp_path / "cache"))
    shutil.copytree(small_mitdb, tmp_path / "cache" / "data")
    assert len(load("mitdb").test)
    (tmp_path / "mitdb").mkdir()
    (tmp_path / "mitdb" / "RECORDS").write_text("")
    with pytest.raises(DataError, match="names no records"):
        load("mitdb")
    assert len(load("mitdb", data_dir=small_mitdb).test)


def test_a_broken_or_missing_file_is_named(tmp_path: Path, small_mitdb: Path) -> None:
    shutil.copytree(small_mitdb / "mitdb", tmp_path / "mitdb")
    signal = tmp_path / "mitdb" / "106.dat"
    signal.write_bytes(signal.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"106: its \.dat file is truncated"):
        load("mitdb", data_dir=tmp_path)
    signal.unlink()
    with pytest.raises(DataError, match=r"106\.dat is missing; run: salus data fetch mitdb"):
        load("mitdb", data_dir=tmp_path)
    (tmp_path / "mitdb" / "RECORDS").write_text("../100\n")
    with pytest.raises(DataError, match="leads out of its folder"):
        load("mitdb", data_dir=tmp_path)


def test_files_are_compared_with_the_published_sums_where_these_are(
    tmp_path: Path, small_mitdb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert any("not verified" in note for note in load("mitdb", data_dir=small_mitdb).test.provenance.notes)
    folder = tmp_path / "mitdb"
    shutil.copytree(small_mitdb / "mitdb", folder)
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.name}" for path in sorted(folder.iterdir())]
    (folder / MITDB.sums).write_text("\n".join(lines))
    pin = hashlib.sha256((folder / MITDB.sums).read_bytes()).hexdigest()
    object.__setattr__(MITDB, "sums_sha256", pin)
    try:
        provenance = load("mitdb", data_dir=tmp_path).test.provenance
        assert provenance.version == "1.0.0"
        assert not any("not verified" in note for note in provenance.notes)
        annotations = folder / "100.atr"
        annotations.write_bytes(annotations.read_bytes()[:-4] + b"\0\0\0\0")
        with pytest.raises(DataError, match=r"100\.atr is truncated or changed"):
            load("mitdb", data_dir=tmp_path)
    finally:
        object.__setattr__(MITDB, "sums_sha256", PIN)


PIN = "d0feeffd1276ebb67612948b2519268c7141ad8154c5b518064a4880a5c13a03"


def test_an_unknown_split_names_the_nearest(small_mitdb: Path) -> None:
    with pytest.raises(OptionError, match="no split 'patient'; did you mean 'patients'"):
        load("mitdb", data_dir=small_mitdb, split="patient")


def test_the_division_of_de_chazal_is_complete_and_without_paced_records() -> None:
    assert len(set(DS1)) == len(set(DS2)) == 22
    assert not {*DS1} & {*DS2}
    assert not ({*DS1} | {*DS2}) & {*PACED}


# On the real records.


@pytest.mark.slow
def test_the_real_database_is_kept_or_dropped_to_the_last_beat(mitdb_folder: Path) -> None:
    splits = load("mitdb", data_dir=mitdb_folder.parent)
    assert _kept(splits) == KEPT
    assert _kept_and_dropped(splits) == TOTALS
    assert len(splits.test) == pytest.approx(0.2 * sum(KEPT.values()), abs=4)
    assert len(splits.train) == pytest.approx(0.7 * sum(KEPT.values()), abs=4)
    assert splits.train.provenance.version == "1.0.0"
    assert "records without MLII, read from V5: 102, 104" in splits.test.provenance.notes
    near = sum(drop.count for drop in splits.test.provenance.dropped if drop.reason.startswith("fewer"))
    assert near == 42


@pytest.mark.slow
@pytest.mark.parametrize("split", ["patients", "all-patients", "ds1-ds2"])
def test_the_real_patient_splits_add_up_too(mitdb_folder: Path, split: str) -> None:
    splits = load("mitdb", data_dir=mitdb_folder.parent, split=split)
    assert _kept_and_dropped(splits) == TOTALS
    assert all(splits.train.counts.values())
    owners = _owners(splits)
    shared = owners["test"] & (owners["train"] | owners["validation"] | owners["calibration"])
    assert shared == ({201} if split == "ds1-ds2" else set())
    if split == "all-patients":
        assert len(owners["train"]) == 22
        assert "validation and calibration hold other beats of the training patients" in str(splits.train.provenance)
        return
    assert not owners["train"] & (owners["validation"] | owners["calibration"])
    assert not owners["validation"] & owners["calibration"]
    if split == "ds1-ds2":
        groups = splits.test.groups
        assert groups is not None
        assert splits.test.counts["S"] == 1837
        assert splits.test.counts["F"] == 388
        assert int(((splits.test.y == 3) & (groups == 213)).sum()) == 362
        assert int(((splits.test.y == 1) & (groups == 232)).sum()) == 1382
