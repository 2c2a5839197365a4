"""Files of ECGs: equal to what was recorded within one step, with the same verdict; damage and doubt are named."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from salus.classifier import Classifier
from salus.data import load
from salus.errors import DataError
from salus.guard import Guard
from salus.preprocessing import RecordingPreprocessor
from salus.preprocessing.ecg_files import read_ecg
from salus.preprocessing.ecg_formats import FORMATS, SUFFIXES, VARIABLE

SAMPLES = Path(__file__).parent / "samples"

pytest.importorskip("pydicom")
pytest.importorskip("ecgdatakit")

#: What is read by default, by its file's suffix: written by an independent program, or after the standard.
WRITTEN = ("pyedflib.edf", "biosig.xml", "ishneholterlib.ecg")
BY_HAND = ("scp.scp", "huffman.scp", "mfer.mwf", "philips.xml", "scpecg.dcm", "mdc.dcm")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, ecg_writers: ModuleType) -> Path:
    """Every format, and the WFDB record that they were made from."""
    place = tmp_path_factory.mktemp("ecgs")
    for name in WRITTEN:
        (place / name).write_bytes((SAMPLES / name).read_bytes())
    for name in BY_HAND:
        (place / name).write_bytes(written(ecg_writers, name))
    record(place / "wfdb", ecg_writers.heart(("II", "V1")), ecg_writers)
    return place


def written(writers: ModuleType, name: str) -> bytes:
    two, twelve = ("II", "V1"), writers.TWELVE
    write: dict[str, Callable[[], bytes]] = {
        "scp.scp": lambda: writers.scp(writers.heart(two), two, writers.RATE, writers.STEP),
        "huffman.scp": lambda: writers.scp(writers.heart(two), two, writers.RATE, writers.STEP, huffman=True),
        "mfer.mwf": lambda: writers.mfer(writers.heart(two), two, writers.RATE, writers.STEP),
        "philips.xml": lambda: writers.philips(writers.heart(), twelve, writers.RATE, writers.STEP),
        "scpecg.dcm": lambda: writers.dicom_ecg(writers.heart(), twelve, writers.RATE, writers.STEP),
        "mdc.dcm": lambda: writers.dicom_ecg(writers.heart(two), two, writers.RATE, writers.STEP, scheme="MDC"),
    }
    return write[name]()


def record(place: Path, stored: Any, writers: ModuleType) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import wfdb

        place.mkdir(exist_ok=True)
        wfdb.wrsamp(
            "rec", fs=writers.RATE, units=["mV"] * 2, sig_name=["II", "V1"], d_signal=stored, fmt=["16"] * 2,
            adc_gain=[1000 / writers.STEP] * 2, baseline=[0] * 2, write_dir=str(place),
        )  # fmt: skip


def guard() -> Guard:
    preprocessor = RecordingPreprocessor(leads=("II",), classes=("N", "V", "S"), shape=(1, 280))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(280, 3))
    return Guard(Classifier(module, preprocessor.classes, shape=(1, 280), preprocessor=preprocessor))


@pytest.mark.parametrize("name", [*WRITTEN, *BY_HAND])
def test_a_file_is_equal_to_the_original_within_one_step(name: str, folder: Path, ecg_writers: ModuleType) -> None:
    read = read_ecg(folder / name)
    leads = ecg_writers.TWELVE if len(read.signals) == 12 else ("II", "V1")
    assert set(leads) == set(read.signals)
    stored = ecg_writers.heart(leads)
    values = np.stack([read.signals[lead] for lead in leads], 1)
    assert values.shape == stored.shape
    assert np.abs(values * 1000 / ecg_writers.STEP - stored).max() <= 1
    assert set(read.rates.values()) == {ecg_writers.RATE}
    assert read.notes[0].startswith("read as ")


@pytest.mark.parametrize("name", [*WRITTEN, *BY_HAND])
def test_a_file_gets_the_verdict_of_its_wfdb_original(name: str, folder: Path) -> None:
    judge = guard()
    original, judged = judge.judge(folder / "wfdb" / "rec.hea"), judge.judge(folder / name)
    assert original.verdict is not None and judged.verdict is not None
    assert len(judged.names) > 5
    assert [each.rpartition(" ")[0].split(" ")[0] for each in judged.names] == [name] * len(judged.names)
    assert judged.verdict.labels.tolist() == original.verdict.labels.tolist()
    assert torch.allclose(judged.verdict.probabilities, original.verdict.probabilities, atol=1e-4)


def test_a_folder_of_recordings_may_hold_every_format(folder: Path) -> None:
    judged = guard().judge(folder)
    assert not judged.refused
    assert {name.split(" ")[0] for name in judged.names} == {*WRITTEN, *BY_HAND, "wfdb/rec"}
    assert "pyedflib.edf: read as EDF" in judged.notes


def test_beats_are_learnt_from_files_beside_their_annotations(tmp_path: Path, ecg_writers: ModuleType) -> None:
    stored = ecg_writers.heart(("II", "V1"))
    peaks = np.arange(240, len(stored) - 200, 300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import wfdb

        for number in range(4):
            content = ecg_writers.scp(stored + number, ("II", "V1"), ecg_writers.RATE, ecg_writers.STEP)
            (tmp_path / f"r{number}.scp").write_bytes(content)
            symbols = ["N" if row % 2 else "V" for row in range(len(peaks))]
            wfdb.wrann(f"r{number}", "atr", peaks, symbol=symbols, write_dir=str(tmp_path))
    (tmp_path / "bare.scp").write_bytes((tmp_path / "r0.scp").read_bytes())
    splits = load(tmp_path, lead="II")
    assert sum(sum(part.counts.values()) for _, part in splits) == 4 * len(peaks)
    notes = " ".join(splits.test.provenance.notes)
    assert "record bare has no annotations (.atr) and was passed over" in notes
    assert "record r1: read as SCP-ECG" in notes
    (tmp_path / "r0.edf").write_bytes((SAMPLES / "pyedflib.edf").read_bytes())
    with pytest.raises(DataError, match=r"r0 has its signals in r0\.\w+ and in r0\.\w+; take one of them away"):
        load(tmp_path, lead="II")


def test_a_lead_is_never_guessed(folder: Path) -> None:
    judge = guard()
    other = RecordingPreprocessor(leads=("MLII",), classes=("N", "V", "S"), shape=(1, 280))
    with pytest.raises(DataError, match=r"pyedflib\.edf has none of the leads .* MLII; it has: II, V1"):
        Guard(Classifier(judge.classifier.module, other.classes, shape=(1, 280), preprocessor=other)).judge(
            folder / "pyedflib.edf"
        )


MUSE = b"""<?xml version="1.0" encoding="ISO-8859-1"?><RestingECG><MuseInfo><MuseVersion>8</MuseVersion></MuseInfo>
<Waveform><WaveformType>Rhythm</WaveformType><SampleBase>500</SampleBase><SampleExponent>0</SampleExponent>
<LeadData><LeadByteCountTotal>4</LeadByteCountTotal><LeadAmplitudeUnitsPerBit>4.88</LeadAmplitudeUnitsPerBit>
<LeadAmplitudeUnits>MICROVOLTS</LeadAmplitudeUnits><LeadID>II</LeadID><LeadSampleCountTotal>2</LeadSampleCountTotal>
<LeadSampleSize>2</LeadSampleSize><WaveFormData>AQACAA==</WaveFormData></LeadData></Waveform></RestingECG>"""


def test_an_unverified_format_stays_off_until_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "muse.xml"
    path.write_bytes(MUSE)
    with pytest.raises(DataError, match=rf"GE MUSE XML, whose reader could not be checked .* {VARIABLE}=muse-xml"):
        read_ecg(path)
    monkeypatch.setenv(VARIABLE, "muse-xml")
    read = read_ecg(path)
    assert read.signals["II"] == pytest.approx([0.00488, 0.00976])
    assert "unverified" in read.notes[0]
    monkeypatch.setenv(VARIABLE, "muse")
    with pytest.raises(DataError, match="did you mean 'muse-xml'"):
        read_ecg(path)


def test_what_the_table_calls_verified_is_tested_here(folder: Path) -> None:
    suffixes = {Path(name).suffix for name in (*WRITTEN, *BY_HAND)}
    assert all(suffixes & set(each.suffixes) for each in FORMATS if each.checked)


def test_the_client_sends_every_format() -> None:
    from salus.client.bodies import ECGS, MEDIA_TYPES

    assert {*ECGS, *MEDIA_TYPES} >= SUFFIXES - {".json"}


BOMB = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">%s]><AnnotatedECG>&z;</AnnotatedECG>""" % b"".join(
    b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(25)
)
OUTSIDE = (
    b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY z SYSTEM "file:///etc/passwd">]><AnnotatedECG>&z;</AnnotatedECG>"""
)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("bomb.xml", BOMB, "entity declarations are not allowed"),
        ("outside.xml", OUTSIDE, "entity declarations are not allowed"),
        ("deep.xml", b"<AnnotatedECG>" + b"<a>" * 100_000, "has 100001 tags, more than"),
        ("page.xml", b"<html><body>no ECG</body></html>", "no ECG in a format that is read"),
        ("empty.scp", b"", "no ECG in a format that is read"),
        ("image.dcm", b"\0" * 128 + b"DICM", "DICOM"),
    ],
)
def test_hostile_and_foreign_files_are_refused_in_a_sentence(
    name: str, content: bytes, reason: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=reason) as refusal:
        read_ecg(tmp_path / name)
    assert "\n" not in str(refusal.value)


def test_a_file_that_was_cut_or_changed_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("pyedflib.edf", "scp.scp", "mdc.dcm", "philips.xml"):
        content = (folder / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) * 2 // 3])
        with pytest.raises(DataError):
            read_ecg(tmp_path / name)
    changed = bytearray((folder / "scp.scp").read_bytes())
    changed[-50] ^= 1
    (tmp_path / "changed.scp").write_bytes(changed)
    with pytest.raises(DataError, match=r"damaged or has gaps .*CRC"):
        read_ecg(tmp_path / "changed.scp")


@settings(max_examples=12, deadline=None)
@given(st.integers(-500, 500), st.floats(0.1, 20), st.sampled_from([250, 360, 500, 1000]), st.booleans())
def test_any_step_rate_and_baseline_of_dicom_come_out_in_millivolts(
    ecg_writers: ModuleType, tmp_path_factory: pytest.TempPathFactory, baseline: int, step: float, rate: int, mdc: bool
) -> None:
    step = float(f"{step:g}")
    path = tmp_path_factory.mktemp("dicom") / "IM000001"
    stored = ecg_writers.heart(("II", "V1"))[:500]
    scheme = "MDC" if mdc else "SCPECG"
    path.write_bytes(ecg_writers.dicom_ecg(stored, ("II", "V1"), rate, step, scheme=scheme, baseline=baseline))
    read = read_ecg(path)
    assert set(read.rates.values()) == {float(rate)}
    expected = (stored[:, 0] * step + baseline) / 1000
    assert np.allclose(read.signals["II"], expected, atol=step / 1e5)


def test_dicom_keeps_the_rhythm_and_names_the_median_beat() -> None:
    from pydicom.data import get_testdata_file

    path = get_testdata_file("waveform_ecg.dcm", download=False)
    read = read_ecg(Path(str(path)))
    assert read.notes == ("read as DICOM", "the group MEDIAN BEAT was left out")
    from pydicom import dcmread

    theirs = dcmread(str(path)).waveform_array(0)  # microvolts, by pydicom
    assert np.allclose(np.stack(list(read.signals.values()), 1) * 1000, theirs)
    assert list(read.signals)[:4] == ["I", "II", "III", "aVR"]
