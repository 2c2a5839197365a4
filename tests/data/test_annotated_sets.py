"""``svdb`` and ``incartdb``: databases of annotated recordings in the layout in which PhysioNet gives them out."""

from __future__ import annotations

import importlib
import re
import shutil
import warnings
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner

from salus.cli import main
from salus.data import Splits, catalogue, fetch, load
from salus.data.download import Patience
from salus.data.incartdb import PATIENTS
from salus.data.load import load_for
from salus.data.published import INCARTDB, SVDB
from salus.errors import DataError, OptionError
from salus.preprocessing import RecordingPreprocessor
from salus.preprocessing.beats import AAMI, CLASSES, NEAR_END, NOT_AAMI, UNCLASSIFIABLE

if TYPE_CHECKING:
    from data.conftest import Home

TWELVE = ("I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6")

#: N 6, S 5, V 5, F 4, and of none of the four: Q and B; the first stands too near the start. ~ and | are no beats.
SYMBOLS = "NNSVFNSVFNSVFNSVFNSVQBN~|"
KEPT = {"N": 6, "S": 5, "V": 5, "F": 4}

#: record -> the comments of its header: six patients, of whom three have several records.
INCART: dict[str, tuple[str, ...]] = {
    "I01": (
        "<age>: 65 <sex>: F <diagnoses> Coronary artery disease, arterial hypertension",
        "patient 1",
        "PVCs, noise",
    ),
    "I02": ("<age>: 65 <sex>: F <diagnoses> Coronary artery disease, arterial hypertension", "patient 1", "PVCs"),
    "I03": ("<age>: 59 <sex>: M ", "patient 2", "sinus rhythm"),
    "I04": ("<age>: 59 <sex>: M ", "patient 2", "sinus rhythm"),
    "I05": ("<age>: 59 <sex>: M ", "patient 2", "sinus rhythm"),
    "I06": ("<age>: 38 <sex>: M ", "patient 3", "AV nodal block"),
    "I07": ("<age>: 41 <sex>: F ", "patient 4", "APCs"),
    "I08": ("<age>: 41 <sex>: F ", "patient 4", "APCs"),
    "I09": ("<age>: 70 <sex>: M ", "patient 5", "PVCs"),
    "I10": ("<age>: 72 <sex>: M ", "patient 6", "PVCs"),
}
LIST = """patient 1
I01 I02
Coronary artery disease, arterial hypertension

patient 2
I03 I04 I05

patient 3
I06
AV nodal block
patient 4
I07 I08
patient 5
I09
patient 6
I10
"""


def write(
    folder: Path,
    name: str,
    rate: int,
    leads: Sequence[str],
    *,
    fmt: str,
    comments: Sequence[str] = (),
    gain: float = 200,
) -> None:
    """Write a record whose leads differ, with a beat a second from a third of one on."""
    folder.mkdir(parents=True, exist_ok=True)
    peaks = np.round(rate * (0.3 + np.arange(len(SYMBOLS)))).astype(np.int64)
    time = np.arange(rate * (len(SYMBOLS) + 1))
    bumps = sum(np.exp(-(((time - peak) / (0.03 * rate)) ** 2)) for peak in peaks)
    rng = np.random.default_rng([*name.encode()])
    signals = np.stack([(1 + i) * 100 * bumps + rng.normal(0, 4, len(time)) for i in range(len(leads))], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wfdb calls pandas in ways that pandas 3 warns of
        import wfdb

        wfdb.wrsamp(
            name, fs=rate, units=["mV"] * len(leads), sig_name=list(leads), d_signal=signals.astype(np.int64),
            fmt=[fmt] * len(leads), adc_gain=[gain] * len(leads), baseline=[0] * len(leads), comments=list(comments),
            write_dir=str(folder),
        )  # fmt: skip
        wfdb.wrann(name, "atr", peaks, symbol=list(SYMBOLS), write_dir=str(folder))


def list_sums(folder: Path) -> None:
    """Write the list of sums that lies beside the files, with others that are not read."""
    files = sorted(path for path in folder.iterdir() if path.name != "SHA256SUMS.txt")
    lines = [f"{sha256(path.read_bytes()).hexdigest()} {path.name}" for path in files]
    lines += [f"{'0' * 64} ANNOTATORS", f"{'0' * 64} 800.hea-", f"{'0' * 64} 800.xws", f"{'0' * 64} old/I01.dat"]
    (folder / "SHA256SUMS.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that holds both sets, small; nobody writes to it."""
    place = tmp_path_factory.mktemp("sets")
    svdb, incart = place / "svdb", place / "incartdb"
    for number in range(800, 806):
        write(svdb, str(number), 128, ("ECG1", "ECG2"), fmt="212")
    header = svdb / "804.hea"  # as 37 of the real ones are: not calibrated
    header.write_text(re.sub(r" 200\S*/mV ", " 0 ", header.read_text()))
    (svdb / "RECORDS").write_text("".join(f"{number}\n" for number in range(800, 806)))
    for name, comments in INCART.items():
        write(incart, name, 257, TWELVE, fmt="16", comments=comments, gain=306)
    (incart / "RECORDS").write_text("\n".join(INCART) + "\n")
    (incart / PATIENTS).write_text(LIST)
    for folder in (svdb, incart):
        list_sums(folder)
    return place


@pytest.fixture
def copy(place: Path, tmp_path: Path) -> Path:
    """A copy that may be spoilt."""
    shutil.copytree(place, tmp_path / "sets")
    return tmp_path / "sets"


def kept(splits: Splits) -> dict[str, int]:
    counts = [data.counts for _, data in splits]
    return {name: sum(of[name] for of in counts) for name in CLASSES}


def notes(splits: Splits) -> str:
    return "\n".join(splits.test.provenance.notes)


def owners(splits: Splits) -> dict[str, set[int]]:
    return {part: set(data.groups.tolist()) for part, data in splits if data.groups is not None}


@pytest.mark.parametrize(("name", "rate", "lead", "records"), [("svdb", 128, 0, 6), ("incartdb", 257, 1, 10)])
def test_beats_are_cut_around_the_annotations_at_360_hz_and_others_counted(
    place: Path, name: str, rate: int, lead: int, records: int
) -> None:
    from scipy.signal import resample_poly

    splits = load(name, data_dir=place, split="beats")
    found = {(int(y), x.numpy().tobytes()) for _, data in splits for x, y in zip(data.x[:, 0], data.y, strict=True)}
    expected = set()
    for record in (place / name / "RECORDS").read_text().split():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import wfdb

            signal = wfdb.rdrecord(str(place / name / record)).p_signal[:, lead]
            marks = wfdb.rdann(str(place / name / record), "atr")
        signal = resample_poly(signal, 360, rate, padtype="edge")
        for peak, symbol in zip(np.rint(marks.sample * (360 / rate)).astype(int), marks.symbol, strict=True):
            label = next((each for each in CLASSES if symbol in AAMI[each]), None)
            if label is not None and peak >= 140:
                window = signal[peak - 140 : peak + 140]
                scaled = (window - window.min()) / np.ptp(window)
                assert abs(int(scaled.argmax()) - 140) <= 6
                expected.add((CLASSES.index(label), scaled.astype(np.float32).tobytes()))
    assert found == expected
    assert kept(splits) == {label: records * count for label, count in KEPT.items()}
    dropped = {(drop.what, drop.reason): drop.count for drop in splits.test.provenance.dropped}
    assert dropped == {("N", NEAR_END): records, ("Q", UNCLASSIFIABLE): records, ("B", NOT_AAMI): records}
    assert splits.train.sample_rate == 360 and splits.train.positive == ("S", "V", "F")
    said = notes(splits)
    assert f"resampled from {rate} to 360 Hz" in said
    assert "beats of one patient stand in training and in test" in said


def test_by_default_nobody_stands_on_two_sides(place: Path) -> None:
    for name, patients in (("svdb", set(range(800, 806))), ("incartdb", set(range(1, 7)))):
        for seed in range(3):
            splits = load(name, data_dir=place, seed=seed)
            sides = owners(splits)
            assert set().union(*sides.values()) == patients
            assert sum(map(len, sides.values())) == len(patients), "each on one side"
            assert all(sides.values())
            assert splits.test.provenance.split.startswith(f"patients, seed {seed}")


def test_records_of_one_patient_carry_one_number(place: Path) -> None:
    splits = load("incartdb", data_dir=place)
    groups = np.concatenate([data.groups.numpy() for _, data in splits if data.groups is not None])
    each = sum(KEPT.values())
    counts = dict(zip(*(part.tolist() for part in np.unique(groups, return_counts=True)), strict=True))
    assert counts == {1: 2 * each, 2: 3 * each, 3: each, 4: 2 * each, 5: each, 6: each}
    assert "10 of 75 records, 6 patients" in notes(splits)
    assert "patients by the headers' comments; 3 of them have several records" in notes(splits)


def test_what_svdb_does_not_say_is_told(place: Path) -> None:
    said = notes(load("svdb", data_dir=place))
    assert "lead ECG1, chosen by name" in said
    assert "which of them corresponds to MLII is not stated" in said
    assert "does not say who is who: each record counts as one patient" in said
    assert "1 records have no gain" in said and said.split("do not change): ")[1].startswith("804")


def test_other_leads_are_read_by_their_names_and_a_missing_one_is_named(place: Path, copy: Path) -> None:
    first, other = (load("svdb", data_dir=place, **lead) for lead in ({}, {"lead": "ecg2"}))
    assert "lead ECG2, chosen by name" in notes(other)
    assert first.test.counts == other.test.counts
    assert first.test.fingerprint() != other.test.fingerprint()
    assert isinstance(other.test.preprocessor, RecordingPreprocessor) and other.test.preprocessor.leads == ("ecg2",)
    either = load("incartdb", data_dir=place, lead=("V9", "v5"))
    assert "lead V5, chosen by name" in notes(either)
    write(copy / "incartdb", "I10", 257, TWELVE[2:], fmt="16", comments=INCART["I10"])
    (copy / "incartdb" / "SHA256SUMS.txt").unlink()
    with pytest.raises(DataError, match=r"I10 has no lead that can be read; it has: III, AVR"):
        load("incartdb", data_dir=copy)


def test_a_model_s_lead_and_channels_are_read_again_and_others_refused(place: Path) -> None:
    made = load("incartdb", data_dir=place, lead="V1", inputs=("beat", "rhythm", "second-departure")).train
    assert made.x.shape[1:] == (3, 280)
    again = load_for(made.preprocessor, "incartdb", {"data_dir": place}).train
    assert again.fingerprint() == made.fingerprint()
    with pytest.raises(OptionError, match="contradicts the model"):
        load_for(made.preprocessor, "incartdb", {"data_dir": place, "lead": "II"})
    with pytest.raises(DataError, match=r"800 has no lead that can be read; it has: ECG1, ECG2"):
        load_for(made.preprocessor, "svdb", {"data_dir": place})


def test_a_missing_changed_or_truncated_file_is_named(copy: Path) -> None:
    signal = copy / "svdb" / "803.dat"
    signal.write_bytes(signal.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"803\.dat is truncated or changed.*run: salus data fetch svdb"):
        load("svdb", data_dir=copy)
    (copy / "svdb" / SVDB.sums).unlink()
    with pytest.raises(DataError, match=r"803: its \.dat file is truncated"):
        load("svdb", data_dir=copy)
    marks = copy / "incartdb" / "I03.atr"
    marks.write_bytes(marks.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(DataError, match=r"I03\.atr is truncated or changed"):
        load("incartdb", data_dir=copy)
    marks.unlink()
    with pytest.raises(DataError, match=r"I03\.atr is missing; run: salus data fetch incartdb"):
        load("incartdb", data_dir=copy)
    for text, message in {
        "../I01": "leads out of its folder",
        "100": "no record of incartdb",
        "": "no records",
    }.items():
        (copy / "incartdb" / "RECORDS").write_text(text)
        with pytest.raises(DataError, match=message):
            load("incartdb", data_dir=copy)


def test_patients_are_read_from_the_list_where_a_header_is_silent_and_refused_where_both_are(copy: Path) -> None:
    folder = copy / "incartdb"
    (folder / "SHA256SUMS.txt").unlink()
    for name in ("I05", "I06"):
        header = folder / f"{name}.hea"
        header.write_text("".join(line for line in header.read_text().splitlines(True) if "patient" not in line))
    splits = load("incartdb", data_dir=copy)
    assert set().union(*owners(splits).values()) == set(range(1, 7))
    assert f"patients by {PATIENTS}, for want of a comment: I05, I06" in notes(splits)
    (folder / PATIENTS).unlink()
    with pytest.raises(DataError, match=r"does not tell of which patient these records are: I05, I06; .*--split beats"):
        load("incartdb", data_dir=copy)
    splits = load("incartdb", data_dir=copy, split="beats")
    assert "nothing tells the patient of these records, so that each counts as one: I05, I06" in notes(splits)
    (folder / PATIENTS).write_text(LIST.replace("I03 I04", "I04").replace("I06", "I06 I03"))
    with pytest.raises(DataError, match=r"I03 is of patient 2 by its header and of patient 3 by files-patients"):
        load("incartdb", data_dir=copy)
    (folder / PATIENTS).write_text(LIST.replace("I06", "I06 I05"))
    with pytest.raises(DataError, match=r"gives record I05 to the patients 2 and 3"):
        load("incartdb", data_dir=copy)


def test_provenance_says_how_far_the_files_are_verified(place: Path, copy: Path) -> None:
    for name in ("svdb", "incartdb"):
        listed = load(name, data_dir=place).test.provenance
        assert (listed.version, listed.licence) == ("1.0.0", "ODC-By 1.0")
        assert any("verified against the SHA256SUMS.txt beside" in n and "cannot vouch" in n for n in listed.notes)
        (copy / name / "SHA256SUMS.txt").unlink()
        bare = load(name, data_dir=copy).test.provenance
        assert bare.version == "" and bare.checksum == listed.checksum
        assert any(f"not verified against the published sums of {name} 1.0.0" in note for note in bare.notes)


def test_training_is_balanced_by_smote_alone(place: Path) -> None:
    plain, balanced = load("svdb", data_dir=place), load("svdb", data_dir=place, smote=30)
    assert balanced.train.counts == dict.fromkeys(CLASSES, 30)
    assert balanced.test.fingerprint() == plain.test.fingerprint()


def test_a_set_that_is_nowhere_says_how_to_fetch_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SALUS_DATA", raising=False)
    for name in ("svdb", "incartdb"):
        with pytest.raises(DataError, match=rf"'{name}' is not on this machine.*run: salus data fetch {name}"):
            load(name, data_dir=tmp_path)
    with pytest.raises(OptionError, match="Option without_mlii does not apply to the data 'svdb'"):
        load("svdb", data_dir=tmp_path, without_mlii="drop")


# Fetching them.


@pytest.mark.parametrize("name", ["svdb", "incartdb"])
def test_what_is_read_is_fetched_and_verified_by_the_list_beside_it(
    home: Home,
    tmp_path: Path,
    place: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        importlib.import_module("salus.data.fetching"), "PATIENCE", Patience(tries=2, backoff=0, read=5)
    )
    home.files = {path.name: path.read_bytes() for path in (place / name).iterdir()}
    last = "805.dat" if name == "svdb" else "I10.dat"
    home.faults = {last: ["corrupt", "corrupt"]}
    with pytest.raises(DataError, match=rf"{last} .* is not the published one: its checksum is wrong, twice"):
        fetch(name, data_dir=tmp_path, base_url=home.url)
    assert not any(entry.at_hand for entry in catalogue(tmp_path) if entry.name == name)
    folder = fetch(name, data_dir=tmp_path, base_url=home.url)
    assert folder is not None
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == home.files
    assert not home.asked("ANNOTATORS") and not home.asked("800.hea-") and not home.asked("800.xws")
    assert " ".join(capsys.readouterr().err.split()).endswith("it is worth as much as where it came from.")
    assert load(name, data_dir=tmp_path).test.fingerprint() == load(name, data_dir=place).test.fingerprint()


def test_a_copy_on_disk_is_refused_where_a_file_is_another(copy: Path, tmp_path: Path) -> None:
    (copy / "incartdb" / PATIENTS).write_text(LIST + "I10\n")
    with pytest.raises(DataError, match=r"files-patients-diagnoses\.txt is not the published one"):
        fetch("incartdb", source=copy / "incartdb", data_dir=tmp_path / "own")
    assert not list((tmp_path / "own").iterdir())


def test_their_official_homes_are_physionet_s() -> None:
    for published in (SVDB, INCARTDB):
        assert published.base_url == f"https://physionet.org/files/{published.name}/1.0.0/"
        assert published.sums_sha256 is None


# The whole job.


@pytest.mark.slow
@pytest.mark.parametrize("name", ["svdb", pytest.param("incartdb", marks=pytest.mark.soak)])
def test_they_are_listed_shown_and_audited(
    place: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where the picture goes

    def salus(*words: object) -> str:
        result = CliRunner().invoke(main, [*map(str, words)])
        assert result.exit_code == 0, result.output
        return result.output

    assert name in salus("data", "list")
    shown = salus("data", "show", name, "--data-dir", place)
    assert "split: patients, seed 0" in shown and "360 Hz" in shown
    salus(
        "audit", "--data", name, "--data-dir", place, "--model", "ecg-cnn:widths=4+8", "--training", "epochs=1",
        "--attack", "fgsm:eps=0.01", "--out", tmp_path / "run",
    )  # fmt: skip
    assert "ODC-By" in (tmp_path / "run" / "report.html").read_text()
