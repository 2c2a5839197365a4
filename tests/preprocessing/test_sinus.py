"""The sinus beat of a record, and what departs from it in shape and in time."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from salus.errors import DataError
from salus.preprocessing import RawRecording, RecordingPreprocessor
from salus.preprocessing.second_lead import besides
from salus.preprocessing.sinus import SHIFT, TIMING, departures, intervals, irregularity, timing

INPUTS = ("departure", "second-departure", "timing")


def heart(peaks: NDArray[np.int64], broad: frozenset[int] = frozenset(), marked_late: int = 0) -> Tensor:
    """Two leads in mV ``[2, T]``: narrow beats, some broad; all of them ``marked_late`` samples before their marks."""
    time = np.arange(peaks[-1] + 500)
    lead = np.zeros(len(time))
    for row, peak in enumerate(peaks - marked_late):
        width = 20.0 if row in broad else 5.0
        lead += 1.5 * np.exp(-(((time - peak) / width) ** 2)) + 0.3 * np.exp(-(((time - peak - 90) / 18.0) ** 2))
    return torch.from_numpy(np.stack([lead, -0.4 * lead]))


def regular(beats: int = 60, every: int = 300) -> NDArray[np.int64]:
    return np.asarray(400 + every * np.arange(beats), dtype=np.int64)


def test_beats_alike_depart_by_nothing_and_a_broad_one_by_much_in_both_leads() -> None:
    peaks = regular()
    departed = departures(heart(peaks, broad=frozenset({20})), peaks, 280)
    assert departed.shape == (60, 2, 280)
    assert float(departed[np.arange(60) != 20].abs().max()) < 1e-3
    assert float(departed[20].abs().amax(1).min()) > 0.3


def test_neither_gain_nor_offset_of_a_lead_matters() -> None:
    peaks = regular()
    signals = heart(peaks, broad=frozenset({20, 31}))
    changed = signals * torch.tensor([[3.0], [-0.7]]) + torch.tensor([[5.0], [-2.0]])
    ours, theirs = departures(signals, peaks, 280), departures(changed, peaks, 280)
    assert torch.allclose(ours * torch.tensor([[1.0], [-1.0]]), theirs, atol=1e-3)


@settings(max_examples=15)
@given(moves=st.lists(st.integers(-SHIFT, SHIFT), min_size=60, max_size=60))
def test_marks_that_stand_beside_the_peak_by_less_than_a_shift_hardly_matter(moves: list[int]) -> None:
    peaks = regular()
    signals = heart(peaks)
    # Most marks are right, so that the sinus beat is: every third may be wrong.
    moved = peaks + np.where(np.arange(60) % 3 == 0, moves, 0)
    assert float(departures(signals, moved, 280)[..., 20:-20].abs().max()) < 0.02


def test_the_sinus_beat_is_not_the_commonest_one_where_that_comes_early() -> None:
    """Two of three beats are ventricular and early: a median would take theirs for the usual shape."""
    every = np.tile([240, 240, 420], 30)
    peaks = np.asarray(400 + np.insert(np.cumsum(every), 0, 0), dtype=np.int64)
    early = np.insert(every, 0, 300) < 300
    departed = departures(heart(peaks, broad=frozenset(np.flatnonzero(early).tolist())), peaks, 280)
    size = departed.square().mean((1, 2)).sqrt()
    assert float(size[torch.from_numpy(~early)].max()) < 0.5 * float(size[torch.from_numpy(early)].min())


def test_timing_measures_intervals_over_the_mean() -> None:
    peaks = regular()
    peaks[20] -= 90
    figures = timing(peaks, departures(heart(peaks), peaks, 280))
    assert figures.shape == (60, len(TIMING))
    assert float(figures[20, 0]) == pytest.approx(0.5 + np.log(210 / 300) / 2, abs=1e-9)
    assert float(figures[20, 1]) == pytest.approx(0.5 + np.log(390 / 300) / 2, abs=1e-9)
    assert bool(((figures >= 0) & (figures <= 1)).all())


def test_premature_beats_are_regular_and_fibrillation_is_not() -> None:
    rng = np.random.default_rng(0)

    def of(between: NDArray[np.float64]) -> float:
        return float(np.median(irregularity(np.cumsum(between).astype(np.int64))))

    sinus = 300 * np.exp(rng.normal(0, 0.02, 200))
    bigeminy = sinus * np.tile([0.7, 1.3], 100)
    quadrigeminy = sinus * np.tile([0.7, 1.3, 1.0, 1.0], 50)
    fibrillation = 240 * np.exp(rng.normal(0, 0.22, 200))
    assert max(of(sinus), of(bigeminy), of(quadrigeminy)) < 0.5 * of(fibrillation)


@pytest.mark.parametrize("beats", [1, 2, 3, 25])
def test_short_recordings_have_all_channels_too(beats: int) -> None:
    peaks = regular(beats)
    signals = heart(peaks)
    preprocessor = RecordingPreprocessor(leads=("MLII",), inputs=INPUTS, shape=(3, 280))
    x = preprocessor.transform(RawRecording({"MLII": signals[0], "V1": signals[1]}, 360, peaks=peaks.tolist())).x
    assert x.shape == (beats, 3, 280)
    assert bool(x.isfinite().all())
    assert float(x.min()) >= 0
    assert float(x.max()) <= 1


def test_no_beats_have_no_intervals() -> None:
    assert not len(intervals(np.zeros(0, dtype=np.int64)))
    assert not len(intervals(np.zeros(1, dtype=np.int64)))


def test_a_recording_of_one_lead_is_refused_where_two_are_needed() -> None:
    peaks = regular(5)
    preprocessor = RecordingPreprocessor(leads=("MLII",), inputs=INPUTS, shape=(3, 280))
    with pytest.raises(DataError, match=r"has no lead beside MLII, and channel second-departure needs one"):
        preprocessor.transform(RawRecording({"MLII": heart(peaks)[0]}, 360, peaks=peaks.tolist()))
    uneven = {"MLII": heart(peaks)[0], "V1": heart(peaks)[1, :-3]}
    with pytest.raises(DataError, match=r"lead MLII has \d+ samples, lead V1 \d+"):
        preprocessor.transform(RawRecording(uneven, 360, peaks=peaks.tolist()))


def test_the_second_lead_is_the_one_of_the_known_names_and_never_the_first() -> None:
    assert list(besides("MLII")(["V5", "MLII", "V1"])) == ["V1", "V5"]
    assert list(besides("V5")(["V5", "V2"])) == ["V2"]
    assert list(besides("I")(["I", "aVR"])) == ["aVR"]


def test_the_same_beats_come_from_a_file_and_from_memory(tmp_path: Path) -> None:
    peaks = regular(12)
    signals = heart(peaks, broad=frozenset({5}))
    three, names = np.stack([signals[1] * 2, *signals]).T, ["V5", "MLII", "V1"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wfdb 4.3 calls pandas in ways that pandas 3 deprecates
        import wfdb

        wfdb.wrsamp("r", 360, ["mV"] * 3, names, three, fmt=["16"] * 3, write_dir=str(tmp_path))
        wfdb.wrann("r", "atr", peaks, symbol=["N"] * 12, write_dir=str(tmp_path))
        record = wfdb.rdrecord(str(tmp_path / "r")).p_signal.T
    preprocessor = RecordingPreprocessor(leads=("MLII",), inputs=INPUTS, shape=(3, 280))
    (read,) = list(preprocessor.stream(tmp_path / "r"))
    raw = RawRecording(dict(zip(names, record, strict=True)), 360, peaks=peaks.tolist())
    torch.testing.assert_close(read.x, preprocessor.transform(raw).x, rtol=0, atol=1e-6)


def test_which_second_lead_was_read_is_said_and_a_beat_across_a_gap_of_it_is_refused() -> None:
    peaks = regular(25)
    first, second = heart(peaks).numpy()
    second = second.copy()
    second[peaks[7] - 5 : peaks[7] + 5] = np.nan
    preprocessor = RecordingPreprocessor(leads=("MLII",), inputs=INPUTS, shape=(3, 280))
    leads = {"MLII": first, "V1": np.zeros_like(first), "V2": second}
    prepared = preprocessor.transform(RawRecording(leads, 360, "r", peaks.tolist()))
    assert "r: the second lead is V2, as V1 is dead" in prepared.notes
    assert len(prepared.x) == 24
    (refusal,) = prepared.refused
    assert "gaps" in refusal.reason
