"""Gradients through preparing, against finite differences: an attacker may work in years, grey levels, millivolts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from salus.preprocessing import ImagePreprocessor, RawRecording, RecordingPreprocessor, TablePreprocessor
from salus.preprocessing.context import CHANNELS
from salus.preprocessing.csv_file import RawTable
from salus.preprocessing.framing import COVER
from salus.preprocessing.scaling import MinMax

SEEDS = st.integers(0, 2**16)


def agrees(
    prepare: Callable[[Tensor], Tensor], raw: Tensor, *, step: float, rng: np.random.Generator, within: float = 1e-3
) -> None:
    """Compare the slope uphill, by random steps of each value, with that between two points close by."""
    raw = raw.detach().requires_grad_()
    x = prepare(raw)
    weights = torch.from_numpy(rng.normal(size=x.shape))
    (gradient,) = torch.autograd.grad((x.double() * weights).sum(), raw)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0
    for _ in range(3):
        direction = torch.from_numpy(rng.normal(size=raw.shape))
        direction = torch.where(gradient == 0, direction, direction.abs() * gradient.sign())
        with torch.no_grad():
            ahead, behind = prepare(raw + step * direction).double(), prepare(raw - step * direction).double()
        slope = ((ahead - behind) * weights).sum() / (2 * step)
        expected = (gradient * direction).sum()
        torch.testing.assert_close(slope, expected.double(), rtol=within, atol=0)


@settings(max_examples=20)
@given(seed=SEEDS, features=st.integers(1, 6))
def test_scaling_a_table(seed: int, features: int) -> None:
    rng = np.random.default_rng(seed)
    columns = {f"f{place}": rng.normal(50, 10, 20) for place in range(features)}
    table = RawTable(dict(columns), tuple(map(str, range(20))))
    made = TablePreprocessor.fit(table, np.arange(20))
    values, _ = made.encode(table)
    preprocessor = TablePreprocessor(columns=made.columns, scaling=MinMax(values.min(0) - 5, np.ptp(values, 0) + 10))
    agrees(lambda raw: preprocessor.transform(raw).x, torch.from_numpy(values), step=0.01, rng=rng)


def test_what_a_table_clips_has_no_slope() -> None:
    table = RawTable({"a": np.array([0.0, 10.0])}, ("row 1", "row 2"))
    made = TablePreprocessor.fit(table, np.arange(2))
    preprocessor = TablePreprocessor(columns=made.columns, scaling=MinMax.fit(made.encode(table)[0]))
    raw = torch.tensor([[5.0], [11.0]], requires_grad=True)
    preprocessor.transform(raw).x.sum().backward()
    assert raw.grad is not None
    torch.testing.assert_close(raw.grad, torch.tensor([[0.1], [0.0]]))


@settings(max_examples=20)
@given(
    seed=SEEDS,
    own=st.tuples(st.integers(2, 14), st.integers(2, 14)),
    wanted=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    channels=st.tuples(st.sampled_from([1, 3]), st.sampled_from([1, 3])),
    white=st.sampled_from([255, 4095]),
)
def test_scaling_and_colours_of_images(
    seed: int, own: tuple[int, int], wanted: tuple[int, int], channels: tuple[int, int], white: int
) -> None:
    rng = np.random.default_rng(seed)
    preprocessor = ImagePreprocessor(shape=(channels[1], *wanted), white=white)
    raw = torch.from_numpy(rng.uniform(0.1 * white, 0.9 * white, (2, channels[0], *own)))
    agrees(lambda levels: preprocessor.transform(levels).x, raw, step=0.01 * white, rng=rng)


@settings(max_examples=10)
@given(seed=SEEDS, own=st.tuples(st.integers(1, 6), st.integers(1, 6)), wanted=st.integers(1, 4))
def test_scaling_images_in_doubles(seed: int, own: tuple[int, int], wanted: int) -> None:
    raw = torch.from_numpy(np.random.default_rng(seed).normal(size=(1, 1, *own))).requires_grad_()
    assert torch.autograd.gradcheck(lambda image: COVER.tensor(image, (wanted, 3), 255), raw)


@settings(max_examples=15)
@given(seed=SEEDS)
def test_scaling_windows_in_millivolts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    preprocessor = RecordingPreprocessor(leads=("MLII",), shape=(1, 280))
    raw = rng.uniform(-0.5, 0.5, (2, 1, 280))
    raw[:, 0, rng.integers(0, 140)], raw[:, 0, rng.integers(140, 280)] = -1.0, 1.5  # which stay the ends of the range
    agrees(lambda windows: preprocessor.transform(windows).x, torch.from_numpy(raw), step=1e-3, rng=rng)


#: Channels that are smooth where no two samples stand close; medians have corners, and are looked at by themselves.
SMOOTH = ("beat", "previous", "next", "strip")


def recording(rng: np.random.Generator, beats: int) -> tuple[Tensor, list[int]]:
    peaks = (400 + 320 * np.arange(beats) + rng.integers(-30, 30, beats)).tolist()
    time = np.arange(peaks[-1] + 400)[:, None]
    signal = np.exp(-(((time - peaks) / 6.0) ** 2)).sum(1) + rng.normal(0, 0.05, len(time))
    # One lowest and one highest sample in each window, and of each strip as well when six samples are averaged to one.
    for place, peak in zip(rng.permutation(beats), peaks, strict=True):
        signal[peak - 20], signal[peak] = -1.0 - place, 2.0 + place
    return torch.from_numpy(signal), peaks


@settings(max_examples=8)
@given(seed=SEEDS, gap=st.booleans())
def test_channels_of_a_whole_recording_in_millivolts(seed: int, gap: bool) -> None:
    rng = np.random.default_rng(seed)
    signal, peaks = recording(rng, 6)
    preprocessor = RecordingPreprocessor(leads=("MLII",), inputs=SMOOTH, shape=(len(SMOOTH), 280))
    holes = torch.zeros(len(signal), dtype=torch.bool)
    holes[peaks[3] - 5 : peaks[3] + 5] = gap

    def prepare(lead: Tensor) -> Tensor:
        lead = torch.where(holes, torch.nan, lead)
        return preprocessor.transform(RawRecording({"MLII": lead}, 360, peaks=peaks)).x

    assert len(prepare(signal)) == 6 - gap
    if not gap:  # the value that fills a gap, the lead's median, is taken for a constant
        agrees(prepare, signal, step=1e-4, rng=rng)
    raw = signal.clone().requires_grad_()
    prepare(raw).sum().backward()
    assert raw.grad is not None
    assert raw.grad.isfinite().all()
    assert not raw.grad[holes].any()


@settings(max_examples=5)
@given(seed=SEEDS, beats=st.sampled_from([1, 2, 7]))
def test_medians_and_heights_of_a_whole_recording_in_millivolts(seed: int, beats: int) -> None:
    rng = np.random.default_rng(seed)
    signal, peaks = recording(rng, beats)
    preprocessor = RecordingPreprocessor(leads=("MLII",), inputs=tuple(CHANNELS), shape=(len(CHANNELS), 280))

    def prepare(lead: Tensor) -> Tensor:
        return preprocessor.transform(RawRecording({"MLII": lead, "V1": 0.5 - lead}, 360, peaks=peaks)).x

    agrees(prepare, signal, step=2e-5, rng=rng, within=1e-2)


def test_attackers_reach_the_recording_through_every_channel_but_the_intervals() -> None:
    signal, peaks = recording(np.random.default_rng(0), 5)
    for name in CHANNELS:
        preprocessor = RecordingPreprocessor(leads=("MLII",), inputs=(name,), shape=(1, 280))
        raw = signal.clone().requires_grad_()
        x = preprocessor.transform(RawRecording({"MLII": raw, "V1": raw}, 360, peaks=peaks)).x
        (gradient,) = torch.autograd.grad((x * torch.linspace(0, 1, 280)).sum(), raw)
        assert gradient.isfinite().all()
        assert gradient.any(), name
