"""The ECG of a DICOM file: leads by their codes, in millivolts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from salus.preprocessing.dicom_files import kind_of, number_of, read_dataset
from salus.preprocessing.ecg_file import MOST_SAMPLES, EcgFile

if TYPE_CHECKING:
    from pydicom import Dataset

#: Leads by the number that both code systems of DICOM give them: MDC ``2:1`` and SCPECG ``5.6.3-9-1`` are lead I.
LEADS = {
    1: "I", 2: "II", 3: "V1", 4: "V2", 5: "V3", 6: "V4", 7: "V5", 8: "V6", 9: "V7", 11: "V3R", 12: "V4R", 13: "V5R",
    14: "V6R", 15: "V7R", 16: "X", 17: "Y", 18: "Z", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF", 65: "-aVR", 66: "V8",
    67: "V9", 68: "V8R", 69: "V9R",
}  # fmt: skip

_CODES = {"MDC": re.compile(r"2:(\d{1,3})"), "SCPECG": re.compile(r"5\.6\.3-9-(\d{1,3})")}

#: Units of voltage (UCUM) in millivolts.
MILLIVOLTS = {"V": 1e3, "mV": 1.0, "uV": 1e-3, "µV": 1e-3, "nV": 1e-6}

#: How samples are stored: bits and interpretation -> type.
_TYPES = {(8, "SB"): "i1", (8, "UB"): "u1", (16, "SS"): "i2", (16, "US"): "u2", (32, "SL"): "i4", (32, "UL"): "u4"}

#: What a group of channels that are averages is called by.
_MEDIAN = re.compile(r"median|average|representative|template", re.IGNORECASE)


def read_dicom_ecg(content: bytes) -> EcgFile:
    """Read the leads of a DICOM waveform.

    Raises:
        ValueError: it holds none, or is not read, in words that follow the file's name.
    """
    dataset = read_dataset(content)
    groups = list(dataset.get("WaveformSequence") or [])
    if not groups:
        raise ValueError(f"is a DICOM file that holds no ECG ({kind_of(dataset)})")
    group, notes = _measured(groups)
    rate = number_of(group.get("SamplingFrequency"), "sampling frequency")
    samples = _samples(group, _big(dataset))  # [T, C]
    signals: dict[str, NDArray[np.float64]] = {}
    for place, channel in enumerate(group.ChannelDefinitionSequence):
        name = _name_of(channel, place)
        scale, words = _scale_of(channel)
        if scale is None:
            notes.append(f"channel {name} is no voltage ({words}) and was left out")
            continue
        if name in signals:
            raise ValueError(f"has two channels that are lead {name}")
        signals[name] = (
            samples[:, place] * scale + number_of(channel.get("ChannelBaseline"), "baseline", 0.0) * (MILLIVOLTS[words])
        )
        late = number_of(channel.get("ChannelTimeSkew"), "time skew", 0.0)
        if late:
            notes.append(f"lead {name} begins {late:g} s later than the group, which was not put right")
    return EcgFile(signals, dict.fromkeys(signals, rate), "DICOM", ("read as DICOM", *notes))


def _measured(groups: list[Dataset]) -> tuple[Dataset, list[str]]:
    """Take the group of channels that were measured; averages of them are left out.

    Raises:
        ValueError: there is none, or there are several, in words that follow the file's name.
    """
    labels = [str(group.get("MultiplexGroupLabel", "") or f"group {n}") for n, group in enumerate(groups, 1)]
    rows = [
        row
        for row, group in enumerate(groups)
        if str(group.get("WaveformOriginality", "ORIGINAL")) != "DERIVED" and not _MEDIAN.search(labels[row])
    ]
    if len(rows) != 1:
        raise ValueError(
            f"has {len(rows)} groups of measured channels, not one ({', '.join(labels[:6])}); keep one a file"
        )
    others = [labels[row] for row in range(len(groups)) if row != rows[0]]
    return groups[rows[0]], [f"the group {other} was left out" for other in others]


def _big(dataset: Dataset) -> bool:
    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    return syntax is not None and not getattr(syntax, "is_little_endian", True)


def _samples(group: Dataset, big: bool) -> NDArray[np.float64]:
    """Read stored samples, float64 ``[T, C]``; NaN where there is padding."""
    bits = int(number_of(group.get("WaveformBitsAllocated"), "number of bits"))
    interpretation = str(group.get("WaveformSampleInterpretation", ""))
    kind = _TYPES.get((bits, interpretation))
    if kind is None:
        raise ValueError(f"has samples of {bits} bits of the kind {interpretation[:10]!r}, which are not read")
    count = int(number_of(group.get("NumberOfWaveformSamples"), "number of samples"))
    channels = int(number_of(group.get("NumberOfWaveformChannels"), "number of channels"))
    data = group.get("WaveformData")
    definitions = len(group.get("ChannelDefinitionSequence") or [])
    if channels < 1 or count < 1 or channels != definitions:
        raise ValueError(f"promises {channels} channels of {count} samples and describes {definitions}")
    if channels * count > MOST_SAMPLES:
        raise ValueError(f"promises {channels * count} samples; {MOST_SAMPLES} are read at most")
    wanted = channels * count * bits // 8
    if not isinstance(data, bytes) or len(data) < wanted:
        raise ValueError(f"is cut short: it promises {wanted} bytes of samples and holds {len(data or b'')}")
    kind = kind if bits == 8 else (">" if big else "<") + kind
    stored = np.frombuffer(data, kind, count=channels * count).reshape(count, channels)
    samples = stored.astype(np.float64)
    padding = group.get("WaveformPaddingValue")
    if isinstance(padding, bytes) and len(padding) >= bits // 8:
        samples[stored == np.frombuffer(padding, kind, count=1)[0]] = np.nan
    return samples


def _name_of(channel: Dataset, place: int) -> str:
    """Name a channel by the code of its source; by the meaning of the code where it is no lead's."""
    sources = channel.get("ChannelSourceSequence") or []
    if sources:
        source = sources[0]
        pattern = _CODES.get(str(source.get("CodingSchemeDesignator", "")))
        match = pattern.fullmatch(str(source.get("CodeValue", ""))) if pattern else None
        if match and int(match[1]) in LEADS:
            return LEADS[int(match[1])]
        meaning = str(source.get("CodeMeaning", "") or "").strip()
        if meaning:
            return meaning
    return str(channel.get("ChannelLabel", "") or "").strip() or f"channel {place + 1}"


def _scale_of(channel: Dataset) -> tuple[float | None, str]:
    """Tell how many millivolts one step is, and the unit; None and the unit where it is no voltage."""
    units = channel.get("ChannelSensitivityUnitsSequence") or []
    unit = str(units[0].get("CodeValue", "")) if units else ""
    if unit not in MILLIVOLTS:
        return None, unit or "no unit"
    sensitivity = number_of(channel.get("ChannelSensitivity"), "sensitivity of a channel")
    correction = number_of(channel.get("ChannelSensitivityCorrectionFactor"), "correction of a sensitivity", 1.0)
    return sensitivity * correction * MILLIVOLTS[unit], unit
