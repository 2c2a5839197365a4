"""Channels around a heartbeat: what they hold, and what moves them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from salus.errors import OptionError
from salus.preprocessing.context import CHANNELS, RHYTHM, check_inputs, surroundings

WINDOW = 280


def record(beats: int = 40, every: int = 300) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Alike beats, a spike each, at even intervals."""
    peaks = 200 + every * np.arange(beats)
    t = np.arange(peaks[-1] + 400)
    signal = sum(np.exp(-(((t - peak) / 8.0) ** 2)) for peak in peaks)
    return np.asarray(signal, dtype=np.float64), peaks.astype(np.int64)


def figure(channels: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """One figure of the rhythm channel, ``[B]``; the channel stands last."""
    place = RHYTHM.index(name) * (WINDOW // len(RHYTHM))
    return channels[:, -1, place]


def test_every_channel_lies_between_0_and_1_also_across_gaps() -> None:
    signal, peaks = record()
    signal[2000:2300] = np.nan
    lead = torch.from_numpy(signal)
    made = surroundings(lead, peaks, np.arange(len(peaks)), WINDOW, list(CHANNELS), second=2 * lead).numpy()
    assert made.shape == (len(peaks), len(CHANNELS), WINDOW)
    assert made.dtype == np.float32
    assert np.isfinite(made).all()
    assert made.min() >= 0
    assert made.max() <= 1


def test_neighbours_are_the_beats_before_and_after() -> None:
    signal, peaks = record()
    signal[peaks[7] - 30 : peaks[7] + 30] *= -1  # one beat upside down
    made = surroundings(
        torch.from_numpy(signal), peaks, np.arange(len(peaks)), WINDOW, ["beat", "previous", "next"]
    ).numpy()
    np.testing.assert_array_equal(made[8, 1], made[7, 0])
    np.testing.assert_array_equal(made[6, 2], made[7, 0])


def test_a_beat_as_usual_differs_by_nothing_and_an_odd_one_by_much() -> None:
    signal, peaks = record()
    signal[peaks[7] - 30 : peaks[7] + 30] *= -1
    made = surroundings(torch.from_numpy(signal), peaks, np.array([7, 20]), WINDOW, ["difference"]).numpy()
    assert np.abs(made[1] - 0.5).max() < 1e-6
    assert np.abs(made[0] - 0.5).max() > 0.4


def test_the_rhythm_of_even_beats_is_as_usual_and_an_early_beat_shows() -> None:
    signal, peaks = record()
    early = peaks.copy()
    early[20] -= 90  # 210 samples after the last, 390 before the next
    made = surroundings(torch.from_numpy(signal), early, np.array([10, 20]), WINDOW, ["beat", "rhythm"]).numpy()
    name = "interval before / median of 21"
    assert figure(made, name) == pytest.approx([0.5, 0.35], abs=1e-6)
    assert figure(made, "interval after / median of 21") == pytest.approx([0.5, 0.65], abs=1e-6)
    assert figure(made, "median of 21 intervals, s") == pytest.approx([300 / 720] * 2, abs=1e-6)


def test_a_record_of_one_beat_has_a_rhythm_too() -> None:
    signal, peaks = record(beats=1)
    made = surroundings(torch.from_numpy(signal), peaks, np.array([0]), WINDOW, ["beat", "rhythm"]).numpy()
    assert np.isfinite(made).all()


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        (("beat", "rythm"), "did you mean 'rhythm'"),
        (("beat", "beat"), "named twice"),
        ((), "names no channel"),
    ],
)
def test_channels_that_there_are_not_are_refused(inputs: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        check_inputs(inputs)
