"""One lead of a WFDB record: by its name, whole or in segments, at 360 Hz, with its annotated beats.

The signals of a record may also lie in a file of another format beside its annotations (``100.edf`` and ``100.atr``).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salus.errors import DataError
from salus.preprocessing.ecg_files import ecg_beside, read_ecg

SAMPLE_RATE = 360

#: What a header calls a segment that is none.
_GAP = "~"

#: Sampling rates of recordings, and clocks of annotations, in Hz.
_RATES, _CLOCKS = (10.0, 1e5), (1e-3, 1e9)

#: Bytes of a header, and segments of a record, that nobody needs more of.
_MOST_BYTES, _MOST_SEGMENTS = 2**20, 10_000

#: A record may promise this many samples, and a longer one so many for each byte of its signals: some have gaps.
_MOST_SAMPLES, _SAMPLES_A_BYTE = 2**24, 100

#: Orders the names of a record's leads: the one to be read first, then those to be tried where it is dead.
Order = Callable[[Sequence[str]], Sequence[str]]


@dataclass(frozen=True, eq=False)
class Lead:
    """One lead of a record, at 360 Hz.

    Attributes:
        signal: float64 ``[T]``; NaN where the record has gaps.
        name: of the lead.
        rate: the record's own sampling rate.
        dead: leads that were to be read before it, and hold nothing but gaps or one value.
    """

    signal: NDArray[np.float64]
    name: str
    rate: float
    dead: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Annotations:
    """What somebody marked in a record.

    Attributes:
        samples: where, in samples at 360 Hz, int64 ``[P]``.
        symbols: what, as WFDB writes it ``[P]``.
    """

    samples: NDArray[np.int64]
    symbols: tuple[str, ...]


def by_name(*wanted: str, then_others: bool = False) -> Order:
    """Order leads by the names that are wanted, whatever their case; those of other names last, or not at all."""

    def order(names: Sequence[str]) -> Sequence[str]:
        plain = [_plain(name) for name in names]
        found = [names[plain.index(_plain(word))] for word in wanted if _plain(word) in plain]
        return list(dict.fromkeys([*found, *names] if then_others else found))

    return order


def is_record(path: Path) -> bool:
    """Tell whether a path, with or without the suffix of one of its files, is that of a WFDB record."""
    record = record_path(path)
    return bool(record.name) and record.with_name(record.name + ".hea").is_file()


def record_path(path: Path) -> Path:
    """Leave out the suffix of a record's file."""
    return path.with_suffix("") if path.suffix.lower() in (".hea", ".dat", ".atr") else path


def read_lead(record: Path, order: Order) -> Lead:
    """Read one lead of a record (its path without a suffix), resampled to 360 Hz.

    Raises:
        DataError: a file is missing or broken, no lead is one of those wanted, or all of these are dead.
    """
    beside = ecg_beside(record)
    ecg = None if beside is None else read_ecg(beside)
    header: Any = read_header(record) if ecg is None else None
    names = _names_in(header, record) if ecg is None else list(ecg.signals)
    wanted = order(names)
    if not wanted:
        raise DataError(f"Record {record} has no lead that can be read; it has: {', '.join(names) or 'none'}.")
    dead: list[str] = []
    for name in wanted:
        signal = _read_signal(record, name, header) if ecg is None else ecg.signals[name]
        if is_alive(signal):
            break
        dead.append(name)
    else:
        raise DataError(f"Record {record}: {all_dead(dead)}{_alternatives(names, wanted)}.")
    rate = float(header.fs) if ecg is None else ecg.rates[name]
    if rate != SAMPLE_RATE:
        signal = resample(signal, rate)  # [T * 360 / rate]
    return Lead(signal, name, rate, tuple(dead))


def is_alive(signal: NDArray[np.float64]) -> bool:
    """Tell whether a lead ``[T]`` holds more than gaps and one value."""
    valid = signal[np.isfinite(signal)]
    return bool(len(valid)) and float(np.ptp(valid)) > 0


def all_dead(leads: Sequence[str]) -> str:
    """Say that leads are not alive."""
    one = len(leads) == 1
    return f"lead{'' if one else 's'} {', '.join(leads)} hold{'s' if one else ''} nothing but gaps or one value"


def read_annotations(record: Path, rate: float) -> Annotations | None:
    """Read the annotations of a record, sampled at ``rate``; None where it has none.

    Raises:
        DataError: their file is broken.
    """
    if not record.with_name(record.name + ".atr").is_file():
        return None
    with quiet():
        import wfdb
    marks = _wfdb(lambda: wfdb.rdann(str(record), "atr"), record, "atr")
    clock = float(marks.fs or rate)  # annotations may tick at a rate of their own
    if not _CLOCKS[0] <= clock <= _CLOCKS[1]:
        raise DataError(f"Record {record}: its annotations tick at {clock:g} Hz; get the record again.")
    samples = np.asarray(marks.sample, dtype=np.int64)
    samples = np.rint(samples * (SAMPLE_RATE / clock)).astype(np.int64)
    return Annotations(samples, tuple(str(symbol) for symbol in marks.symbol))


def read_comments(record: Path) -> list[str]:
    """Read the comments in a record's header.

    Raises:
        DataError: the header is missing or broken.
    """
    return [str(comment) for comment in getattr(read_header(record), "comments", None) or []]


def lead_names(record: Path) -> list[str]:
    """Name the leads of a record, of all its segments where it has several.

    Raises:
        DataError: the header is missing or broken.
    """
    beside = ecg_beside(record)
    return _names_in(read_header(record), record) if beside is None else list(read_ecg(beside).signals)


def _names_in(header: Any, record: Path) -> list[str]:
    if not hasattr(header, "seg_name"):
        return [str(name) for name in header.sig_name or []]
    segments = [record.with_name(name) for name in header.seg_name if name != _GAP]
    if not header.seg_len[0] and segments:
        segments = segments[:1]  # which holds no samples, and tells of all leads
    return list(dict.fromkeys(name for segment in segments for name in _segment_leads(segment)))


def _segment_leads(segment: Path) -> list[str]:
    """Name the leads of one segment, which has none of its own."""
    header = read_header(segment)
    if hasattr(header, "seg_name"):
        raise DataError(f"Record {segment} is a segment of another and has segments itself; get the record again.")
    return _names_in(header, segment)


def read_header(record: Path) -> Any:
    """Read a record's header, and those of its segments.

    Raises:
        DataError: it is missing or broken, or promises what no recording holds.
    """
    with quiet():
        import wfdb
    path = record.with_name(f"{record.name}.hea")
    if path.is_file() and path.stat().st_size > _MOST_BYTES:
        raise DataError(f"Record {record}: its .hea file has over {_MOST_BYTES} bytes; get the record again.")
    header = _wfdb(lambda: wfdb.rdheader(str(record)), record, "hea")
    segments = hasattr(header, "seg_name")
    if segments:
        if not 0 < (header.n_seg or 0) <= _MOST_SEGMENTS:
            raise DataError(
                f"Record {record}: its .hea file promises {header.n_seg} segments; they must be 1 to {_MOST_SEGMENTS}."
            )
        header = _wfdb(lambda: wfdb.rdheader(str(record), rd_segments=True), record, "hea")
    leads = header.n_sig if segments else len(header.sig_name or [])
    if leads != header.n_sig or not (header.fs or 0) > 0:
        raise DataError(
            f"Record {record}: its .hea file is truncated or broken (it describes {leads} of {header.n_sig} leads "
            f"at {header.fs or 0:g} Hz); get the record again."
        )
    if not _RATES[0] <= header.fs <= _RATES[1]:
        raise DataError(
            f"Record {record}: its .hea file promises {header.fs:g} samples a second; they must be {_RATES[0]:g} to "
            f"{_RATES[1]:g}."
        )
    for each in (header, *(segment for segment in getattr(header, "segments", None) or () if segment is not None)):
        _refuse_impossible(each, record)
    return header


def _refuse_impossible(header: Any, record: Path) -> None:
    """Refuse a header that promises far more samples than its files hold: they would be given memory."""
    if hasattr(header, "seg_name"):
        files = [path for path in record.parent.iterdir() if path.suffix != ".hea" and path.is_file()]
    else:
        files = [path for path in {record.parent / str(name) for name in header.file_name or ()} if path.is_file()]
    held = sum(path.stat().st_size for path in files)
    a_frame = max((int(count) for count in getattr(header, "samps_per_frame", None) or () if count), default=1)
    late = max((abs(int(count)) for count in getattr(header, "skew", None) or () if count), default=0)
    promised = ((header.sig_len or 1) + late) * a_frame
    if promised > max(_MOST_SAMPLES, _SAMPLES_A_BYTE * held):
        raise DataError(
            f"Record {record}: its .hea file promises {promised} samples of a lead, and its signals have {held} bytes; "
            "get the record again."
        )


def read_lines(path: Path) -> list[str]:
    """Read the lines of a header, as far as one goes."""
    with path.open("rb") as file:
        return file.read(_MOST_BYTES).decode("latin-1").splitlines()


def resample(signal: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    """Resample to 360 Hz by a polyphase filter, the ends held so that no step arises there."""
    from scipy.signal import resample_poly

    ratio = Fraction(SAMPLE_RATE / rate).limit_denominator(10_000)
    resampled = resample_poly(signal, ratio.numerator, ratio.denominator, padtype="edge")
    return np.asarray(resampled, dtype=np.float64)


def _read_signal(record: Path, name: str, header: Any) -> NDArray[np.float64]:
    """Read one lead at the record's own rate, ``[T]``."""
    with quiet():
        import wfdb
    if hasattr(header, "seg_name"):
        return _read_segments(record, name, header)
    channel = [str(each) for each in header.sig_name].index(name)
    read = _wfdb(lambda: wfdb.rdrecord(str(record), channels=[channel]), record, "dat")
    signal = np.asarray(read.p_signal, dtype=np.float64)[:, 0]  # [T]
    if header.sig_len is not None and len(signal) != header.sig_len:
        raise DataError(
            f"Record {record}: its .dat file holds {len(signal)} samples, its header promises "
            f"{header.sig_len}; get the record again."
        )
    return signal


def _read_segments(record: Path, name: str, header: Any) -> NDArray[np.float64]:
    """Put a lead together from its segments; NaN in gaps between them, and where a segment lacks the lead."""
    if sum(header.seg_len) != header.sig_len:
        raise DataError(
            f"Record {record}: its segments have {sum(header.seg_len)} samples, its .hea file promises "
            f"{header.sig_len}; get the record again."
        )
    signal = np.full(header.sig_len, np.nan)
    start = 0
    for segment, length in zip(header.seg_name, header.seg_len, strict=True):
        path = record.with_name(segment)
        if length and segment != _GAP and name in _segment_leads(path):
            part = _read_signal(path, name, read_header(path))
            if len(part) != length:
                raise DataError(
                    f"Record {record}: its segment {segment} holds {len(part)} samples, its header promises {length}; "
                    "get the record again."
                )
            signal[start : start + length] = part
        start += length
    return signal


def _alternatives(names: Sequence[str], tried: Sequence[str]) -> str:
    others = [name for name in names if name not in tried]
    return f"; it has others: {', '.join(others)} (--lead)" if others else ""


def _plain(name: str) -> str:
    """Compare names of leads without their case and the word lead: ``Lead II`` and ``ii`` are one."""
    words = name.casefold().split()
    return " ".join(words[1:] if words[:1] == ["lead"] and len(words) > 1 else words)


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
