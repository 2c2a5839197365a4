"""Recordings: the same beats in one piece or in segments, whatever the order of leads; faults named as they are."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from salus.data import load
from salus.errors import DataError
from salus.preprocessing import Prepared, RawRecording, RecordingPreprocessor
from salus.preprocessing.base import joined
from salus.preprocessing.beats import FLAT, INVALID, NEAR_END, NOT_AAMI, UNCLASSIFIABLE
from salus.preprocessing.context import CHANNELS, DEPARTURES, RHYTHM, TIMINGS, surroundings

Write = Callable[..., np.ndarray]

GAP = -2048  # what format 212 stores where there is no sample
LENGTH = 4000
PEAKS = list(range(300, LENGTH - 200, 300))
SYMBOLS = ["N", "V"] * (len(PEAKS) // 2) + ["N"] * (len(PEAKS) % 2)


def heart(seed: int = 0, peaks: Sequence[int] = PEAKS, length: int = LENGTH) -> NDArray[np.float64]:
    """A lead in mV: a narrow wave at each peak, a broad one after it, noise."""
    time = np.arange(length)[:, None]
    waves = 1.1 * np.exp(-(((time - peaks) / 4.0) ** 2)) + 0.3 * np.exp(-(((time - peaks - 90) / 15.0) ** 2))
    noise: NDArray[np.float64] = waves.sum(1) + np.random.default_rng(seed).normal(0, 0.02, length)
    return noise


def stored(*leads: NDArray[np.float64]) -> NDArray[np.int64]:
    """As a converter writes them: 200 steps a mV around 1024; gaps where there is NaN."""
    values = np.stack(leads, axis=1)
    return np.where(np.isfinite(values), np.rint(np.nan_to_num(values) * 200) + 1024, GAP).astype(np.int64)


def model(leads: Sequence[str] = ("MLII",), **more: object) -> RecordingPreprocessor:
    inputs = more.get("inputs", ("beat",))
    return RecordingPreprocessor(leads=tuple(leads), shape=(len(inputs), 280), **more)  # type: ignore[arg-type]


def read(preprocessor: RecordingPreprocessor, thing: Path) -> Prepared:
    return joined(list(preprocessor.stream(thing)), preprocessor.shape)


def annotate(folder: Path, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import wfdb

        wfdb.wrann(name, "atr", np.array(PEAKS), symbol=SYMBOLS, write_dir=str(folder))


def cut_up(folder: Path, write: Write, signal: NDArray[np.int64], layout: str) -> None:
    """Write a record in segments, a gap of 200 samples among them: the second of two, or laid out in advance."""
    write(folder, "x_1", [], signal=signal[:1500])
    write(folder, "x_2", [], signal=signal[1700:])
    lines = ["x_1 1500", "~ 200", f"x_2 {LENGTH - 1700}"]
    if layout == "variable":
        lines = ["x_layout 0", *lines]
        leads = [f"~ 212 200.0(1024)/mV 12 0 0 0 0 {lead}" for lead in ("MLII", "V1")]
        (folder / "x_layout.hea").write_text("\n".join(["x_layout 2 360 0", *leads, ""]))
    (folder / "x.hea").write_text("\n".join([f"x/{len(lines)} 2 360 {LENGTH}", *lines, ""]))
    annotate(folder, "x")


# --- segments


@pytest.mark.parametrize("layout", ["fixed", "variable"])
def test_a_record_in_segments_gives_the_beats_of_one_piece(tmp_path: Path, write_record: Write, layout: str) -> None:
    whole = stored(heart(), heart(1))
    whole[1500:1700] = GAP
    (tmp_path / "one").mkdir()
    write_record(tmp_path / "one", "x", SYMBOLS, peaks=PEAKS, signal=whole)
    cut_up(tmp_path / "many", write_record, whole, layout)
    expected = read(model(), tmp_path / "one" / "x")
    for thing in (tmp_path / "many" / "x.hea", tmp_path / "many"):
        prepared = read(model(), thing)
        torch.testing.assert_close(prepared.x, expected.x, rtol=0, atol=0)
        assert prepared.names == expected.names
        assert prepared.labels == expected.labels
        assert prepared.refused == expected.refused
    assert {refusal.reason for refusal in expected.refused} == {INVALID}
    assert len(expected.names) + len(expected.refused) == len(PEAKS)


def test_segments_are_no_records_of_their_own_when_a_folder_is_loaded(tmp_path: Path, write_record: Write) -> None:
    signal = stored(heart(), heart(1))
    signal[1500:1700] = GAP
    for patient in "pqrs":
        cut_up(tmp_path / patient, write_record, signal, "fixed")
    splits = load(tmp_path)
    assert not any("has no annotations" in note for note in splits.test.provenance.notes)
    assert sorted(int(data.groups[0]) for _, data in splits if data.groups is not None) == [0, 1, 2, 3]


def test_a_segment_that_lacks_the_lead_is_a_gap(tmp_path: Path, write_record: Write) -> None:
    write_record(tmp_path, "x_1", [], signal=stored(heart(), heart(1))[:2000])
    write_record(tmp_path, "x_2", [], signal=stored(heart(1))[2000:], leads=("V1",))
    leads = [f"~ 212 200.0(1024)/mV 12 0 0 0 0 {lead}" for lead in ("MLII", "V1")]
    (tmp_path / "x_layout.hea").write_text("\n".join(["x_layout 2 360 0", *leads, ""]))
    (tmp_path / "x.hea").write_text(f"x/3 2 360 {LENGTH}\nx_layout 0\nx_1 2000\nx_2 {LENGTH - 2000}\n")
    annotate(tmp_path, "x")
    prepared = read(model(), tmp_path / "x")
    assert {refusal.reason for refusal in prepared.refused} == {INVALID}
    assert all(float(name.split()[1]) < 2000 / 360 for name in prepared.names)


# --- leads


@pytest.mark.parametrize("dead", [np.full(LENGTH, np.nan), np.full(LENGTH, 0.5)])
def test_a_dead_first_lead_is_named_and_a_good_one_read(
    tmp_path: Path, write_record: Write, dead: NDArray[np.float64]
) -> None:
    for patient in "pqrs":
        signal = stored(dead if patient == "p" else heart(), heart(1))
        write_record(tmp_path, patient, SYMBOLS, peaks=PEAKS, signal=signal, leads=("MLII", "V5"))
    splits = load(tmp_path)
    assert "record p: lead MLII is dead (gaps or one value), V5 was read" in splits.test.provenance.notes
    preprocessor = splits.test.preprocessor
    assert isinstance(preprocessor, RecordingPreprocessor)
    assert preprocessor.leads == ("MLII", "V5")
    prepared = read(preprocessor, tmp_path / "p")
    assert "p: lead MLII is dead, V5 was read" in prepared.notes
    raw = RawRecording({"MLII": dead, "V5": (signal[:, 1] - 1024) / 200}, 360, "p", PEAKS)
    in_memory = preprocessor.transform(raw)
    assert in_memory.notes == ("p: lead MLII is dead, V5 was read",)
    torch.testing.assert_close(in_memory.x, prepared.x, rtol=0, atol=1e-6)


def test_leads_that_are_all_dead_get_one_sentence(tmp_path: Path, write_record: Write) -> None:
    nothing, flat = np.full(LENGTH, np.nan), np.zeros(LENGTH)
    write_record(tmp_path, "p", SYMBOLS, peaks=PEAKS, signal=stored(nothing, flat), leads=("MLII", "V5"))
    said = "leads MLII, V5 hold nothing but gaps or one value"
    with pytest.raises(DataError, match=said):
        load(tmp_path)
    with pytest.raises(DataError, match=said):
        read(model(("MLII", "V5")), tmp_path / "p")
    with pytest.raises(DataError, match=rf"p: {said}\."):
        model(("MLII", "V5")).transform(RawRecording({"V5": flat, "MLII": nothing}, 360, "p", PEAKS))
    with pytest.raises(DataError, match=r"lead MLII holds nothing but gaps or one value; it has others: V5"):
        read(model(), tmp_path / "p")


@pytest.mark.parametrize("names", [("V1", "mlii"), ("v1", "Lead MLII"), ("MLII", "V1")])
def test_leads_are_found_by_name_whatever_their_order_and_case(
    tmp_path: Path, write_record: Write, names: tuple[str, str]
) -> None:
    leads = [heart() if "mlii" in name.lower() else heart(1) for name in names]
    write_record(tmp_path, "x", SYMBOLS, peaks=PEAKS, signal=stored(*leads), leads=names)
    write_record(tmp_path / "own", "x", SYMBOLS, peaks=PEAKS, signal=stored(heart(), heart(1)))
    assert torch.equal(read(model(), tmp_path / "x").x, read(model(), tmp_path / "own" / "x").x)


def test_a_record_without_the_leads_of_training_is_refused_by_their_names(tmp_path: Path, write_record: Write) -> None:
    write_record(tmp_path, "x", SYMBOLS, peaks=PEAKS, signal=stored(heart()), leads=("V1",))
    with pytest.raises(DataError, match="has none of the leads that the model was trained on, MLII; it has: V1"):
        read(model(), tmp_path / "x")
    with pytest.raises(DataError, match="has none of the leads that the model was trained on, MLII; it has: V1"):
        model().transform(RawRecording({"V1": heart()}, 360))


def test_of_each_record_the_guard_reads_the_lead_that_training_read(tmp_path: Path, write_record: Write) -> None:
    write_record(tmp_path, "a", SYMBOLS, peaks=PEAKS, signal=stored(heart(1), heart(2)), leads=("V5", "V2"))
    write_record(tmp_path, "b", SYMBOLS, peaks=PEAKS, signal=stored(heart(3), heart()), leads=("V5", "mlii"))
    write_record(tmp_path, "c", SYMBOLS, peaks=PEAKS, signal=stored(heart(3), heart()), leads=("V5", "MLII"))
    write_record(tmp_path, "d", SYMBOLS, peaks=PEAKS, signal=stored(heart(4), heart(5)), leads=("V2", "V5"))
    splits = load(tmp_path)
    data = [part for _, part in splits]
    of_training = {name: x for part in data for name, x in zip(part.names, part.x, strict=True)}
    preprocessor = splits.test.preprocessor
    assert isinstance(preprocessor, RecordingPreprocessor)
    prepared = read(preprocessor, tmp_path)
    assert set(prepared.names) == set(of_training)
    for name, x in zip(prepared.names, prepared.x, strict=True):
        assert torch.equal(x, of_training[name]), name
    notes = splits.test.provenance.notes
    assert "record a has no lead MLII; its first, V5, was read" in notes
    assert "record d has no lead MLII; as of other records, V5, was read" in notes
    assert not any("record b has no lead MLII" in note for note in notes)


# --- rates, gaps, detection


def test_another_sampling_rate_is_brought_to_360_and_said(tmp_path: Path, write_record: Write) -> None:
    write_record(tmp_path, "x", SYMBOLS, peaks=PEAKS, signal=stored(heart(), heart(1)), rate=250)
    prepared = read(model(), tmp_path / "x")
    assert "x: resampled from 250 to 360 Hz" in prepared.notes
    lead = (stored(heart())[:, 0] - 1024) / 200
    in_memory = model().transform(RawRecording({"MLII": lead}, 250, "x", PEAKS))
    assert in_memory.notes == ("x: resampled from 250 to 360 Hz",)
    assert in_memory.names == prepared.names
    torch.testing.assert_close(in_memory.x, prepared.x, rtol=0, atol=1e-6)


def test_beats_that_are_refused_are_named_by_record_and_second_with_the_reason(
    tmp_path: Path, write_record: Write
) -> None:
    lead = heart()
    lead[580:620] = np.nan
    lead[1000:1400] = 0.25
    symbols, peaks = ["N", *SYMBOLS, "Q", "B", "+"], [100, *PEAKS, 3810, 3820, 3830]
    write_record(tmp_path, "x", symbols, peaks=peaks, signal=stored(lead), leads=("MLII",))
    prepared = read(model(), tmp_path / "x")
    assert {refusal.name: refusal.reason for refusal in prepared.refused} == {
        "x 0.278 s": NEAR_END,
        "x 1.667 s": INVALID,
        "x 3.333 s": FLAT,
        "x 10.583 s": UNCLASSIFIABLE,
        "x 10.611 s": NOT_AAMI,
    }
    assert len(prepared.names) == len(PEAKS) - 2


def test_without_annotations_beats_come_from_the_detector_and_that_is_said(tmp_path: Path, write_record: Write) -> None:
    peaks = list(range(300, 7000, 290))
    write_record(tmp_path, "x", [], peaks=peaks, signal=stored(heart(peaks=peaks, length=7200), heart(1, peaks, 7200)))
    prepared = read(model(), tmp_path / "x")
    assert "x: R peaks found by the detector XQRS of wfdb, no one annotated them" in prepared.notes
    assert prepared.labels == ()
    found = np.array([float(name.split()[1]) * 360 for name in prepared.names])
    assert len(found) >= len(peaks) - 4
    assert all(np.abs(np.array(peaks) - place).min() < 15 for place in found)
    raw = RawRecording({"MLII": (stored(heart(peaks=peaks, length=7200))[:, 0] - 1024) / 200}, 360, "x")
    in_memory = model().transform(raw)
    assert in_memory.names == prepared.names
    assert in_memory.notes == prepared.notes


def test_records_below_a_hidden_folder_or_a_relative_path_are_found(
    tmp_path: Path, write_record: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ".cache" / "deep"
    write_record(folder, "x", SYMBOLS, peaks=PEAKS, signal=stored(heart()), leads=("MLII",))
    (folder / ".trash").mkdir()
    write_record(folder / ".trash", "y", SYMBOLS, peaks=PEAKS, signal=stored(heart()), leads=("MLII",))
    assert {name.split()[0] for name in read(model(), folder).names} == {"x"}
    (folder / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(folder / "a" / "b")
    assert len(read(model(), Path("../..")).names) == len(PEAKS)
    monkeypatch.chdir(folder)
    assert model().reads(Path())


def test_one_broken_record_of_a_folder_is_refused_and_the_others_prepared(tmp_path: Path, write_record: Write) -> None:
    for name in "xy":
        write_record(tmp_path, name, SYMBOLS, peaks=PEAKS, signal=stored(heart()), leads=("MLII",))
    (tmp_path / "y.dat").write_bytes(b"short")
    prepared = read(model(), tmp_path)
    assert {name.split()[0] for name in prepared.names} == {"x"}
    (refusal,) = prepared.refused
    assert refusal.name == "y"
    assert "y" in refusal.reason


# --- in memory


def test_windows_in_millivolts_equal_the_records_own_beats(tmp_path: Path, write_record: Write) -> None:
    signal = stored(heart(), heart(1))
    write_record(tmp_path, "x", SYMBOLS, peaks=PEAKS, signal=signal)
    prepared = read(model(), tmp_path / "x")
    lead = (signal[:, 0] - 1024) / 200
    windows = np.stack([lead[peak - 140 : peak + 140] for peak in PEAKS])[:, None]
    for raw in (windows, torch.from_numpy(windows), torch.from_numpy(windows).float()):
        made = model().transform(raw)
        assert made.x.dtype == torch.float32
        torch.testing.assert_close(made.x, prepared.x, rtol=0, atol=1e-6)


def test_windows_that_are_flat_or_hold_no_numbers_are_refused_by_place() -> None:
    windows = torch.rand(4, 1, 280)
    windows[0], windows[2, 0, 5], windows[3, 0, 5] = 0.3, float("nan"), float("inf")
    made = model().transform(windows)
    assert made.names == ("window 2",)
    assert [refusal.name for refusal in made.refused] == ["window 1", "window 3", "window 4"]
    assert made.x.isfinite().all()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (torch.rand(2, 280), r"\[2, 280\]; they must be \[N, 1, 280\]"),
        (torch.rand(2, 2, 280), r"\[2, 2, 280\]"),
        (RawRecording({"MLII": heart()}, 0), "has 0 samples a second"),
        (RawRecording({"MLII": heart()[None]}, 360), r"shape \[1, 4000\]; give its samples \[T\]"),
        (RawRecording({"MLII": heart()}, 360, "r", [300, 9000]), "r has R peaks from 300 to 9000"),
        (RawRecording({"MLII": heart()}, 360, "r", [-1, 300]), "within its 4000 samples"),
        (RawRecording({"MLII": torch.rand(900, requires_grad=True)}, 250, "r", [300]), "gradients go through"),
    ],
)
def test_what_is_no_recording_in_memory_is_refused(raw: object, said: str) -> None:
    with pytest.raises(DataError, match=said):
        model().transform(raw)


def test_windows_alone_are_refused_where_channels_need_the_recording() -> None:
    with pytest.raises(DataError, match="give whole recordings"):
        model(inputs=("beat", "rhythm")).transform(torch.rand(2, 1, 280))


def test_peaks_in_memory_may_come_in_any_order() -> None:
    inputs = ("beat", "previous", "rhythm")
    right = model(inputs=inputs).transform(RawRecording({"MLII": heart()}, 360, "r", PEAKS))
    shuffled = model(inputs=inputs).transform(RawRecording({"MLII": heart()}, 360, "r", PEAKS[::-1]))
    assert torch.equal(right.x, shuffled.x)
    assert right.names == shuffled.names


def test_several_recordings_are_joined_in_their_order() -> None:
    raw = [RawRecording({"MLII": heart(seed)}, 360, f"r{seed}", PEAKS[:3]) for seed in range(2)]
    made = model().transform(raw)
    assert [name.split()[0] for name in made.names] == ["r0"] * 3 + ["r1"] * 3


def test_an_annotation_beyond_the_end_costs_that_beat_alone(tmp_path: Path, write_record: Write) -> None:
    write_record(
        tmp_path,
        "x",
        [*SYMBOLS, "N"],
        peaks=[*PEAKS, LENGTH + 5000],
        signal=stored(heart(), heart(1)),
        leads=("MLII", "V1"),
    )
    prepared = read(model(inputs=tuple(CHANNELS)), tmp_path / "x")
    assert len(prepared.names) == len(PEAKS)
    assert [refusal.reason for refusal in prepared.refused] == [NEAR_END]


# --- channels


def channels_in_numpy(
    signal: NDArray[np.float64], peaks: NDArray[np.int64], rows: NDArray[np.int64], inputs: Sequence[str]
) -> NDArray[np.float64]:
    """Compute the channels of a beat as their descriptions say, one beat at a time."""
    filled = np.where(np.isfinite(signal), signal, np.nanmedian(signal))
    padded = np.pad(filled, 840, mode="edge")

    def wave(row: int, half: int = 140) -> NDArray[np.float64]:
        return padded[peaks[row] + 840 - half : peaks[row] + 840 + half]

    def scale(values: NDArray[np.float64]) -> NDArray[np.float64]:
        scaled: NDArray[np.float64] = (values - values.min()) / max(float(np.ptp(values)), 1e-6)
        return scaled

    beats = []
    for row in rows:
        own = wave(row)
        usual = np.median([wave(each) for each in range(max(0, row - 30), min(len(peaks), row + 31))], axis=0)
        height = max(float(np.ptp(usual)), 1e-3)
        apart = (own - np.median(own)) - (usual - np.median(usual))
        made = {
            "beat": scale(own),
            "usual": scale(usual),
            "difference": np.clip(0.5 + apart / (2 * height), 0, 1),
            "previous": scale(wave(max(row - 1, 0))),
            "next": scale(wave(min(row + 1, len(peaks) - 1))),
            "strip": scale(wave(row, 840).reshape(280, 6).mean(1)),
            "rhythm": np.repeat(rhythm(peaks, row, float(np.ptp(own)) / height), 20),
        }
        beats.append([made[name] for name in inputs])
    return np.array(beats)


def rhythm(peaks: NDArray[np.int64], row: int, height: float) -> NDArray[np.float64]:
    """The fourteen figures, by their names."""
    between = np.diff(peaks) / 360.0
    typical = float(np.median(between)) if len(between) else 1.0
    before = np.concatenate([[typical], np.maximum(between, 1e-3)])
    after = np.concatenate([np.maximum(between, 1e-3), [typical]])
    near, many = before[max(0, row - 10) : row + 11], before[max(0, row - 50) : row + 51]
    five = before[max(0, row - 5) : row] if row else before[:1]
    middle, quartile = np.median(near), np.percentile(many, 75)
    figures = {
        "interval before / median of 21": before[row] / middle / 2,
        "interval after / median of 21": after[row] / middle / 2,
        "interval before the last / median of 21": before[max(row - 1, 0)] / middle / 2,
        "interval after the next / median of 21": after[min(row + 1, len(after) - 1)] / middle / 2,
        "median of 21 intervals, s": middle / 2,
        "interval before / median of the record": before[row] / typical / 2,
        "interval after / median of the record": after[row] / typical / 2,
        "height / height of the usual beat, log2 / 4 + 0.5": 0.5 + np.log2(max(height, 1e-6)) / 4,
        "standard deviation of 21 intervals / their median, doubled": 2 * np.std(near) / middle,
        "share of 101 intervals below the one before": np.mean(many < before[row]),
        "median deviation of 21 intervals from their median, fourfold": 4 * np.median(np.abs(near / middle - 1)),
        "interval before / mean of the five before it": before[row] / np.mean(five) / 2,
        "interval before / upper quartile of 101": before[row] / quartile / 2,
        "interval after / upper quartile of 101": after[row] / quartile / 2,
    }
    clipped: NDArray[np.float64] = np.clip([figures[name] for name in RHYTHM], 0, 1)
    return clipped


@settings(max_examples=12)
@given(
    beats=st.integers(1, 75),
    seed=st.integers(0, 999),
    gap=st.booleans(),
    edge=st.sampled_from([0, 60, 139, 140, 900]),
    every_other=st.booleans(),
)
def test_channels_in_torch_are_what_their_descriptions_say(
    beats: int, seed: int, gap: bool, edge: int, every_other: bool
) -> None:
    rng = np.random.default_rng(seed)
    peaks = edge + np.cumsum(rng.integers(60, 500, beats)) - 60
    signal = np.cumsum(rng.normal(0, 0.1, int(peaks[-1]) + 1 + edge))
    if gap and len(signal) > 400:
        signal[200:350] = np.nan
    rows = np.arange(0, beats, 2 if every_other else 1)
    of_neighbours = [name for name in CHANNELS if name not in DEPARTURES | TIMINGS]
    ours = surroundings(torch.from_numpy(signal), peaks, rows, 280, of_neighbours)
    np.testing.assert_allclose(ours.numpy(), channels_in_numpy(signal, peaks, rows, of_neighbours), atol=1e-6)
