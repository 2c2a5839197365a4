"""Cutting heartbeats out of a WFDB record: 280 samples at 360 Hz around each annotated R peak."""

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
class Beats:
    """The beats of one record.

    Attributes:
        x: min-max scaled per beat, float32 ``[B, 280]``.
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


def read_beats(record: Path, choose_lead: Callable[[Sequence[str]], str | None]) -> Beats:
    """Read the beats of a record (its path without a suffix) from the lead that is chosen among its names.

    Raises:
        DataError: a file is missing or broken, there is no annotation, or no lead was chosen.
    """
    with _quiet():
        import wfdb

    header = _wfdb(lambda: wfdb.rdheader(str(record)), record, "hea")
    leads = [str(name) for name in header.sig_name or []]
    lead = choose_lead(leads)
    if lead is None:
        raise DataError(f"Record {record} has no lead that can be read; it has: {', '.join(leads) or 'none'}.")
    if not record.with_name(record.name + ".atr").is_file():
        raise DataError(f"Record {record} has no annotations: the file {record.name}.atr is missing.")
    marks = _wfdb(lambda: wfdb.rdann(str(record), "atr"), record, "atr")
    read = _wfdb(lambda: wfdb.rdrecord(str(record), channels=[leads.index(lead)]), record, "dat")
    signal = np.asarray(read.p_signal, dtype=np.float64)[:, 0]  # [T]
    if header.sig_len is not None and len(signal) != header.sig_len:
        raise DataError(
            f"Record {record}: its .dat file holds {len(signal)} samples, its header promises "
            f"{header.sig_len}; get the record again."
        )
    peaks, rate = np.asarray(marks.sample, dtype=np.int64), float(header.fs)
    if rate != SAMPLE_RATE:
        signal = _resample(signal, rate)  # [T * 360 / rate]
    clock = float(marks.fs or rate)  # annotations may tick at a rate of their own
    peaks = np.rint(peaks * (SAMPLE_RATE / clock)).astype(np.int64)
    x, y, dropped = cut_beats(signal, peaks, [str(symbol) for symbol in marks.symbol])
    return Beats(x, y, dropped, lead, None if rate == SAMPLE_RATE else rate)


def cut_beats(
    signal: NDArray[np.float64], peaks: NDArray[np.int64], symbols: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.int64], Drops]:
    """Cut a window around each beat and scale it by its own lowest and highest value.

    Args:
        signal: one lead at 360 Hz, ``[T]``.
        peaks: the sample of each annotation.
        symbols: the WFDB symbol of each annotation; those that mark no beat are passed over.

    Returns:
        Beats ``[B, 280]``, class indices ``[B]``, and what was dropped, each beat for one reason.
    """
    dropped: Drops = Counter()
    starts, y = [], []
    for peak, symbol in zip(peaks.tolist(), symbols, strict=True):
        name = _CLASS_OF.get(symbol)
        start = peak - WINDOW // 2
        if name is None:
            if symbol in OUTSIDE_AAMI:
                dropped[symbol, NOT_AAMI] += 1
        elif name == "Q":
            dropped[name, UNCLASSIFIABLE] += 1
        elif start < 0 or start + WINDOW > len(signal):
            dropped[name, NEAR_END] += 1
        else:
            starts.append(start)
            y.append(CLASSES.index(name))
    labels = np.array(y, dtype=np.int64)
    if not starts:
        return np.empty((0, WINDOW), np.float32), labels, dropped
    windows = np.lib.stride_tricks.sliding_window_view(signal, WINDOW)[starts]  # [B, 280]
    low, high = windows.min(1, keepdims=True), windows.max(1, keepdims=True)
    invalid, flat = ~np.isfinite(low + high)[:, 0], (low == high)[:, 0]
    for reason, where in ((INVALID, invalid), (FLAT, flat)):
        for label in labels[where]:
            dropped[CLASSES[label], reason] += 1
    keep = ~(invalid | flat)
    scaled = (windows[keep] - low[keep]) / (high[keep] - low[keep])
    return scaled.astype(np.float32), labels[keep], dropped


def as_drops(dropped: Drops) -> tuple[Drop, ...]:
    """Drops as a Dataset's provenance lists them, by class and reason."""
    return tuple(Drop(what, count, reason) for (what, reason), count in sorted(dropped.items()) if count)


def _resample(signal: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    """Resample to 360 Hz by a polyphase filter, the ends held so that no step arises there."""
    from scipy.signal import resample_poly

    ratio = Fraction(SAMPLE_RATE / rate).limit_denominator(10_000)
    resampled = resample_poly(signal, ratio.numerator, ratio.denominator, padtype="edge")
    return np.asarray(resampled, dtype=np.float64)


def _wfdb(read: Callable[[], Any], record: Path, suffix: str) -> Any:
    """Read through wfdb; whatever it raises on a broken file becomes one sentence."""
    try:
        with _quiet():
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
def _quiet() -> Iterator[None]:
    """Keep back what is not the user's affair: wfdb 4.3 calls pandas in ways that pandas 3 deprecates."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
