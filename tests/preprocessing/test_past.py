"""Channels by the past alone: what comes later changes nothing, and what they say is what the whole record says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from salus.preprocessing import RawRecording, RecordingPreprocessor
from salus.preprocessing.context import CHANNELS
from salus.preprocessing.past import departures_so_far, intervals_so_far, irregularity_so_far, timing_so_far
from salus.preprocessing.sinus import SHIFT, departures, irregularity, timing

INPUTS = ("departure-past", "second-departure-past", "timing-past")
PREPROCESSOR = RecordingPreprocessor(leads=("MLII",), inputs=INPUTS, shape=(3, 280))


def heart(peaks: NDArray[np.int64], broad: tuple[int, ...] = (), seed: int = 0) -> NDArray[np.float64]:
    """Two leads in mV ``[2, T]``: narrow beats, some broad, and a little noise."""
    time, rng = np.arange(peaks[-1] + 500), np.random.default_rng(seed)
    lead = np.zeros(len(time))
    for row, peak in enumerate(peaks):
        lead += 1.5 * np.exp(-(((time - peak) / (20.0 if row in broad else 5.0)) ** 2))
    return np.stack([lead, -0.4 * lead]) + rng.normal(0, 0.01, (2, len(time)))


def rhythm(beats: int, seed: int = 0) -> NDArray[np.int64]:
    return np.asarray(400 + np.cumsum(np.random.default_rng(seed).integers(240, 340, beats)), dtype=np.int64)


def channels(leads: NDArray[np.float64], peaks: NDArray[np.int64]) -> Tensor:
    return PREPROCESSOR.transform(RawRecording({"MLII": leads[0], "V1": leads[1]}, 360, peaks=peaks.tolist())).x


@settings(max_examples=6, deadline=None)
@given(beat=st.integers(0, 68), seed=st.integers(0, 1000), cut=st.booleans())
def test_what_comes_after_the_next_beat_changes_nothing_of_a_beat(beat: int, seed: int, cut: bool) -> None:
    peaks = rhythm(70)
    leads = heart(peaks, broad=(3, 20, 44))
    before = channels(leads, peaks)[: beat + 1]
    rng, known = np.random.default_rng(seed), peaks[beat + 1] + 1
    known = max(known, peaks[beat] + 140 + SHIFT)
    if cut:
        later, others = leads[:, :known], peaks[: beat + 2]
    else:
        later = np.concatenate([leads[:, :known], rng.normal(0, 2, (2, leads.shape[1] - known))], axis=1)
        others = np.concatenate([peaks[: beat + 2], peaks[beat + 1] + 50 + np.cumsum(rng.integers(60, 500, 30))])
        others = others[others < leads.shape[1]]
    torch.testing.assert_close(channels(later, others)[: beat + 1], before, rtol=0, atol=1e-6)


def test_no_gradient_of_a_beat_reaches_beyond_its_own_window() -> None:
    peaks = rhythm(40)
    leads = torch.from_numpy(heart(peaks, broad=(5,))).requires_grad_()
    raw = RawRecording({"MLII": leads[0], "V1": leads[1]}, 360, peaks=peaks.tolist())
    (slope,) = torch.autograd.grad(PREPROCESSOR.transform(raw).x[25].sum(), [leads])
    assert float(slope[:, : peaks[25]].abs().max()) > 0
    assert float(slope[:, peaks[25] + 140 + SHIFT :].abs().max()) == 0


def test_late_in_a_steady_record_the_past_says_what_the_whole_says() -> None:
    peaks = rhythm(200)
    leads = torch.from_numpy(heart(peaks, broad=(50, 150, 180)))
    whole, past = departures(leads, peaks, 280), departures_so_far(leads, peaks, 280)
    assert float((whole - past)[100:].abs().max()) < 0.05
    assert float(past[180].abs().amax(1).min()) > 0.3
    figures = timing(peaks, whole)[100:-1] - timing_so_far(peaks, past)[100:-1]
    assert float(figures[:, :2].abs().max()) < 0.02
    assert float(figures[:, 3].abs().max()) < 0.05


def test_intervals_are_over_the_mean_of_those_before() -> None:
    before, after = intervals_so_far(np.asarray([0, 360, 720, 1800]))
    np.testing.assert_allclose(before, [0, 0, 0, np.log(3 / (5 / 3))], atol=1e-12)
    np.testing.assert_allclose(after, [0, 0, np.log(3), 0], atol=1e-12)


def test_irregularity_so_far_is_that_of_the_last_pairs() -> None:
    peaks = rhythm(150)
    so_far = irregularity_so_far(peaks)
    assert so_far[0] == so_far[1] == 0
    for beat in (40, 61, 62, 63, 149):
        assert so_far[beat] == pytest.approx(irregularity_so_far(peaks[: beat + 1])[-1])
    # The 61 pairs around one beat are the last ones of another.
    assert so_far[93] == pytest.approx(irregularity(peaks)[62])


@pytest.mark.parametrize("beats", [1, 2, 3, 25])
def test_short_recordings_have_these_channels_too(beats: int) -> None:
    x = channels(heart(rhythm(beats)), rhythm(beats))
    assert x.shape == (beats, 3, 280)
    assert bool(x.isfinite().all())
    assert 0 <= float(x.min()) <= float(x.max()) <= 1


def test_a_gap_is_filled_from_before_it() -> None:
    peaks = rhythm(30)
    leads = heart(peaks)
    leads[0, peaks[10] + 200 : peaks[10] + 230] = np.nan
    first = channels(leads, peaks)
    leads[:, peaks[20] :] += 3  # a median of the whole lead would move
    kept = slice(10)
    torch.testing.assert_close(channels(leads, peaks)[kept], first[kept], rtol=0, atol=1e-6)


def test_every_channel_has_its_words() -> None:
    assert set(INPUTS) < set(CHANNELS)
