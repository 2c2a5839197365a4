"""Sampling rates that are no whole numbers are those of the file, not the library's rounded ones."""

from __future__ import annotations

import struct
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from salus.preprocessing.ecg_files import read_ecg

pytest.importorskip("ecgdatakit")


def test_edf_of_a_fraction_of_a_hertz(tmp_path: Path) -> None:
    edfio = pytest.importorskip("edfio")  # which writes it independently of who wrote the samples
    wave = np.sin(np.arange(963) / 30)
    signal = edfio.EdfSignal(wave, sampling_frequency=128.4, label="ECG II", physical_dimension="mV")
    edfio.Edf([signal], data_record_duration=2.5).write(tmp_path / "a.edf")
    read = read_ecg(tmp_path / "a.edf")
    assert read.rates == {"II": pytest.approx(128.4)}
    assert np.abs(read.signals["II"] - wave).max() <= 2 / 2**16  # one step of the recorder


def test_an_annotated_ecg_of_a_fraction_of_a_hertz(tmp_path: Path) -> None:
    text = (Path(__file__).parent / "samples" / "biosig.xml").read_text()
    increment = text.partition('<increment value="')[2].partition('"')[0]
    (tmp_path / "a.xml").write_text(text.replace(f'<increment value="{increment}"', '<increment value="0.0078"', 1))
    assert read_ecg(tmp_path / "a.xml").rates["II"] == pytest.approx(1 / 0.0078)


@pytest.mark.parametrize(("interval", "rate"), [(2778, 360.0), (2000, 500.0), (7800, 1e6 / 7800)])
def test_scp_of_whole_microseconds(interval: int, rate: float, ecg_writers: ModuleType, tmp_path: Path) -> None:
    content = ecg_writers.scp(ecg_writers.heart(("II",))[:720], ("II",), 1e6 / interval, 5.0)
    (tmp_path / "a.scp").write_bytes(content)
    assert read_ecg(tmp_path / "a.scp").rates["II"] == pytest.approx(rate)


def test_mfer_by_its_interval(ecg_writers: ModuleType, tmp_path: Path) -> None:
    content = ecg_writers.mfer(ecg_writers.heart(("II",))[:720], ("II",), 360, 5.0)
    by_rate = bytes((0x0B, 6)) + struct.pack(">Bbi", 0, 0, 360)
    by_interval = bytes((0x0B, 6)) + struct.pack(">Bbi", 1, -4, 78)  # 7.8 ms
    assert by_rate in content
    (tmp_path / "a.mwf").write_bytes(content.replace(by_rate, by_interval))
    assert read_ecg(tmp_path / "a.mwf").rates["II"] == pytest.approx(1 / 0.0078)
