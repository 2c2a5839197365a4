from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from salus.data.annotated import Drops, annotated_beats, drops_of
from salus.errors import DataError
from salus.preprocessing import beats
from salus.preprocessing.beats import cut_annotated
from salus.preprocessing.wfdb_files import Annotations, Lead, by_name, read_lead


def _cut(signal: NDArray[np.float64], peaks: NDArray[np.int64], symbols: list[str]) -> tuple[Any, list[int], Drops]:
    found, labels = cut_annotated(torch.from_numpy(signal), Annotations(peaks, tuple(symbols)))
    y = [beats.CLASSES.index(labels[row]) for row in found.rows]
    return found.x[:, 0].numpy(), y, drops_of(found, labels)


def _read(record: Path, *leads: str) -> tuple[Lead, Tensor]:
    lead = read_lead(record, by_name(*leads))
    return lead, annotated_beats(record, lead, ("beat",))[0].x


@given(
    length=st.integers(1, 900),
    marks=st.lists(st.tuples(st.integers(0, 899), st.sampled_from("NLRejAaJSVEF/fQ+~Bn")), max_size=12),
    seed=st.integers(0, 5),
)
def test_every_beat_is_kept_as_its_window_or_dropped_once(length: int, marks: list[tuple[int, str]], seed: int) -> None:
    signal = np.random.default_rng(seed).normal(size=length)
    peaks, symbols = np.array([peak for peak, _ in marks], dtype=np.int64), [symbol for _, symbol in marks]
    x, y, dropped = _cut(signal, peaks, symbols)
    expected = []
    for peak, symbol in marks:
        for index, name in enumerate(beats.CLASSES):
            if symbol in beats.AAMI[name] and 140 <= peak <= length - 140:
                window = signal[peak - 140 : peak + 140]
                expected.append((index, (window - window.min()) / (window.max() - window.min())))
    assert [index for index, _ in expected] == y
    for beat, (_, window) in zip(x, expected, strict=True):
        np.testing.assert_array_equal(beat, window.astype(np.float32))
    assert len(y) + sum(dropped.values()) == sum(symbol not in "+~" for symbol in symbols)


def test_a_flat_beat_and_a_beat_with_gaps_are_dropped_with_their_reasons() -> None:
    signal = np.sin(np.arange(2000.0))
    signal[300:700] = 1.0
    signal[1000] = np.nan
    x, y, dropped = _cut(signal, np.array([200, 500, 1100, 1500]), ["N", "V", "S", "F"])
    assert y == [0, 3]
    assert np.isfinite(x).all()
    assert dropped == {("V", beats.FLAT): 1, ("S", beats.INVALID): 1}


def test_the_lead_is_found_by_name_wherever_it_stands(tmp_path: Path, write_record: Callable[..., np.ndarray]) -> None:
    signal = write_record(tmp_path, "a", ["N", "V"], leads=("V5", "MLII"))
    _, x = _read(tmp_path / "a", "MLII")
    window = signal[400 - 140 : 400 + 140, 1]
    expected = ((window - window.min()) / (window.max() - window.min())).astype(np.float32)
    np.testing.assert_allclose(x[0, 0], expected, atol=1e-7)
    assert x.amin(2)[:, 0].tolist() == [0, 0]
    assert x.amax(2)[:, 0].tolist() == [1, 1]


def test_another_sampling_rate_is_resampled_so_that_the_peak_stays_in_the_middle(
    tmp_path: Path, write_record: Callable[..., np.ndarray]
) -> None:
    time = np.arange(4000)
    signal = np.zeros((4000, 1), dtype=np.int64) + 900
    for peak in (1000, 2000, 3000):
        signal[:, 0] += (400 * np.exp(-(((time - peak) / 12.0) ** 2))).astype(np.int64)
    write_record(tmp_path, "b", "NVF", leads=("MLII",), peaks=[1000, 2000, 3000], rate=500, signal=signal)
    lead, x = _read(tmp_path / "b", "MLII")
    assert lead.rate == 500
    assert x.shape == (3, 1, 280)
    assert x[:, 0].argmax(1).tolist() == [140, 140, 140]
    around = 140 + np.round(np.array([-12, 12]) * 360 / 500).astype(int)
    np.testing.assert_allclose(x[:, 0, around], np.exp(-1), atol=0.05)


@pytest.mark.parametrize("suffix", ["dat", "hea", "atr"])
def test_a_missing_file_is_named(tmp_path: Path, write_record: Callable[..., np.ndarray], suffix: str) -> None:
    write_record(tmp_path, "c", ["N", "V"], leads=("MLII",))
    (tmp_path / f"c.{suffix}").unlink()
    with pytest.raises(DataError, match=rf"Record .*c.* c\.{suffix} is missing"):
        _read(tmp_path / "c", "MLII")


@pytest.mark.parametrize("suffix", ["dat", "hea"])
@pytest.mark.parametrize("keep", [0, 10, 31])
def test_a_truncated_file_is_one_sentence(
    tmp_path: Path, write_record: Callable[..., np.ndarray], suffix: str, keep: int
) -> None:
    write_record(tmp_path, "d", ["N", "V"])
    path = tmp_path / f"d.{suffix}"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"^Record .*d\b") as caught:
        _read(tmp_path / "d", "MLII")
    assert "\n" not in str(caught.value)


@given(junk=st.binary(max_size=40))
def test_annotations_of_any_bytes_are_read_or_refused(bare_record: Path, junk: bytes) -> None:
    bare_record.with_suffix(".atr").write_bytes(junk)
    try:
        _read(bare_record, "MLII")
    except DataError as error:
        assert "\n" not in str(error)


@pytest.fixture(scope="module")
def bare_record(tmp_path_factory: pytest.TempPathFactory, write_record: Callable[..., np.ndarray]) -> Path:
    folder = tmp_path_factory.mktemp("junk")
    write_record(folder, "e", [], leads=("MLII",), peaks=[1000])
    return folder / "e"
