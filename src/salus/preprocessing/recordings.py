"""Recordings: leads by name, resampling, gaps, where beats come from, their window, scaling and channels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from salus.errors import DataError
from salus.preprocessing.base import Prepared, Preprocessor, Refusal, common, joined, numbered, tensor_of
from salus.preprocessing.beats import WINDOW, Beats, cut, cut_annotated, fault_of
from salus.preprocessing.context import check_inputs
from salus.preprocessing.ecg_file import EcgFile
from salus.preprocessing.ecg_files import is_ecg_file, read_ecg
from salus.preprocessing.qrs import FOUND_BY, find_r_peaks
from salus.preprocessing.second_lead import NAMES, besides, needs_second, no_second, read_second, said_of
from salus.preprocessing.wfdb_files import (
    SAMPLE_RATE,
    Annotations,
    all_dead,
    by_name,
    is_alive,
    is_record,
    lead_names,
    read_annotations,
    read_lead,
    read_lines,
    record_path,
    resample,
)

#: Where beats come from: annotations where there are some, or always the detector.
ANNOTATED, DETECTED = "annotations", "xqrs"

#: Lowest and highest voltage that attackers may put in, mV: what amplifiers of ECGs can tell apart.
_MILLIVOLTS = 10.0


@dataclass(frozen=True, eq=False)
class RawRecording:
    """A recording in memory.

    Attributes:
        signals: lead -> its samples in mV, ``[T]``; NaN in gaps. A tensor at 360 Hz keeps its gradients.
        rate: samples a second.
        name: what it is called.
        peaks: R peaks, in samples; None where a detector is to find them.
    """

    signals: Mapping[str, Any]
    rate: float
    name: str = "recording"
    peaks: Sequence[int] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordingPreprocessor(Preprocessor):
    """How recordings become heartbeats ``[B, C, 280]``.

    Attributes:
        leads: names of the leads that training read; the first of them that a recording has and that is not dead is
            read, whatever the case of its name.
        inputs: channels of each beat, of ``salus.preprocessing.context.CHANNELS``.
        peaks: ``annotations`` where beats come from these, and from the detector XQRS only where there are none;
            ``xqrs`` where they always come from it.
    """

    kind: ClassVar[str] = "recording"
    takes: ClassVar[str] = "a WFDB record, a file of an ECG (DICOM, EDF, ...), or a folder of these"

    leads: tuple[str, ...]
    inputs: tuple[str, ...] = ("beat",)
    peaks: str = ANNOTATED

    def transform(self, raw: Any) -> Prepared:
        """Prepare a recording, several of them, or windows of 280 samples at 360 Hz, in mV, ``[N, 1, 280]``.

        Windows are scaled by their own range, and there is no more to do where a beat is the only channel; the
        gradients of tensors stay.

        Raises:
            DataError: a lead is missing, a window has another length, or the channels need the whole recording.
        """
        if isinstance(raw, RawRecording):
            return self._recording(raw)
        if isinstance(raw, (list, tuple)) and raw and all(isinstance(each, RawRecording) for each in raw):
            return joined([self._recording(each) for each in raw], self.shape)
        windows = tensor_of(raw, "Recordings")
        if self.inputs != ("beat",):
            raise DataError(
                f"Windows alone do not tell the channels {', '.join(self.inputs)}; give whole recordings "
                "(RawRecording)."
            )
        if windows.ndim != 3 or tuple(windows.shape[1:]) != (1, WINDOW):
            raise DataError(
                f"Windows have the shape {list(windows.shape)}; they must be [N, 1, {WINDOW}], {SAMPLE_RATE} samples a "
                "second."
            )
        low, high = windows.amin(2, keepdim=True), windows.amax(2, keepdim=True)
        flat = ~(((high - low) > 0) & (high - low).isfinite())[:, 0, 0]
        names = numbered(len(windows), "window")
        good = (~flat).nonzero()[:, 0]
        x = ((windows[good] - low[good]) / (high - low)[good]).clamp(0, 1).float()
        refused = tuple(Refusal(names[row], "is flat or has gaps") for row in flat.nonzero()[:, 0].tolist())
        return Prepared(x, tuple(names[row] for row in good.tolist()), refused=refused)

    def _recording(self, raw: RawRecording) -> Prepared:
        names = by_name(*self.leads)(list(raw.signals))
        if not names:
            raise DataError(self._lacks(raw.name, list(raw.signals)))
        if not raw.rate > 0:
            raise DataError(f"{raw.name} has {raw.rate:g} samples a second; give its sampling rate.")
        lead, signal, dead = _alive(raw, names)
        notes = [f"{raw.name}: lead {each} is dead, {lead} was read" for each in dead]
        length = len(signal)
        second = None
        if needs_second(self.inputs):
            others = besides(lead)(list(raw.signals))
            if not others:
                raise DataError(no_second(raw.name, lead))
            other, second, dead = _alive(raw, others)
            notes += said_of(raw.name, other, dead)
            if len(second) != length:
                raise DataError(f"{raw.name}: lead {lead} has {length} samples, lead {other} {len(second)}.")
            second = _at_360(raw, second)
        signal = _at_360(raw, signal)
        if raw.rate != SAMPLE_RATE:
            notes.append(f"{raw.name}: resampled from {raw.rate:g} to {SAMPLE_RATE} Hz")
        if raw.peaks is None:
            peaks = find_r_peaks(signal.detach().numpy())
            notes.append(f"{raw.name}: {FOUND_BY}")
        else:
            given = np.sort(np.asarray(raw.peaks, dtype=np.float64))
            if len(given) and not 0 <= given[0] <= given[-1] < length:
                raise DataError(
                    f"{raw.name} has R peaks from {given[0]:g} to {given[-1]:g}; they must lie within its {length} "
                    "samples."
                )
            peaks = np.rint(given * (SAMPLE_RATE / raw.rate)).astype(np.int64)
        return self._prepared(raw.name, cut(signal, peaks, self.inputs, second=second), peaks, (), notes)

    def _lacks(self, name: str, leads: Sequence[str]) -> str:
        return f"{name} has none of the leads that the model was trained on, {', '.join(self.leads)}; it has: " + (
            ", ".join(leads) or "none"
        )

    def reads(self, thing: Path) -> bool:
        """Tell whether it is a WFDB record or a file of an ECG by its name, or a folder in which one lies."""
        if is_record(thing) or is_ecg_file(thing):
            return True
        return thing.is_dir() and (
            next(thing.rglob("*.hea"), None) is not None or any(map(is_ecg_file, thing.rglob("*")))
        )

    def stream(self, thing: Path, label: str | None = None) -> Iterator[Prepared]:
        """Prepare the beats of a record, or of every record below a folder, a record at a time."""
        if is_record(thing):
            yield self._record(record_path(thing), record_path(thing).name)
            return
        if not thing.is_dir():
            yield self._file(thing, thing.name)
            return
        records, files = records_below(thing), set(ecg_files_below(thing))
        if not records and not files:
            raise DataError(f"Folder {thing} holds no WFDB records (NAME.hea and NAME.dat) and no files of ECGs.")
        for record in sorted([*records, *files]):
            name = record.relative_to(thing).as_posix()
            try:
                yield self._file(record, name) if record in files else self._record(record, name)
            except DataError as error:  # the others can be prepared
                empty = torch.empty(0, *self.shape)
                yield Prepared(empty, refused=(Refusal(name, str(error).rstrip(".")),))

    def _file(self, path: Path, name: str) -> Prepared:
        ecg = read_ecg(path)
        raw, left_out = self._of_one_rate(ecg, name)
        prepared = self._recording(raw)
        return replace(prepared, notes=(*(f"{name}: {note}" for note in (*ecg.notes, *left_out)), *prepared.notes))

    def _of_one_rate(self, ecg: EcgFile, name: str) -> tuple[RawRecording, list[str]]:
        """Take the leads of the rate that the lead to be read has; say which are left out."""
        wanted = by_name(*self.leads)(list(ecg.signals))
        if not wanted:
            raise DataError(self._lacks(name, list(ecg.signals)))
        rate = ecg.rates[wanted[0]]
        signals = {lead: signal for lead, signal in ecg.signals.items() if ecg.rates[lead] == rate}
        others = [lead for lead in ecg.signals if lead not in signals]
        notes = [f"leads of another sampling rate were left out: {', '.join(others)}"] if others else []
        return RawRecording(signals, rate, name), notes

    def _record(self, record: Path, name: str) -> Prepared:
        names = lead_names(record)
        if not by_name(*self.leads)(names):
            raise DataError(self._lacks(f"Record {record}", names))
        lead = read_lead(record, by_name(*self.leads))
        marks = read_annotations(record, lead.rate) if self.peaks == ANNOTATED else None
        signal, second = torch.from_numpy(lead.signal), None
        notes = [f"{name}: lead {dead} is dead, {lead.name} was read" for dead in lead.dead]
        other = read_second(record, lead.name, self.inputs)
        if other is not None:
            second = torch.from_numpy(other.signal)
            notes += said_of(name, other.name, other.dead)
        if lead.rate != SAMPLE_RATE:
            notes.append(f"{name}: resampled from {lead.rate:g} to {SAMPLE_RATE} Hz")
        if marks is None:
            peaks = find_r_peaks(lead.signal)
            notes.append(f"{name}: {FOUND_BY}")
            return self._prepared(name, cut(signal, peaks, self.inputs, second=second), peaks, (), notes)
        beats, labels = cut_annotated(signal, marks, self.inputs, second)
        return self._prepared(name, beats, beat_samples(marks), labels, notes)

    def _prepared(
        self, name: str, beats: Beats, peaks: NDArray[np.int64], labels: Sequence[str], notes: Sequence[str]
    ) -> Prepared:
        names = [beat_name(name, int(peak)) for peak in peaks]
        return Prepared(
            beats.x,
            tuple(names[row] for row in beats.rows),
            tuple(labels[row] for row in beats.rows) if labels else (),
            tuple(Refusal(each, fault) for each, fault in zip(names, beats.faults, strict=True) if fault),
            tuple(notes),
        )

    def inverse(self, x: Tensor) -> Tensor:
        """Return x: the voltage of a beat is thrown away by its scaling."""
        return x

    @property
    def raw_bounds(self) -> tuple[Tensor, Tensor]:
        """What an amplifier tells apart, in mV."""
        return torch.tensor(-_MILLIVOLTS), torch.tensor(_MILLIVOLTS)

    def describe(self) -> str:
        """Say in a line how recordings are prepared."""
        where = (
            "annotated R peak (or of the detector XQRS where there is none)"
            if self.peaks == ANNOTATED
            else ("R peak of the detector XQRS")
        )
        if needs_second(self.inputs):
            where += f", and of a second lead, {' or '.join(NAMES)} or another that is alive"
        return (
            f"lead {' or '.join(self.leads)} at {SAMPLE_RATE} Hz, {WINDOW} samples around each {where}, scaled per "
            f"beat; channels: {', '.join(self.inputs)}"
        )

    @classmethod
    def restore(cls, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> RecordingPreprocessor:
        """Make it again."""
        inputs, peaks, shared = tuple(map(str, settings["inputs"])), str(settings["peaks"]), common(settings)
        check_inputs(inputs)
        if peaks not in (ANNOTATED, DETECTED):
            raise ValueError(f"there are no R peaks of {peaks!r}")
        if shared["shape"] not in ((), (len(inputs), WINDOW)):
            raise ValueError(f"its beats have the shape {list(shared['shape'])}")
        return cls(leads=tuple(map(str, settings["leads"])), inputs=inputs, peaks=peaks, **shared)


def _alive(raw: RawRecording, names: Sequence[str]) -> tuple[str, Tensor, list[str]]:
    """Take the first lead of these that is alive, float64 ``[T]``; returns those before it as well."""
    dead: list[str] = []
    for lead in names:
        signal = tensor_of(raw.signals[lead], f"{raw.name}, lead {lead}").double()
        if signal.ndim != 1:
            raise DataError(f"{raw.name}, lead {lead} has the shape {list(signal.shape)}; give its samples [T].")
        if is_alive(signal.detach().numpy()):
            return lead, signal, dead
        dead.append(lead)
    raise DataError(f"{raw.name}: {all_dead(dead)}.")


def _at_360(raw: RawRecording, signal: Tensor) -> Tensor:
    if raw.rate == SAMPLE_RATE:
        return signal
    if signal.requires_grad:
        raise DataError(f"{raw.name}: gradients go through recordings at {SAMPLE_RATE} Hz, not {raw.rate:g} Hz.")
    return torch.from_numpy(resample(signal.numpy(), raw.rate))


def beat_samples(marks: Annotations) -> NDArray[np.int64]:
    """Where the annotated beats are, those that are kept and those that are not ``[P]``."""
    rows = [row for row, symbol in enumerate(marks.symbols) if fault_of(symbol) is not None]
    samples: NDArray[np.int64] = marks.samples[rows]
    return samples


def beat_name(record: str, peak: int) -> str:
    """Name a beat by its record and its time from the record's start."""
    return f"{record} {peak / SAMPLE_RATE:.3f} s"


def ecg_files_below(folder: Path) -> list[Path]:
    """List the files of ECGs below a folder by their names, hidden ones left out, sorted."""
    return sorted(path for path in visible(folder, "*") if is_ecg_file(path))


def visible(folder: Path, pattern: str) -> list[Path]:
    """List files below a folder, hidden ones left out, and those in hidden folders."""
    below = ((path, path.relative_to(folder).parts) for path in folder.rglob(pattern))
    return [path for path, parts in below if not any(part.startswith(".") for part in parts)]


def records_below(folder: Path) -> list[Path]:
    """List the WFDB records below a folder, hidden ones and segments of others left out, sorted."""
    headers = visible(folder, "*.hea")
    segments: set[tuple[Path, str]] = set()
    for path in headers:
        lines = read_lines(path) if path.is_file() else []
        words = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if words and "/" in words[0][0]:
            segments |= {(path.parent, f"{line[0]}.hea") for line in words[1:]}
    return sorted(path.with_suffix("") for path in headers if (path.parent, path.name) not in segments)
