"""What a file of an ECG may ask of its reader, checked first: a few bytes may promise any number of samples."""

from __future__ import annotations

import struct
import threading
from pathlib import Path

#: Tags of an XML document; those of a resting ECG are some thousands. As many, one in another, take half a second.
MOST_TAGS = 100_000

#: Bytes that the compressed waveforms of one file may unpack to: two million samples, minutes of twelve leads.
MOST_UNPACKED = 2**22

_POINTERS, _SECTION = 22, struct.Struct("<HII")


def refuse_boundless(path: Path, parser: str) -> None:
    """Refuse a file that promises more than its bytes hold.

    Args:
        path: of the file, which is no longer than its format's files may be.
        parser: the class of ecgdatakit's that will read it.

    Raises:
        ValueError: it does, in words that follow the file's name.
    """
    if path.suffix.lower() == ".xml" or parser.endswith(("XMLParser", "aECGParser", "EL250Parser")):
        tags = path.read_bytes().count(b"<")
        if tags > MOST_TAGS:
            raise ValueError(f"has {tags} tags, more than {MOST_TAGS}")
    if parser == "SCPECGParser":
        _refuse_endless_scp(path.read_bytes())
    _BUDGET.left = MOST_UNPACKED


def _refuse_endless_scp(content: bytes) -> None:
    """Compare the samples that SCP-ECG's section 3 promises with the bits that there are: one a sample at the least."""
    (length,) = struct.unpack_from("<I", content, 10)
    for place in range(_POINTERS, min(6 + length, len(content)) - _SECTION.size + 1, _SECTION.size):
        number, size, index = _SECTION.unpack_from(content, place)
        if number != 3 or size < 18:
            continue
        body = content[index - 1 + 16 : index - 1 + size]
        promised = 0
        for lead in range(2, min(2 + 9 * body[0], len(body) - 8) if body else 0, 9):
            first, last = struct.unpack_from("<II", body, lead)
            promised += max(0, last - first + 1)
        if promised > 8 * len(content):
            raise ValueError(f"promises {promised} samples in {len(content)} bytes")


class _Budget(threading.local):
    """Bytes that may still be unpacked of the file that this thread reads."""

    left = MOST_UNPACKED


_BUDGET = _Budget()


def bound_unpacking() -> None:
    """Let ecgdatakit's unpacking of Philips' waveforms stop: LZW makes hundreds of bytes of one."""
    from ecgdatakit.parsing.codecs import xli
    from ecgdatakit.parsing.codecs.lzw import LzwDecoder

    if vars(xli)["LzwDecoder"] is not LzwDecoder:
        return

    class Bounded(LzwDecoder):
        def read_all(self) -> bytes:
            unpacked = bytearray()
            read = self._read_next_string
            while len(piece := read()) > 0:
                unpacked.extend(piece)
                _BUDGET.left -= len(piece)
                if _BUDGET.left < 0:
                    raise ValueError(f"its waveforms unpack to more than {MOST_UNPACKED} bytes")
            return bytes(unpacked)

    setattr(xli, "LzwDecoder", Bounded)  # noqa: B010  # it names none of its own
