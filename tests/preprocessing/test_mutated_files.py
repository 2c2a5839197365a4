"""Files of every format, damaged or forged: read, or refused in one sentence; quickly, and in little memory.

What fails is named by its format and its number, the seed of its mutation: with these two
``faults(whole["png"], "png", range(137, 138), others, watch, seal)`` makes it again.
"""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from preprocessing.conftest import Subject, Watch

FORMATS = (
    "csv", "tsv", "csv of semicolons", "csv of labels and patients", "npz", "npz, compressed", "npy", "png",
    "png of 16 bits", "png with a palette", "png with alpha", "jpeg", "jpeg, grey", "tiff", "tiff, deflated",
    "tiff, lzw", "tiff of 12 bits", "tiff of 16 bits", "tiff of several pages", "bmp", "webp", "ppm", "pgm",
    "wfdb, format 212", "wfdb, format 16", "wfdb in segments", "guard of table", "guard of images",
    "guard of heartbeats",
)  # fmt: skip

#: Mutations of each format: 10,000 in all when soaking.
FEW, MANY = 6, 345

TEXT = (".csv", ".tsv", ".hea", ".json")

#: What stands where a number or a word is expected.
WORDS = (
    "0", "-1", "1e308", "-1e308", "1e-9", "nan", "inf", "1e400", "999999999999", "2147483648", "-2147483649",
    "9" * 400, "", " ", "../x", "/dev/zero", "a" * 5000, "\x00", "1/0", "0x10", "[1]", "%s%n", "http://x.invalid/y",
    "~",
)  # fmt: skip
NUMBERS = (0, 1, -1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 60000, 10**9)
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 2, 0.5, 1e30, 10**30, 10**9, [], {}, "", "x", [1], ["x"], [[]], {"x": 1}, [1, 10**9, 10**9],
    [10**9] * 3, float("nan"), float("inf"), "9" * 400, "../x", [None], [0, 1, 2, 3],
)  # fmt: skip


def _flip(content: bytes, rng: random.Random) -> bytes:
    forged = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if forged:
            forged[_near(forged, rng)] ^= 1 << rng.randrange(8)
    return bytes(forged)


def _truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: _near(content, rng)]


def _repeat(content: bytes, rng: random.Random) -> bytes:
    first, place = _near(content, rng), _near(content, rng)
    piece = content[first : first + rng.choice((1, 4, 64, 4096))]
    return content[:place] + piece * rng.choice((1, 2, 50)) + content[place:]


def _cut_out(content: bytes, rng: random.Random) -> bytes:
    first = _near(content, rng)
    return content[:first] + content[first + rng.choice((1, 2, 16, 512)) :]


def _fill(content: bytes, rng: random.Random) -> bytes:
    first, length = _near(content, rng), rng.choice((1, 2, 4, 16, 256))
    return content[:first] + bytes([rng.choice((0, 0xFF, 0x20, 0x0A))]) * length + content[first + length :]


def _number(content: bytes, rng: random.Random) -> bytes:
    kind = rng.choice(("B", "<H", ">H", "<I", ">I"))
    size = struct.calcsize(kind)
    first = _near(content, rng)
    return content[:first] + struct.pack(kind, rng.choice(NUMBERS) % 256**size) + content[first + size :]


def _word(content: bytes, rng: random.Random) -> bytes:
    """Put something else in the place of a word of a text."""
    marks = [place for place, byte in enumerate(content) if byte in b' ,;\t\n/()":']
    if len(marks) < 2:
        return _flip(content, rng)
    mark = rng.randrange(len(marks) - 1)
    return content[: marks[mark] + 1] + rng.choice(WORDS).encode() + content[marks[mark + 1] :]


def _near(content: bytes | bytearray, rng: random.Random) -> int:
    """Choose a place, every second time one near the beginning, where headers are."""
    length = max(1, len(content))
    return rng.randrange(length if rng.random() < 0.5 else min(length, 64))


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip, _flip, _truncate, _repeat, _cut_out, _fill, _number, _number,
)  # fmt: skip


def mutated(path: Path, others: Mapping[str, bytes], seal: str, rng: random.Random) -> tuple[bytes, str]:
    """Forge the content of a file; say how."""
    content = path.read_bytes()
    if rng.random() < 0.08:
        other = rng.choice(sorted(others))
        length = rng.choice((4, 8, 16, 64, 256))
        return others[other][:length] + content[length:], f"the first {length} bytes are those of {other}"
    if path.suffix == ".json" and rng.random() < 0.8:
        return _json(content, rng)
    if seal == "zip" and rng.random() < 0.5:
        return _zip(content, rng)
    change = _word if path.suffix in TEXT and rng.random() < 0.5 else rng.choice(MUTATIONS)
    forged = change(content, rng)
    if seal == "png" and rng.random() < 0.7:
        return _png(forged), f"{change.__name__}, checksums put right"
    return forged, change.__name__


def _json(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Put another value somewhere into a JSON document."""
    page = json.loads(content)
    holder, trail = page, "page"
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            break
        key = rng.choice(keys)
        trail += f"[{key!r}]"
        inner = holder[key]
        if not isinstance(inner, (dict, list)) or not inner or rng.random() < 0.4:
            if rng.random() < 0.15:
                del holder[key]
                return json.dumps(page).encode(), f"without {trail}"
            value = rng.choice(VALUES)
            holder[key] = value
            return json.dumps(page).encode(), f"{trail} = {value!r}"
        holder = inner
    return b"[" * 100_000, "deep nesting"


def _zip(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Forge one array inside an archive whose checksums are right."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(members))
    change = _word if rng.random() < 0.3 else rng.choice(MUTATIONS)
    members[name] = change(members[name], rng)
    forged = io.BytesIO()
    with zipfile.ZipFile(forged, "w", zipfile.ZIP_DEFLATED) as archive:
        for each, value in members.items():
            archive.writestr(each, value)
    return forged.getvalue(), f"{change.__name__} inside {name}"


def _png(content: bytes) -> bytes:
    """Put the checksums of a PNG file's chunks right."""
    forged, place = bytearray(content), 8
    while place + 12 <= len(forged):
        length = int.from_bytes(forged[place : place + 4], "big")
        end = place + 8 + length
        if end + 4 > len(forged):
            break
        forged[end : end + 4] = zlib.crc32(forged[place + 4 : end]).to_bytes(4, "big")
        place = end + 4
    return bytes(forged)


def faults(
    subject: Subject,
    name: str,
    numbers: range,
    others: Mapping[str, bytes],
    watch: Watch,
    seal: Callable[[Path], None],
) -> list[str]:
    """Mutate files of one format; say what went wrong."""
    found = []
    kept = {path: path.read_bytes() for path in subject.folder.rglob("*") if path.is_file()}
    for number in numbers:
        rng = random.Random(f"{name} {number}")
        file = rng.choice(subject.files)
        path = subject.folder / file
        content, how = mutated(path, others, subject.seal, rng)
        path.write_bytes(content)
        if subject.seal == "bundle" and rng.random() < 0.8:
            seal(subject.folder)
            how += ", sealed"
        for place, read in enumerate(subject.readers):
            fault, _ = watch.fault(read)
            if fault is not None:
                found.append(f"{name} {number}, reader {place}, {file}: {how}: {fault}")
        for changed, whole in kept.items():
            if changed.read_bytes() != whole:
                changed.write_bytes(whole)
    here = {path for path in subject.folder.rglob("*") if path.is_file()}
    if here != set(kept):
        found.append(f"{name}: files were added or lost: {sorted(map(str, here ^ set(kept)))}")
    return found


@pytest.fixture(scope="session")
def others(whole: dict[str, Subject]) -> dict[str, bytes]:
    """A whole file of every format, for its head."""
    return {name: (subject.folder / subject.files[-1]).read_bytes() for name, subject in whole.items()}


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_read_or_refused_in_one_sentence(
    name: str, whole: dict[str, Subject], others: dict[str, bytes], watch: Watch, seal: Callable[[Path], None]
) -> None:
    found = faults(whole[name], name, range(FEW), others, watch, seal)
    assert not found, "\n".join(found)


@pytest.mark.soak
@pytest.mark.parametrize("name", FORMATS)
def test_of_ten_thousand_damaged_files_each_is_read_or_refused_in_one_sentence(
    name: str, whole: dict[str, Subject], others: dict[str, bytes], watch: Watch, seal: Callable[[Path], None]
) -> None:
    found = faults(whole[name], name, range(FEW, FEW + MANY), others, watch, seal)
    assert not found, "\n".join(found)


def test_every_format_is_mutated(whole: dict[str, Subject]) -> None:
    assert set(whole) == set(FORMATS)
    assert len(FORMATS) * MANY >= 10_000
