"""Cutting heartbeats out of a WFDB record: 280 samples at 360 Hz around each R peak."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salus.data.base import Drop
from salus.data.context import CHANNELS, surroundings
from salus.errors import DataError

SAMPLE_RATE = 360
WINDOW = 280

#: The AAMI classes and the beat annotations that make them up (ECG-ATK-GAN, section III).
AAMI = {"N": "NLRej", "S": "AaJS", "V": "VE", "F": "F", "Q": "/fQ"}
CLASSES = ("N", "S", "V", "F")
DISEASE = ("S", "V", "F")

#: Beat annotations of the WFDB standard that are in none of these classes.
OUTSIDE_AAMI = "Bnr?"

UNCLASSIFIABLE = "paced, fusion of paced and normal, or unclassifiable (Q)"
NEAR_END = f"fewer than {WINDOW // 2} samples from an end of the record"
INVALID = "the signal has gaps (invalid samples) there"
FLAT = "the signal is flat there, so that it cannot be scaled"
NOT_AAMI = "a beat annotation that is in no AAMI class here"

_CLASS_OF = {symbol: name for name, symbols in AAMI.items() for symbol in symbols}

#: (class, reason) -> beats
Drops = Counter[tuple[str, str]]


@dataclass(frozen=True, eq=False)
class Lead:
    """One lead of a record, at 360 Hz.

    Attributes:
        signal: float64 ``[T]``; NaN where the record has gaps.
        name: of the lead.
        rate: the record's own sampling rate.
    """

    signal: NDArray[np.float64]
    name: str
    rate: float


@dataclass(frozen=True, eq=False)
class Beats:
    """The beats of one annotated record.

    Attributes:
        x: channels, the beat alone or what was asked for, float32 ``[B, C, 280]``.
        y: index into ``CLASSES``, int64 ``[B]``.
        dropped: (class, reason) -> beats that were not kept.
        lead: the name of the lead they come from.
        resampled_from: the record's own sampling rate, when it is not 360 Hz.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    dropped: Drops
    lead: str
    resampled_from: float | None = None


def read_beats(
    record: Path, choose_lead: Callable[[Sequence[str]], str | None], inputs: Sequence[str] = ("beat",)
) -> Beats:
    """Read the beats of a record (its path without a suffix) from the lead that is chosen among its names.

    Args:
        record: the record.
        choose_lead: chooses among the names of its leads.
        inputs: the channels of each beat, of ``salus.data.context.CHANNELS``.

    Raises:
        DataError: a file is missing or broken, there is no annotation, or no lead was chosen.
    """
    lead = read_lead(record, choose_lead)
    if not record.with_name(record.name + ".atr").is_file():
        raise DataError(f"Record {record} has no annotations: the file {record.name}.atr is missing.")
    with quiet():
        import wfdb

    marks = _wfdb(lambda: wfdb.rdann(str(record), "atr"), record, "atr")
    clock = float(marks.fs or lead.rate)  # annotations may tick at a rate of their own
    peaks = np.asarray(marks.sample, dtype=np.int64)
    peaks = np.rint(peaks * (SAMPLE_RATE / clock)).astype(np.int64)
    symbols = [str(symbol) for symbol in marks.symbol]
    x, y, dropped, rows = cut_beats(lead.signal, peaks, symbols)
    channels = x[:, None]  # [B, 1, 280]
    if tuple(inputs) != ("beat",) and len(x):
        is_beat = np.array([symbol in _CLASS_OF or symbol in OUTSIDE_AAMI for symbol in symbols])
        among = (np.cumsum(is_beat) - 1)[rows]  # places among the beats
        channels = surroundings(lead.signal, peaks[is_beat], among, WINDOW, inputs)
    return Beats(channels, y, dropped, lead.name, None if lead.rate == SAMPLE_RATE else lead.rate)


def read_lead(record: Path, choose_lead: Callable[[Sequence[str]], str | None]) -> Lead:
    """Read one lead of a record, resampled to 360 Hz.

    Raises:
        DataError: a file is missing or broken, or no lead was chosen.
    """
    with quiet():
        import wfdb

    header = _header(record)
    names = [str(name) for name in header.sig_name or []]
    name = choose_lead(names)
    if name is None:
        raise DataError(f"Record {record} has no lead that can be read; it has: {', '.join(names) or 'none'}.")
    read = _wfdb(lambda: wfdb.rdrecord(str(record), channels=[names.index(name)]), record, "dat")
    signal = np.asarray(read.p_signal, dtype=np.float64)[:, 0]  # [T]
    if header.sig_len is not None and len(signal) != header.sig_len:
        raise DataError(
            f"Record {record}: its .dat file holds {len(signal)} samples, its header promises "
            f"{header.sig_len}; get the record again."
        )
    rate = float(header.fs)
    if rate != SAMPLE_RATE:
        signal = _resample(signal, rate)  # [T * 360 / rate]
    return Lead(signal, name, rate)


def read_comments(record: Path) -> list[str]:
    """Read the comments in a record's header.

    Raises:
        DataError: the header is missing or broken.
    """
    return [str(comment) for comment in _header(record).comments or []]


def cut_beats(
    signal: NDArray[np.float64], peaks: NDArray[np.int64], symbols: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.int64], Drops, NDArray[np.int64]]:
    """Cut a window around each annotated beat and scale it by its own lowest and highest value.

    Args:
        signal: one lead at 360 Hz, ``[T]``.
        peaks: the sample of each annotation.
        symbols: the WFDB symbol of each annotation; those that mark no beat are passed over.

    Returns:
        Beats ``[B, 280]``, class indices ``[B]``, what was dropped, each beat for one reason, and which of the
        annotations the beats belong to ``[B]``.
    """
    dropped: Drops = Counter()
    indices, names = [], []
    for row, symbol in enumerate(symbols):
        name = _CLASS_OF.get(symbol)
        if name is None:
            if symbol in OUTSIDE_AAMI:
                dropped[symbol, NOT_AAMI] += 1
        elif name == "Q":
            dropped[name, UNCLASSIFIABLE] += 1
        else:
            indices.append(row)
            names.append(name)
    rows = np.array(indices, dtype=np.int64)
    x, faults = cut_windows(signal, peaks[rows])
    dropped.update((name, fault) for name, fault in zip(names, faults, strict=True) if fault)
    labels = [CLASSES.index(name) for name, fault in zip(names, faults, strict=True) if not fault]
    complete = np.array([not fault for fault in faults], dtype=bool)
    return x, np.array(labels, dtype=np.int64), dropped, rows[complete]


def cut_windows(signal: NDArray[np.float64], peaks: NDArray[np.int64]) -> tuple[NDArray[np.float32], list[str]]:
    """Cut 280 samples around each peak and scale them by their own lowest and highest value.

    Args:
        signal: one lead at 360 Hz, ``[T]``.
        peaks: samples ``[P]``.

    Returns:
        Windows ``[B, 280]`` of the peaks that have one, and for every peak why it has none, "" where it has.
    """
    starts = peaks - WINDOW // 2
    fits = (starts >= 0) & (starts + WINDOW <= len(signal))
    faults = np.full(len(peaks), NEAR_END, dtype=object)
    if not fits.any():
        return np.empty((0, WINDOW), np.float32), faults.tolist()
    windows = np.lib.stride_tricks.sliding_window_view(signal, WINDOW)[starts[fits]]  # [fits, 280]
    low, high = windows.min(1, keepdims=True), windows.max(1, keepdims=True)
    invalid, flat = ~np.isfinite(low + high)[:, 0], (low == high)[:, 0]
    faults[fits] = np.select([invalid, flat], [INVALID, FLAT], "")
    keep = ~(invalid | flat)
    scaled = (windows[keep] - low[keep]) / (high[keep] - low[keep])
    return scaled.astype(np.float32), faults.tolist()


def input_notes(inputs: Sequence[str]) -> list[str]:
    """Say what the channels are, where there is more than the beat."""
    if tuple(inputs) == ("beat",):
        return []
    return ["channels: " + "; ".join(f"{name}: {CHANNELS[name]}" for name in inputs)]


def as_drops(dropped: Drops) -> tuple[Drop, ...]:
    """Drops as a Dataset's provenance lists them, by class and reason."""
    return tuple(Drop(what, count, reason) for (what, reason), count in sorted(dropped.items()) if count)


def _resample(signal: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    """Resample to 360 Hz by a polyphase filter, the ends held so that no step arises there."""
    from scipy.signal import resample_poly

    ratio = Fraction(SAMPLE_RATE / rate).limit_denominator(10_000)
    resampled = resample_poly(signal, ratio.numerator, ratio.denominator, padtype="edge")
    return np.asarray(resampled, dtype=np.float64)


def _header(record: Path) -> Any:
    with quiet():
        import wfdb

    header = _wfdb(lambda: wfdb.rdheader(str(record)), record, "hea")
    leads = len(header.sig_name or [])
    if leads != header.n_sig or not header.fs > 0:
        raise DataError(
            f"Record {record}: its .hea file is truncated or broken (it describes {leads} of {header.n_sig} leads "
            f"at {header.fs:g} Hz); get the record again."
        )
    return header


def _wfdb(read: Callable[[], Any], record: Path, suffix: str) -> Any:
    """Read through wfdb; whatever it raises on a broken file becomes one sentence."""
    try:
        with quiet():
            return read()
    except FileNotFoundError as error:
        missing = Path(error.filename or f"{record}.{suffix}").name
        raise DataError(f"Record {record}: the file {missing} is missing; get the record again.") from error
    except Exception as error:  # wfdb raises whatever the broken bytes lead it to
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(
            f"Record {record}: its .{suffix} file is truncated or broken ({reason}); get the record again."
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep back what is not the user's affair: wfdb 4.3 calls pandas in ways that pandas 3 deprecates."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
