"""Small data in the official formats, and a small home on the web that misbehaves on request."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import ClassVar
from zlib import crc32

import numpy as np
import pytest

#: Samples from one beat to the next, as ``write_record`` writes them.
SPACING = 400

BEATS = "NNNNLReSSAaVVVVEFFFF"  # N 7, S 4, V 5, F 4

#: record -> leads, for a small mitdb: five patients of DS1, 100, 103 and 202 of DS2, a paced one.
SMALL_MITDB = {
    "100": ("MLII", "V5"),
    "101": ("MLII", "V1"),
    "102": ("V5", "V2"),
    "103": ("MLII", "V2"),
    "106": ("MLII", "V1"),
    "109": ("MLII", "V1"),
    "114": ("V5", "MLII"),
    "201": ("MLII", "V1"),
    "202": ("MLII", "V1"),
}


@pytest.fixture(scope="session")
def small_mitdb(tmp_path_factory: pytest.TempPathFactory, write_record: Callable[..., np.ndarray]) -> Path:
    """A data folder that holds a small ``mitdb``; nobody writes to it."""
    place = tmp_path_factory.mktemp("sets")
    for name, leads in SMALL_MITDB.items():
        symbols = ["N", *BEATS, "/", "+", "Q"]  # the first too near the start; three that are no AAMI beat
        peaks = [139, *(SPACING * (i + 1) for i in range(len(symbols) - 1))]
        write_record(place / "mitdb", name, symbols, leads=leads, peaks=peaks)
    (place / "mitdb" / "RECORDS").write_text("\n".join(SMALL_MITDB) + "\n")
    return place


#: A heartbeat of lead II as three waves: (seconds from the R peak, width in seconds, height in mV).
WAVES = ((-0.16, 0.025, 0.12), (0.0, 0.010, 1.1), (0.26, 0.045, 0.3))


def _ptb_header(reason: str | None, *more: str) -> list[str]:
    reasons = [] if reason is None else [f"Reason for admission: {reason}"]
    return ["age: 61", "sex: female", "Diagnose:", *reasons, "Smoker: no", *more]


def _write_ptb_record(
    folder: Path,
    name: str,
    reason: str | None,
    *more: str,
    seconds: float = 9.0,
    leads: Sequence[str] = ("i", "ii", "vz"),
    gap: tuple[float, float] | None = None,
) -> np.ndarray:
    """Write a record as PTB has them: 1000 Hz, no annotations, the diagnosis in the header; return its R peaks (s)."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(crc32(f"{folder.name}/{name}".encode()))
    time = np.arange(int(seconds * 1000)) / 1000
    peaks = np.cumsum(rng.uniform(0.7, 0.8, int(seconds / 0.7)))
    peaks = peaks[peaks < seconds - 0.05]
    beat = sum(h * np.exp(-(((time[:, None] - peaks - t) / w) ** 2)).sum(1) for t, w, h in WAVES)
    drift = 0.1 * np.sin(time) + rng.normal(0, 0.01, len(time))
    lead_ii = np.asarray(beat + drift)
    if gap is not None:
        lead_ii[(time >= gap[0]) & (time < gap[1])] = np.nan
    signal = np.stack([lead_ii if lead.lower() == "ii" else drift for lead in leads], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import wfdb

        wfdb.wrsamp(
            name,
            fs=1000,
            units=["mV"] * len(leads),
            sig_name=list(leads),
            p_signal=signal,
            fmt=["16"] * len(leads),
            adc_gain=[2000.0] * len(leads),
            baseline=[0] * len(leads),
            comments=_ptb_header(reason, *more),
            write_dir=str(folder),
        )
    return peaks


@pytest.fixture(scope="session")
def write_ptb_record() -> Callable[..., np.ndarray]:
    return _write_ptb_record


#: record -> reason for admission, for a small ptbdb: three healthy patients, three infarctions, two others.
SMALL_PTBDB = {
    "patient001/s0010_re": "Myocardial infarction",
    "patient001/s0014lre": "Myocardial infarction",
    "patient002/s0015lre": "Myocardial infarction",
    "patient003/s0017lre": "Myocardial infarction",
    "patient104/s0306lre": "Healthy control",
    "patient105/s0303lre": "Healthy control",
    "patient116/s0302lre": "Healthy control",
    "patient117/s0291lre": "Cardiomyopathy",
    "patient285/s0544_re": None,
}


@pytest.fixture(scope="session")
def small_ptbdb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that holds a small ``ptbdb`` in the official layout; nobody writes to it."""
    place = tmp_path_factory.mktemp("sets")
    for name, reason in SMALL_PTBDB.items():
        path = place / "ptbdb" / name
        _write_ptb_record(path.parent, path.name, reason)
    (place / "ptbdb" / "RECORDS").write_text("\n".join(SMALL_PTBDB) + "\n")
    files = sorted(path for path in (place / "ptbdb").rglob("*") if path.is_file())
    lines = [f"{sha256(p.read_bytes()).hexdigest()} {p.relative_to(place / 'ptbdb').as_posix()}" for p in files]
    lines += [f"{'0' * 64} patient001/s0010_re.xyz", f"{'0' * 64} CONTROLS"]
    (place / "ptbdb" / "SHA256SUMS.txt").write_text("\n".join(lines) + "\n")
    return place


class SkinFiles:
    """A small HAM10000 and ISIC 2018: of every class some lesions, with one to three pictures each."""

    lesions: ClassVar[dict[str, int]] = {"MEL": 16, "NV": 40, "BCC": 12, "AKIEC": 10, "BKL": 16, "DF": 8, "VASC": 9}

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []  # lesion, image, class
        number = 0
        for label, count in self.lesions.items():
            for _ in range(count):
                number += 1
                pictures = 3 if number % 5 == 0 else 2 if number % 3 == 0 else 1
                self.rows += [(f"HAM_{number:07d}", f"ISIC_{4 * number + i:07d}", label) for i in range(pictures)]
        order = np.random.default_rng(0).permutation(len(self.rows))
        self.rows = [self.rows[i] for i in order]
        self.sorted = sorted(self.rows, key=lambda row: row[1])

    def colour(self, image: str) -> tuple[int, int, int]:
        """A colour of its own for each image, as far from the others' as JPEG is exact."""
        number = int(image.removeprefix("ISIC_"))
        return 40 + 8 * (number % 20), 40 + 8 * (number // 20 % 20), 40 + 50 * (number // 400)

    def jpeg(self, image: str) -> bytes:
        from PIL import Image

        content = BytesIO()
        Image.new("RGB", (16, 12), self.colour(image)).save(content, "JPEG", quality=95)
        return content.getvalue()

    def ham10000(self) -> dict[str, bytes]:
        """Path below the set's folder -> content, as unpacked."""
        header = "lesion_id,image_id,dx,dx_type,age,sex,localization,dataset"
        lines = [f"{lesion},{image},{label.lower()},histo,50.0,male,back,vienna" for lesion, image, label in self.rows]
        files = {
            f"HAM10000_images_part_{1 + i % 2}/{image}.jpg": self.jpeg(image)
            for i, (_, image, _) in enumerate(self.rows)
        }
        return {**files, "HAM10000_metadata.csv": "\n".join([header, *lines, ""]).encode()}

    def isic2018(self) -> dict[str, bytes]:
        """The same of ISIC."""
        part = "ISIC2018_Task3_Training_"
        classes = list(self.lesions)
        marks = [",".join([image, *(f"{label == name:d}.0" for name in classes)]) for _, image, label in self.sorted]
        groups = [f"{image},{lesion},histopathology" for lesion, image, _ in self.sorted]
        truth = "\n".join([",".join(["image", *classes]), *marks, ""])
        return {
            **{f"{part}Input/{image}.jpg": self.jpeg(image) for _, image, _ in self.rows},
            f"{part}Input/LICENSE.txt": b"CC BY-NC",
            f"{part}LesionGroupings.csv": "\n".join(["image,lesion_id,diagnosis_confirm_type", *groups, ""]).encode(),
            f"{part}GroundTruth/{part}GroundTruth.csv": truth.encode(),
        }

    def write(self, folder: Path, files: dict[str, bytes]) -> Path:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder


@pytest.fixture(scope="session")
def skin() -> SkinFiles:
    pytest.importorskip("PIL.Image")
    return SkinFiles()


class Home:
    """Files on 127.0.0.1, and for each path a list of faults that befall the next requests for it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[str]] = {}
        self.requests: list[tuple[str, str | None]] = []
        home = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                home.answer(self)

        class Server(ThreadingHTTPServer):
            def handle_error(self, *args: object) -> None:
                """Say nothing when the other side hangs up."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/set/"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def asked(self, name: str) -> list[str | None]:
        """The Range header of each request for a file."""
        return [wanted for path, wanted in self.requests if path == f"/set/{name}"]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path, wanted = request.path, request.headers["Range"]
        self.requests.append((path, wanted))
        waiting = self.faults.get(path.rpartition("/")[2], [])
        fault = waiting.pop(0) if waiting else ""
        content = self.files.get(path.removeprefix("/set/"))
        if fault.startswith("redirect "):
            request.send_response(302)
            request.send_header("Location", fault.removeprefix("redirect "))
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        if fault.isdecimal() or content is None:
            request.send_error(int(fault or 404))
            return
        if fault == "corrupt":
            content = bytes(byte ^ 1 for byte in content)
        if fault == "endless":
            content = content * 10
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if start >= len(content) and wanted:
            request.send_error(416)
            return
        start = 0 if fault == "ignore-range" else start
        request.send_response(206 if start else 200)
        if start:
            claimed = start - 1 if fault == "wrong-piece" else start
            request.send_header("Content-Range", f"bytes {claimed}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        body = content[start:]
        request.wfile.write(body[: len(body) // 2] if fault == "break" else body)

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    served = Home()
    yield served
    served.close()
