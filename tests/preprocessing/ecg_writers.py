"""Files of ECGs, written after the published standards by hand, and of DICOM by pydicom: for tests and measurements.

Every writer takes stored samples, whole numbers ``[T, C]``, the names of their leads, samples a second and the size of
a step in microvolts, and gives the bytes of a file.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

Stored = NDArray[np.int64]

#: Lead numbers of SCP-ECG (EN 1064, section 3), which MFER and DICOM share but for a few.
SCP = {
    "I": 1, "II": 2, "V1": 3, "V2": 4, "V3": 5, "V4": 6, "V5": 7, "V6": 8, "III": 61, "aVR": 62, "aVL": 63, "aVF": 64,
}  # fmt: skip

#: The leads of a resting ECG in their order.
TWELVE = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


#: What the recorder of :func:`heart` is: samples a second, microvolts of a step, and the samples of eleven seconds.
RATE, STEP, LENGTH = 360, 5.0, 3960


def heart(leads: Sequence[str] = TWELVE) -> Stored:
    """Stored samples of a steady heart ``[LENGTH, C]``: a narrow wave every 0.83 s, a broad one after it."""
    time = np.arange(LENGTH)[:, None]
    peaks = np.arange(240, LENGTH - 200, 300)
    waves = 1.1 * np.exp(-(((time - peaks) / 4.0) ** 2)) + 0.3 * np.exp(-(((time - peaks - 90) / 15.0) ** 2))
    first = waves.sum(1) + 0.03 * np.sin(np.arange(LENGTH) / 57.0)
    second = 0.6 * first + 0.02 * np.cos(np.arange(LENGTH) / 31.0)
    whole = {"I": np.rint(second * 1000 / STEP), "II": np.rint(first * 1000 / STEP)}
    whole["III"] = whole["II"] - whole["I"]
    whole["aVR"] = -np.floor((whole["I"] + whole["II"]) / 2)
    whole["aVL"] = np.floor((whole["I"] - whole["III"]) / 2)
    whole["aVF"] = np.floor((whole["II"] + whole["III"]) / 2)
    for number in range(1, 7):
        whole[f"V{number}"] = np.rint((0.2 * number * first - 0.1 * second) * 1000 / STEP)
    return np.stack([whole[lead] for lead in leads], 1).astype(np.int64)


def scp(stored: Stored, leads: Sequence[str], rate: float, step: float, *, huffman: bool = False) -> bytes:
    """SCP-ECG (EN 1064): sections 0, 1, 3 and 6, and 2 where the default Huffman table is used."""
    count = len(stored)
    section1 = _tag(2, b"P1\0") + _tag(25, struct.pack("<HBB", 2026, 1, 2)) + _tag(26, bytes((8, 0, 0))) + b"\xff\0\0"
    section3 = bytes((len(leads), 0x04 | len(leads) << 3))
    for lead in leads:
        section3 += struct.pack("<IIB", 1, count, SCP[lead])
    difference = 2 if huffman else 0
    columns = [stored[:, place].astype(np.int64) for place in range(len(leads))]
    packed = [_huffman(_differences(column)) if huffman else column.astype("<i2").tobytes() for column in columns]
    section6 = struct.pack("<HHBB", round(step * 1000), round(1e6 / rate), difference, 0)
    section6 += b"".join(struct.pack("<H", len(each)) for each in packed) + b"".join(packed)
    bodies = {1: section1, 3: section3, 6: section6}
    if huffman:
        bodies[2] = struct.pack("<H", 19999)
    return _scp_record(bodies)


def _tag(number: int, value: bytes) -> bytes:
    return struct.pack("<BH", number, len(value)) + value


def _differences(column: Stored) -> Stored:
    """Second differences, the first two samples as they are."""
    return np.concatenate([column[:2], column[2:] - 2 * column[1:-1] + column[:-2]])


def _huffman(values: Stored) -> bytes:
    """Code values by the default table of EN 1064, annex C."""
    bits = []
    for value in values.tolist():
        size = abs(value)
        if value == 0:
            bits.append("0")
        elif size <= 8:
            bits.append("1" * size + "0" + ("0" if value > 0 else "1"))
        elif -128 <= value < 128:
            bits.append("1111111110" + format(value & 0xFF, "08b"))
        else:
            bits.append("1111111111" + format(value & 0xFFFF, "016b"))
    text = "".join(bits)
    text += "0" * (-len(text) % 16)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def _scp_record(bodies: dict[int, bytes]) -> bytes:
    numbers = range(12)
    padded = {number: body + b"\0" * (len(body) % 2) for number, body in bodies.items()}
    length0 = 16 + 10 * len(numbers)
    place, pointers, rest = 6 + length0, struct.pack("<HII", 0, length0, 7), b""
    for number in numbers[1:]:
        body = padded.get(number)
        size = 0 if body is None else 16 + len(body)
        pointers += struct.pack("<HII", number, size, place + 1 if size else 0)
        if body is not None:
            rest += _scp_section(number, body)
            place += size
    record = _scp_section(0, pointers, b"SCPECG") + rest
    whole = struct.pack("<I", 6 + len(record)) + record
    return struct.pack("<H", binascii.crc_hqx(whole, 0xFFFF)) + whole


def _scp_section(number: int, body: bytes, reserved: bytes = b"\0" * 6) -> bytes:
    section = struct.pack("<HIBB", number, 16 + len(body), 20, 20) + reserved + body
    return struct.pack("<H", binascii.crc_hqx(section, 0xFFFF)) + section


def scp_sealed(content: bytes) -> bytes:
    """Put the checksums of a forged SCP-ECG record right, as far as its sections can be found."""
    record = bytearray(content)
    if len(record) < 38:
        return content
    for place in range(22, min(6 + struct.unpack_from("<I", record, 10)[0], len(record)) - 9, 10):
        number, size, index = struct.unpack_from("<HII", record, place)
        start = index - 1
        if number < 12 and 2 < size < 2**24 and start >= 0 and start + size <= len(record):
            struct.pack_into("<H", record, start, binascii.crc_hqx(bytes(record[start + 2 : start + size]), 0xFFFF))
    size = struct.unpack_from("<I", record, 2)[0]
    struct.pack_into("<H", record, 0, binascii.crc_hqx(bytes(record[2 : min(size, len(record))]), 0xFFFF))
    return bytes(record)


def mfer(stored: Stored, leads: Sequence[str], rate: float, step: float) -> bytes:
    """MFER (ISO 22077-1): big-endian, 16 bits, one sequence of one block a lead."""
    count, channels = stored.shape

    def item(tag: int, value: bytes) -> bytes:
        size = len(value)
        length = bytes((size,)) if size < 0x80 else b"\x84" + struct.pack(">I", size)
        return bytes((tag,)) + length + value

    parts = [item(0x40, b"MFR Standard 12 leads ECG".ljust(32)), item(0x01, b"\0"), item(0x08, struct.pack(">H", 1))]
    parts += [item(0x05, bytes((channels,))), item(0x04, struct.pack(">I", count)), item(0x06, struct.pack(">I", 1))]
    parts += [item(0x0B, struct.pack(">Bbi", 0, 0, round(rate)))]
    for place, lead in enumerate(leads):
        inner = item(0x09, struct.pack(">H", SCP[lead])) + item(0x0A, b"\0")  # BioSig wants type and step of each
        inner += item(0x0C, struct.pack(">Bbi", 0, -9, round(step * 1000)))
        parts.append(bytes((0x3F, place, len(inner))) + inner)
    parts.append(item(0x1E, stored.T.astype(">i2").tobytes()))
    return b"".join(parts) + b"\x80\0"


def philips(stored: Stored, leads: Sequence[str], rate: float, step: float) -> bytes:
    """Philips Sierra XML 1.03 of twelve leads, its waveforms in XLI: what the published decoders undo."""
    if tuple(leads) != tuple(TWELVE):
        raise ValueError("the twelve leads in their order")
    i, ii, iii, avr, avl, avf, *chest = (stored[:, place].astype(np.int64) for place in range(12))
    kept = [i, ii, ii - i - iii, -avr - (i + ii) // 2, (i - iii) // 2 - avl, (ii + iii) // 2 - avf, *chest]
    text = base64.b64encode(b"".join(map(_xli, kept))).decode()
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<restingecgdata xmlns="http://www3.medical.philips.com">
<documentinfo><documentname>x</documentname><documenttype>SierraECG</documenttype>
<documentversion>1.03</documentversion></documentinfo>
<dataacquisition date="2026-01-02" time="08:00:00"><signalcharacteristics><samplingrate>{rate:g}</samplingrate>
<signalresolution>{step:g}</signalresolution><acquisitiontype>STD-12</acquisitiontype><bitspersample>16</bitspersample>
<signaloffset>0</signaloffset><signalsigned>True</signalsigned><numberchannelsallocated>12</numberchannelsallocated>
<numberchannelsvalid>12</numberchannelsvalid><leadset>STD-12</leadset></signalcharacteristics></dataacquisition>
<waveforms><parsedwaveforms compressflag="True" compressmethod="XLI" filterflag="True" dataencoding="Base64"
durationperchannel="{1000 * len(stored) / rate:g}" nbitspersample="16">{text}</parsedwaveforms></waveforms>
</restingecgdata>""".encode()


def _xli(column: Stored) -> bytes:
    """Pack one lead: what second differences miss, around 64; high bytes before low ones; LZW with codes of 10 bits."""
    missed = 2 * column[1:-1] - column[:-2] - column[2:]
    codes = np.concatenate([column[:2], missed[1:] + 64, [64]])
    words = codes.astype(">i2").view(np.uint8).reshape(-1, 2)
    packed = _lzw(words[:, 0].tobytes() + words[:, 1].tobytes())
    return struct.pack("<iHh", len(packed), 0, int(missed[0])) + packed


def _lzw(content: bytes) -> bytes:
    known = {bytes((each,)): each for each in range(256)}
    word, bits = b"", []
    for byte in content:
        longer = word + bytes((byte,))
        if longer in known:
            word = longer
            continue
        bits.append(format(known[word], "010b"))
        if len(known) < 1023:
            known[longer] = len(known)
        word = bytes((byte,))
    bits.append(format(known[word], "010b"))
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def dicom_ecg(
    stored: Stored, leads: Sequence[str], rate: float, step: float, *, scheme: str = "SCPECG", baseline: float = 0.0
) -> bytes:
    """DICOM 12-lead ECG Waveform Storage, by pydicom."""
    from pydicom.dataset import Dataset
    from pydicom.uid import ExplicitVRLittleEndian

    dataset = _dataset("1.2.840.10008.5.1.4.1.1.9.1.1", "ECG", ExplicitVRLittleEndian)
    group = Dataset()
    group.MultiplexGroupLabel, group.WaveformOriginality = "RHYTHM", "ORIGINAL"
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = len(leads), len(stored)
    group.SamplingFrequency = f"{rate:g}"
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    channels = []
    for lead in leads:
        channel, source, unit = Dataset(), Dataset(), Dataset()
        source.CodeValue = f"5.6.3-9-{SCP[lead]}" if scheme == "SCPECG" else f"2:{SCP[lead]}"
        source.CodingSchemeDesignator, source.CodeMeaning = scheme, f"Lead {lead}"
        unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "uV", "UCUM", "microvolt"
        channel.ChannelSourceSequence, channel.ChannelSensitivityUnitsSequence = [source], [unit]
        channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor = f"{step:g}", "1"
        channel.ChannelBaseline, channel.WaveformBitsStored = f"{baseline:g}", 16
        channels.append(channel)
    group.ChannelDefinitionSequence = channels
    group.add_new(0x54001010, "OW", stored.astype("<i2").tobytes())
    dataset.WaveformSequence = [group]
    return _bytes_of(dataset)


def dicom_image(levels: NDArray[Any], **elements: Any) -> bytes:
    """DICOM secondary capture of levels ``[H, W]``, ``[H, W, 3]`` or frames of these, by pydicom.

    Args:
        levels: uint8, uint16 or int16.
        **elements: others by their keywords, in place of those that the levels suggest.
    """
    from pydicom.uid import ExplicitVRLittleEndian

    syntax = elements.pop("TransferSyntaxUID", ExplicitVRLittleEndian)
    dataset = _dataset("1.2.840.10008.5.1.4.1.1.7", "OT", syntax)
    colours = levels.ndim >= 3 and levels.shape[-1] == 3
    dataset.Rows, dataset.Columns = levels.shape[-3:-1] if colours else levels.shape[-2:]
    dataset.SamplesPerPixel = 3 if colours else 1
    dataset.PhotometricInterpretation = "RGB" if colours else "MONOCHROME2"
    if colours:
        dataset.PlanarConfiguration = 0
    bits = 8 * levels.dtype.itemsize
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(levels.dtype.kind == "i")
    if levels.ndim > (3 if colours else 2):
        dataset.NumberOfFrames = len(levels)
    content = levels.tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OW" if bits == 16 else "OB"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    if "BitsStored" in elements and "HighBit" not in elements:
        dataset.HighBit = dataset.BitsStored - 1
    return _bytes_of(dataset)


def _dataset(kind: str, modality: str, syntax: Any) -> Any:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID

    dataset, meta = Dataset(), FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(kind), UID("1.2.3.4")
    meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = kind, "1.2.3.4", modality
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3.5", "1.2.3.6"
    dataset.PatientID, dataset.PatientName = "", ""
    return dataset


def _bytes_of(dataset: Any) -> bytes:
    content = BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    return content.getvalue()
