"""Files of ECGs: found by their names, told by what they hold, read into leads in millivolts."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salus.errors import DataError
from salus.preprocessing import dicom_files
from salus.preprocessing.dicom_files import short
from salus.preprocessing.dicom_waveforms import read_dicom_ecg
from salus.preprocessing.ecg_bounds import bound_unpacking, refuse_boundless
from salus.preprocessing.ecg_file import MOST_SAMPLES, EcgFile
from salus.preprocessing.ecg_formats import FORMATS, LEFT_OUT, SUFFIXES, VARIABLE, EcgFormat, asked_for

#: What the files of a recording may end in; those of DICOM often in nothing.
_ENDINGS = frozenset({*SUFFIXES, *dicom_files.SUFFIXES, ""})

#: What the library warns of, and goes on: samples that are missing, of another time, or not those that were written.
_DAMAGE = re.compile(r"truncat|missing sample|\bgaps?\b|checksum|\bcrc\b|no waveform data|not loaded", re.IGNORECASE)


def is_ecg_file(path: Path) -> bool:
    """Tell by its name whether a file may hold an ECG; files of DICOM often have names that say nothing."""
    if not path.is_file():
        return False
    if path.suffix.lower() == ".json":  # of nearly everything else
        return "kardia-json" in asked_for()
    return path.suffix.lower() in SUFFIXES or dicom_files.is_dicom_file(path)


def ecg_beside(record: Path) -> Path | None:
    """Find the file that holds the signals of a record (its path without a suffix), where it has no header of WFDB.

    Raises:
        DataError: there are several.
    """
    if record.with_name(f"{record.name}.hea").is_file():
        return None
    endings = dict.fromkeys(each for known in sorted(_ENDINGS) for each in (known, known.upper()))
    places = [record.with_name(record.name + ending) for ending in endings]
    files = [path for path in places if is_ecg_file(path)]
    if len(files) > 1:
        raise DataError(
            f"Record {record} has its signals in {files[0].name} and in {files[1].name}; take one of them away."
        )
    return files[0] if files else None


def read_ecg(path: Path) -> EcgFile:
    """Read a file of an ECG.

    Raises:
        DataError: it is none, is damaged or too large, is of a format that is not read or only where asked for, or
            what reads it is not installed.
    """
    try:
        return _read(path)
    except ValueError as error:
        raise DataError(f"File {path} {error}.") from error
    except OSError as error:
        raise DataError(f"File {path} cannot be read ({error.strerror or type(error).__name__}).") from error


def _read(path: Path) -> EcgFile:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(256)
    if dicom_files.is_dicom(head):
        if size > dicom_files.MAX_FILE_BYTES:
            raise ValueError(f"is a file of over {dicom_files.MAX_FILE_BYTES} bytes")
        try:
            return read_dicom_ecg(path.read_bytes())
        except (ValueError, DataError):
            raise
        except Exception as error:  # a damaged file fails in many ways
            raise ValueError(f"is a damaged DICOM file ({short(error)})") from error
    return _read_other(path, size)


def _read_other(path: Path, size: int) -> EcgFile:
    try:
        from ecgdatakit.parsing import FileParser
    except ModuleNotFoundError as error:
        raise DataError(
            f"File {path}: files of ECGs need ecgdatakit, which is not installed: pip install 'salus[formats]'."
        ) from error
    known = _format_of(_told(FileParser.detect_format, path).value)
    if size > known.most_bytes:
        raise ValueError(f"is {known.words} of over {known.most_bytes} bytes")
    refuse_boundless(path, known.parser)
    bound_unpacking()
    told = _told(FileParser.parse, path)
    return _leads_of(told.value, known, told.warnings)


@dataclass(frozen=True, eq=False)
class _Told:
    """What a library answered, and what it warned of."""

    value: Any
    warnings: tuple[str, ...]


def _told(read: Callable[[Path], Any], path: Path) -> _Told:
    """Let a library read; whatever it raises on a damaged file becomes some words.

    Raises:
        ValueError: it cannot, in words that follow the file's name.
    """
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            value = read(path)
        except Exception as error:  # a damaged file fails in many ways
            reason = short(error).replace(str(path), "it").replace(path.name, "it")
            raise ValueError(f"cannot be read as an ECG ({reason})") from error
    return _Told(value, tuple(dict.fromkeys(" ".join(str(each.message).split())[:200] for each in said)))


def _format_of(found: Mapping[str, Any] | None) -> EcgFormat:
    """Find the format that a file is in.

    Raises:
        ValueError: it is read by nobody, or only where it is asked for, in words that follow the file's name.
    """
    parser = None if found is None else str(found["parser"])
    known = next((each for each in FORMATS if each.parser == parser), None)
    if known is None:
        if parser in LEFT_OUT:
            raise ValueError(f"is {LEFT_OUT[parser]}; it is not read")
        read = ", ".join(each.words for each in FORMATS if each.checked)
        raise ValueError(f"is no ECG in a format that is read: DICOM, {read}, or a WFDB record")
    if not known.checked and known.name not in asked_for():
        raise ValueError(
            f"is {known.words}, whose reader could not be checked against the original; it is read where "
            f"{VARIABLE}={known.name} is set"
        )
    return known


def _leads_of(record: Any, known: EcgFormat, said: Sequence[str]) -> EcgFile:
    """Take the leads in millivolts out of what was read.

    Raises:
        ValueError: their rate is not known, in words that follow the file's name.
    """
    facts = record.raw_metadata
    if facts.get("sampling_rate_stated") is False:
        raise ValueError(f"is {known.words} that does not say its sampling rate")
    if sum(len(lead.samples) for lead in record.leads) > MOST_SAMPLES:
        raise ValueError(f"holds more than {MOST_SAMPLES} samples")
    notes = [f"read as {known.words}" + ("" if known.checked else ", whose reader is unverified (it was asked for)")]
    for text in said:
        if _DAMAGE.search(text):
            raise ValueError(f"is damaged or has gaps ({text.rstrip('.')})")
        notes.append(text.rstrip("."))
    signals: dict[str, NDArray[np.float64]] = {}
    rates: dict[str, float] = {}
    for number, lead in enumerate(record.leads, 1):
        name = str(lead.label).strip()[:80] or f"channel {number}"
        if lead.is_raw or lead.units != "mV":
            notes.append(f"channel {name} is no voltage and was left out")
            continue
        if name in signals:
            raise ValueError(f"has two leads called {name}")
        signals[name] = np.asarray(lead.samples, dtype=np.float64)
        rates[name] = _rate_of(name, number - 1, float(lead.sampling_rate), facts)
    return EcgFile(signals, rates, known.words, tuple(notes))


def _rate_of(lead: str, place: int, rounded: float, facts: dict[str, Any]) -> float:
    """Tell a lead's sampling rate: the library rounds it to a whole number, and keeps what the file said."""
    exact = facts.get("exact_sampling_rates") or {}
    if lead in exact:
        return float(exact[lead])
    said_rates = facts.get("sampling_rates")
    if isinstance(said_rates, list) and place < len(said_rates):
        return float(said_rates[place])
    time = facts.get("rhythm_time") or {}
    if "sampling_rate_exact" in time:
        said = float(time["sampling_rate_exact"])
        return rounded if math.isclose(said, rounded, rel_tol=1e-5) else said
    interval = facts.get("rhythm_sample_interval_us")
    if interval and round(1e6 / rounded) != interval:  # SCP-ECG has whole microseconds: 2778 are those of 360 Hz
        return float(1e6 / interval)
    return rounded
