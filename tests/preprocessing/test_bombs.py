"""Small files that ask for much: memory, time, or places that are none of theirs."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from salus.data import load
from salus.guard import Guard
from salus.preprocessing import things

if TYPE_CHECKING:
    from preprocessing.conftest import Subject, Watch


def npy(shape: object, follows: bytes = b"\0" * 64, descr: str = "<f4") -> bytes:
    """An array whose header says what it likes."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + follows


def npz(**members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, member in members.items():
            archive.writestr(f"{name}.npy", member)
    return content.getvalue()


def unpacking_to(mebibytes: int) -> bytes:
    content, rows = io.BytesIO(), mebibytes * 2**16
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("y.npy", npy((rows,), b"\0" * 64))
        info = zipfile.ZipInfo("x.npy")
        info.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(info, "w", force_zip64=True) as member:
            member.write(npy((rows, 4), b""))
            for _ in range(mebibytes):
                member.write(bytes(2**20))
    return content.getvalue()


ARRAYS: dict[str, Callable[[], bytes]] = {
    "10^12 rows": lambda: npz(x=npy((10**12, 4)), y=npy((10**12,))),
    "10^12 rows without values": lambda: npz(x=npy((10**12, 0)), y=npy((10**12, 0))),
    "10^12 empty words": lambda: npz(x=npy((2, 2)), y=npy((10**12,), b"", "<U0")),
    "a product that is 0 in 64 bits": lambda: npz(x=npy((2**32, 2**32)), y=npy((2,))),
    "fewer rows than none": lambda: npz(x=npy((-1, 4)), y=npy((-1,))),
    "words of 2 GB": lambda: npz(x=npy((2, 2)), y=npy((2,), b"\0" * 64, "<U268435456")),
    "a header of 4 GB": lambda: npz(x=b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b" " * 99, y=npy((2,))),
    "a nested header": lambda: npz(x=npy("(" * 3000), y=npy((2,))),
    "words of no characters": lambda: npz(x=npy((2, 2)), y=npy((4,), b"\xff" * 16, "<U1")),
    "16 MiB in a few KiB": lambda: unpacking_to(16),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_promise_too_much_are_refused(
    name: str, whole: dict[str, Subject], watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(things, "MAX_UNPACKED", 2**22)
    path = whole["npz"].folder / "bomb.npz"
    path.write_bytes(ARRAYS[name]())
    guard = Guard.load(whole["guard of table"].folder)
    try:
        for read in (lambda: load(path), lambda: guard.judge(path)):
            fault, refusal = watch.fault(read)
            assert fault is None and refusal is not None
    finally:
        path.unlink()


@pytest.mark.parametrize(
    "content", [npy((10**12, 4)), npy((10**12, 0)), npy((2**32, 2**32)), npy((-1, 4)), npy("1" * 9000)]
)
def test_bare_arrays_that_promise_too_much_are_refused(content: bytes, whole: dict[str, Subject], watch: Watch) -> None:
    subject = whole["npy"]
    for file in subject.files:
        kept = (subject.folder / file).read_bytes()
        (subject.folder / file).write_bytes(content)
        outcomes = [watch.fault(read) for read in subject.readers]
        (subject.folder / file).write_bytes(kept)
        assert [fault for fault, _ in outcomes] == [None, None]
        assert outcomes[1][1] is not None


def png(width: int, height: int, *extra: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    texts = b"".join(chunk(b"zTXt", each) for each in extra)
    body = zlib.compress(bytes(min(width * height + height, 2**20)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + texts + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def tiff(*directories: tuple[int, list[tuple[int, int, int, int]]], end: bytes = b"") -> bytes:
    """A TIFF of directories that lie behind each other, each with the place of the next one."""
    parts = [b"II*\0" + struct.pack("<I", 8)]
    for following, entries in directories:
        parts.append(struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries))
        parts.append(struct.pack("<I", following))
    return b"".join(parts) + end


def page(width: int, height: int, offset: int = 8) -> list[tuple[int, int, int, int]]:
    return [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, 1, offset), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, min(width * height, 2**31)),
    ]  # fmt: skip


#: One strip of sixteen rows.
SHORT = [(278, 4, 1, 16), (279, 4, 1, 256)]


def chain(length: int) -> bytes:
    """A TIFF of many pages that have nothing in them but a size."""
    size = 2 + 12 * 9 + 4
    return tiff(*((8 + (number + 1) * size if number < length - 1 else 0, page(4, 4)) for number in range(length)))


IMAGES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "png of 60000x60000": ("png", lambda: png(60000, 60000)),
    "png of 2^31 columns": ("png", lambda: png(2**31 - 1, 1)),
    "png with a text of 64 MiB": ("png", lambda: png(16, 16, b"a\0\0" + zlib.compress(bytes(2**26), 1))),
    "pages in a circle": ("tif", lambda: tiff((8, page(16, 16)), end=bytes(256))),
    "pages in a circle of two": ("tif", lambda: tiff((8 + 114, page(16, 16)), (8, page(16, 16)), end=bytes(256))),
    "10,000 pages": ("tif", lambda: chain(10_000)),
    "a tiff of one strip of many": ("tif", lambda: tiff((0, [*page(16, 10**6)[:7], *SHORT]))),
    "tiff of 60000x60000": ("tif", lambda: tiff((0, page(60000, 60000)))),
    "a tag of 4 GB": ("tif", lambda: tiff((0, [*page(16, 16), (270, 2, 2**32 - 1, 8)]))),
    "a tag of 2^30 fractions": ("tif", lambda: tiff((0, [*page(16, 16), (282, 5, 2**30, 8)]))),
    "bmp of 2^31 rows": (
        "bmp",
        lambda: b"BM" + struct.pack("<IHHIIiiHH", 99, 0, 0, 54, 40, 4, -(2**31), 1, 24) + bytes(60),
    ),
    "pgm of 10^9 columns": ("pgm", lambda: b"P5 1000000000 1000000000 255\n" + bytes(99)),
    "pgm of a number of 10^6 digits": ("pgm", lambda: b"P5 " + b"1" * 10**6 + b" 4 255\n" + bytes(99)),
    "jpeg of 65535x65535": (
        "jpg",
        lambda: b"\xff\xd8\xff\xc0\x00\x0b\x08\xff\xff\xff\xff\x01\x01\x11\x00\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
        + bytes(99),
    ),
}  # fmt: skip


#: What is wrong with these is no matter to a reader of the picture.
READ = ("png with a text of 64 MiB", "pages in a circle", "a tag of 4 GB", "a tag of 2^30 fractions")


@pytest.mark.parametrize("name", IMAGES)
def test_images_that_promise_too_much_are_refused(name: str, whole: dict[str, Subject], watch: Watch) -> None:
    suffix, make = IMAGES[name]
    subject = whole[{"tif": "tiff, deflated", "jpg": "jpeg, grey"}.get(suffix, suffix)]
    path = subject.folder / subject.files[0]
    kept = path.read_bytes()
    path.write_bytes(make())
    outcomes = [watch.fault(read) for read in subject.readers]
    path.write_bytes(kept)
    assert [fault for fault, _ in outcomes] == [None, None]
    if name not in READ:
        assert outcomes[0][1] is None, "the other images are loaded"
        assert outcomes[1][1] is not None


TABLES: dict[str, Callable[[], str]] = {
    "a line of 50 MB": lambda: "a" * (50 * 10**6),
    "a line of 50 MB of cells": lambda: "age," * (12 * 10**6),
    "8 million columns without names": lambda: "age" + "," * (8 * 10**6),
    "100,000 columns": lambda: ",".join(f"c{n}" for n in range(100_000)) + "\n",
    "a cell of 10 MB": lambda: "age,pressure [mmHg],sex,label\n1,2," + "f" * 10**7 + ",ill\n",
    "a cell of 10 MB in quotes": lambda: 'age,pressure [mmHg],sex,label\n1,2,"' + "f\n" * (5 * 10**6) + '",ill\n',
    "a quote that never ends": lambda: 'age,pressure [mmHg],sex,label\n"' + "1,2,f,ill\n" * 10**6,
    "a word of 100,000 letters": lambda: "age,pressure [mmHg],sex,label\n1,2," + "f" * 10**5 + ",ill\n",
    "a number of 100,000 digits": lambda: "age,pressure [mmHg],sex,label\n" + "1" * 10**5 + ",2,f,ill\n",
    "a label of 100,000 letters": lambda: "age,pressure [mmHg],sex,label\n1,2,f," + "i" * 10**5 + "\n",
    "a name of 100,000 letters": lambda: "age,pressure [mmHg],sex," + "l" * 10**5 + "\n1,2,f,ill\n",
    "20,000 classes": lambda: "age,pressure [mmHg],sex,label\n" + "".join(f"1,2,f,c{n}\n" for n in range(20_000)),
    "a line of a million empty cells": lambda: "age,pressure [mmHg],sex,label\n" + "," * 10**6,
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_that_never_end_are_refused(name: str, whole: dict[str, Subject], watch: Watch) -> None:
    subject = whole["csv"]
    path = subject.folder / subject.files[0]
    kept = path.read_bytes()
    path.write_text(TABLES[name]())
    outcomes = [watch.fault(read) for read in subject.readers]
    path.write_bytes(kept)
    assert [fault for fault, _ in outcomes] == [None, None]
    assert outcomes[0][1] is not None


LINES = "rec.dat 16 200(0)/mV 16 0 0 0 0 MLII\nrec.dat 16 200(0)/mV 16 0 0 0 0 V1\n"
RECORDS: dict[str, str] = {
    "10^9 leads": f"rec 1000000000 360 5600\n{LINES}",
    "10^9 leads and a segment": "rec/1 1000000000 360 5600\none 5600\n",
    "a rate of 1e-9": f"rec 2 0.000000001 5600\n{LINES}",
    "a rate of 0.01": f"rec 2 0.01 5600\n{LINES}",
    "a rate of 10^12": f"rec 2 1000000000000 5600\n{LINES}",
    "a rate of 400 digits": f"rec 2 {'9' * 400} 5600\n{LINES}",
    "a rate that is no fraction": f"rec 2 41.00009 5600\n{LINES}",
    "10^12 samples": f"rec 2 360 1000000000000\n{LINES}",
    "10^9 segments": "rec/1000000000 2 360 5600\none 2800\ntwo 2800\n",
    "segments that are itself": "rec/2 2 360 5600\nrec 2800\nrec 2800\n",
    "a segment of 10^12 samples": "rec/2 2 360 1000000002800\none 2800\n~ 1000000000000\n",
    "10^9 samples a frame": "rec 2 360 5600\n" + LINES.replace(" 16 200", " 16x1000000000 200"),
    "a skew of 10^12": "rec 2 360 5600\n" + LINES.replace(" 16 200", " 16:1000000000000 200"),
    "an offset of 10^15": "rec 2 360 5600\n" + LINES.replace(" 16 200", " 16+1000000000000000 200"),
    "a gain of 0": "rec 2 360 5600\n" + LINES.replace("200(", "0("),
    "a gain of 1e-300": "rec 2 360 5600\n" + LINES.replace("200(", "1e-300("),
    "a device for its signal": "rec 2 360 5600\n" + LINES.replace("rec.dat", "/dev/zero"),
    "a signal in the net": "rec 2 360 5600\n" + LINES.replace("rec.dat", "http://127.0.0.1:9/rec.dat"),
    "a signal elsewhere": "rec 2 360 5600\n" + LINES.replace("rec.dat", "../../../../../etc/passwd"),
    "100,000 lines": "rec/100000 2 360 5600\n" + "one 1\n" * 100_000,
    "a line of 10 MB": "rec 2 360 5600" + " " * 10**7 + "x\n" + LINES,
    "comments of 10 MB": f"rec 2 360 5600\n{LINES}" + "#\n" * (5 * 10**6),
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDS)
def test_headers_that_promise_too_much_are_refused(name: str, whole: dict[str, Subject], watch: Watch) -> None:
    subject = whole["wfdb in segments" if "segment" in name or "lines" in name else "wfdb, format 16"]
    path = subject.folder / "rec.hea"
    kept = path.read_bytes()
    path.write_text(RECORDS[name])
    outcomes = [watch.fault(read) for read in subject.readers]
    path.write_bytes(kept)
    assert [fault for fault, _ in outcomes] == [None, None, None]
    if name not in ("a rate that is no fraction", "a gain of 0", "a gain of 1e-300"):
        assert outcomes[1][1] is not None


def marks(*words: int) -> bytes:
    return struct.pack(f"<{len(words)}H", *words)


def note(text: bytes) -> bytes:
    """A note of WFDB at sample 0, as ``## time resolution`` is written."""
    padded = text + b"\0" * (len(text) % 2)
    return marks(22 << 10, 63 << 10 | len(text)) + padded


ANNOTATIONS: dict[str, Callable[[], bytes]] = {
    "a beat at 2^31": lambda: marks(59 << 10, 0x7FFF, 0xFFFF, 1 << 10 | 1, 0),
    "a beat before the first": lambda: marks(59 << 10, 0xFFFF, 0x0000, 1 << 10 | 1, 0),
    "beats a million times 2^31 on": lambda: marks(*(59 << 10, 0x7FFF, 0xFFFF, 1 << 10 | 1) * 10_000, 0),
    "a clock of 1e-300": lambda: note(b"## time resolution: 0." + b"0" * 300 + b"1") + marks(1 << 10 | 200, 0),
    "a clock of 10^30": lambda: note(b"## time resolution: 1" + b"0" * 30) + marks(1 << 10 | 200, 0),
    "5,000 beats in one place": lambda: marks(1 << 10 | 400, *(1 << 10,) * 5_000, 0),
}


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_annotations_far_away_are_no_beats(name: str, whole: dict[str, Subject], watch: Watch) -> None:
    subject = whole["wfdb, format 16"]
    path = subject.folder / "rec.atr"
    kept = path.read_bytes()
    path.write_bytes(ANNOTATIONS[name]())
    outcomes = [watch.fault(read) for read in subject.readers]
    path.write_bytes(kept)
    assert [fault for fault, _ in outcomes] == [None, None, None]
    assert outcomes[1][1] is not None or "one place" in name


def _settings(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "preprocessor.json"
        content = json.loads(path.read_text())
        content["settings"].update(changes)
        path.write_text(json.dumps(content))

    return change


def _card(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "model.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def _nameless(folder: Path) -> None:
    path = folder / "guard.json"
    content = json.loads(path.read_text())
    del content["name"]
    path.write_text(json.dumps(content))


def _nested(file: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / file).write_text("[" * 10**6)

    return change


BUNDLES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "images of 10^9x10^9": ("images", _settings(shape=[1, 10**9, 10**9])),
    "images of 30000x30000": ("images", _settings(shape=[1, 30_000, 30_000])),
    "images of 0x0": ("images", _settings(shape=[1, 0, 0])),
    "images of -1x16": ("images", _settings(shape=[1, -1, 16])),
    "images without a shape": ("images", _settings(shape=[])),
    "a white of 10^30": ("images", _settings(white=10**30)),
    "a white of 0": ("images", _settings(white=0)),
    "10^9 channels": ("images", _settings(shape=[10**9, 16, 16])),
    "no bounds": ("images", _settings(bounds=[float("nan"), float("nan")])),
    "no columns": ("table", _settings(columns=[])),
    "10^5 categories": (
        "table",
        _settings(columns=[{"name": "sex", "categories": [str(n) for n in range(10**5)], "fill": None}]),
    ),
    "no leads": ("heartbeats", _settings(leads=[])),
    "a channel that there is not": ("heartbeats", _settings(inputs=["beat", "x"])),
    "a thousand channels": ("heartbeats", _settings(inputs=["rhythm"] * 1000)),
    "a model of 10^9 features": ("table", _card(shape=[10**9])),
    "a model of 10^18 features": ("table", _card(shape=[10**18])),
    "a model of images of 10^9x10^9": ("images", _card(shape=[1, 10**9, 10**9])),
    "a model of a thousand hidden layers": (
        "table",
        _card(architecture={"name": "mlp", "options": {"hidden": [64] * 1000}}),
    ),
    "an architecture that is a list": ("heartbeats", _card(architecture={"name": []})),
    "a guard without a name": ("table", _nameless),
    "a preprocessor of lists in lists": ("table", _nested("preprocessor.json")),
    "a model of lists in lists": ("table", _nested("model.json")),
    "a guard of lists in lists": ("table", _nested("guard.json")),
}


@pytest.mark.parametrize("name", BUNDLES)
def test_bundles_that_ask_too_much_are_refused(
    name: str, whole: dict[str, Subject], watch: Watch, seal: Callable[[Path], None]
) -> None:
    kind, change = BUNDLES[name]
    subject = whole[f"guard of {kind}"]
    kept = {path: path.read_bytes() for path in subject.folder.iterdir()}
    change(subject.folder)
    seal(subject.folder)
    fault, refusal = watch.fault(subject.readers[0])
    for path, content in kept.items():
        path.write_bytes(content)
    assert fault is None and refusal is not None
