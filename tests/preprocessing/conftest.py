"""What reading a hostile file may do, and whole files of every format to begin from."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_safetensors
from torch import nn

from salus.classifier import Classifier
from salus.data import load
from salus.detectors import IDefender
from salus.errors import SalusError
from salus.guard import Guard
from salus.jobs.samples import read_samples
from salus.models.registry import build_model
from salus.preprocessing import Preprocessor
from salus.preprocessing.saved import KINDS

#: What reading one file may take.
CPU_SECONDS = 2.0
MEMORY = 2**30
#: Above this much more address space the machine itself is kept from harm.
ADDRESSES = 3 * 2**30

#: What other code asks for that reaches beyond this process.
_BEYOND = frozenset({"socket.connect", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"})
_CHANGES = frozenset({"os.mkdir", "os.rename", "os.symlink", "os.link", "os.remove", "os.rmdir"})


class TooLong(BaseException):
    """CPU time is up; no ``except Exception`` catches it."""


@dataclass
class Watch:
    """Lets a reader run, and says what it did that no file may make it do.

    Attributes:
        places: the folders in which it may write.
        beyond: what it did beyond them, since the watch began.
        watching: whether that is written down now.
    """

    places: tuple[str, ...]
    beyond: list[str] = field(default_factory=list)
    watching: bool = False

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        """Write down what reaches beyond the places; for ``sys.addaudithook``."""
        if not self.watching:
            return
        if event in _BEYOND:
            self.beyond.append(f"{event} {args!r}")
        elif (
            event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        ) or event in _CHANGES:
            self._written(args[0])

    def _written(self, place: Any) -> None:
        if isinstance(place, (str, os.PathLike)):
            path = os.path.realpath(place)
            if not path.startswith((*self.places, "/dev/")):
                self.beyond.append(f"wrote {path}")

    def fault(self, read: Callable[[], object]) -> tuple[str | None, str | None]:
        """Run a reader.

        Returns:
            What it did wrong (None: nothing), and the sentence with which it refused (None: it read).
        """
        self.beyond.clear()
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        before = _resident(reset=True)
        begun = time.process_time()
        refusal = fault = None
        old = signal.signal(signal.SIGVTALRM, _stop)
        resource.setrlimit(resource.RLIMIT_AS, (_addresses() + ADDRESSES, hard))
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
        self.watching = True
        try:
            read()
        except SalusError as error:
            refusal = str(error)
            if "\n" in refusal or len(refusal) > 2000:
                fault = f"a message that is no sentence: {refusal[:300]!r} ({len(refusal)} characters)"
            elif _of_memory(error):
                fault = f"asked for too much memory: {refusal}"
        except TooLong:
            fault = "took over 2 s"
        except Exception as error:
            fault = f"{type(error).__name__}: {str(error)[:300]}"
            last = error.__traceback__
            while last is not None and last.tb_next is not None:
                last = last.tb_next
            if last is not None:
                fault += f" ({last.tb_frame.f_code.co_filename}:{last.tb_lineno})"
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            self.watching = False
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
            signal.signal(signal.SIGVTALRM, old)
        spent, grown = time.process_time() - begun, _resident() - before
        if fault is None and spent > CPU_SECONDS:
            fault = f"took {spent:.1f} s"
        if fault is None and grown > MEMORY:
            fault = f"took {grown / 2**20:.0f} MiB"
        if fault is None and self.beyond:
            fault = "; ".join(self.beyond)
        return fault, refusal


def _stop(number: int, frame: object) -> None:
    raise TooLong


def _of_memory(error: BaseException | None) -> bool:
    """Whether a refusal is an allocation that the limit stopped."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        error = error.__cause__ or error.__context__
    return any(isinstance(each, MemoryError) or "Unable to allocate" in str(each) for each in seen)


def _addresses() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return 2**40
    return pages * resource.getpagesize()


def _resident(*, reset: bool = False) -> int:
    """The most memory that this process had since the last reset, where the system tells."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


@pytest.fixture(scope="session")
def watch(tmp_path_factory: pytest.TempPathFactory, _own_cache: None) -> Watch:
    """One watch over all readers."""
    places = (tmp_path_factory.getbasetemp(), Path(os.environ["SALUS_CACHE"]))
    watch = Watch(tuple(os.path.realpath(place) for place in places))
    sys.addaudithook(watch.hear)
    return watch


@dataclass(frozen=True)
class Subject:
    """Files of one format, whole, and whoever reads them.

    Attributes:
        folder: where they lie.
        files: those that are to be mutated.
        readers: what reads them.
        seal: which checksums can be put right after a forgery: ``zip``, ``png`` or ``bundle``; "" where there are none.
    """

    folder: Path
    files: tuple[str, ...]
    readers: tuple[Callable[[], object], ...]
    seal: str = ""


@pytest.fixture(scope="session")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Subject]:
    """Every format by its name."""
    root = tmp_path_factory.mktemp("whole")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {**_tables(root), **_arrays(root), **_images(root), **_records(root), **_bundles(root)}


def classifier_of(preprocessor: Preprocessor, architecture: str = "") -> Classifier:
    """Make an untrained classifier that takes what a preprocessor makes."""
    shape, classes = preprocessor.shape, preprocessor.classes
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if architecture:
            module: nn.Module = build_model(architecture, shape, len(classes), {})
        else:
            module = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), len(classes)))
    return Classifier(
        module,
        classes,
        shape=shape,
        bounds=preprocessor.bounds,
        architecture={"name": architecture} if architecture else None,
        preprocessor=preprocessor,
    )


def _prepared(path: Path, **options: Any) -> Preprocessor:
    preprocessor = load(path, **options).test.preprocessor
    assert preprocessor is not None
    return preprocessor


def _guard_of(path: Path, **options: Any) -> Guard:
    return Guard(classifier_of(_prepared(path, **options)))


_TABLE = {"scale": True, "impute": "median", "categories": "sex"}


def _rows(mark: str) -> str:
    rng = np.random.default_rng(0)
    lines = ["age,pressure [mmHg],sex,label"]
    for row in range(60):
        age, pressure = rng.integers(20, 90), rng.normal(130, 15)
        lines.append(f"{age},{pressure:.1f},{'f' if row % 3 else 'm'},{'ill' if row % 2 else 'well'}")
    lines[5] = '41,,"f",ill'
    return "\n".join(lines).replace(",", mark) + "\n"


def _tables(root: Path) -> dict[str, Subject]:
    subjects = {}
    for kind, mark in (("csv", ","), ("tsv", "\t"), ("csv of semicolons", ";")):
        folder = root / kind.replace(" ", "-")
        folder.mkdir()
        path = folder / f"t.{kind[:3]}"
        path.write_text(_rows(mark), encoding="utf-8-sig" if mark == ";" else "utf-8")
        guard = _guard_of(path, **_TABLE)
        subjects[kind] = Subject(
            folder,
            (path.name,),
            (
                partial(load, path, **_TABLE),
                partial(guard.judge, path),
            ),
        )
    folder = root / "names"
    folder.mkdir()
    x = np.random.default_rng(1).random((60, 3))
    np.savez(folder / "t.npz", x=x, y=np.arange(60) % 2)
    names = [f"x[{row}]" for row in range(60)]
    (folder / "groups.csv").write_text("name,group\n" + "".join(f"{n},p{i // 2}\n" for i, n in enumerate(names)))
    (folder / "labels.csv").write_text("name,label\n" + "".join(f"{n},{i % 2}\n" for i, n in enumerate(names)))
    classifier = classifier_of(_prepared(folder / "t.npz"))
    path, groups, labels = folder / "t.npz", folder / "groups.csv", folder / "labels.csv"
    subjects["csv of labels and patients"] = Subject(
        folder,
        (groups.name, labels.name),
        (
            lambda: load(path, group_by=str(groups)),
            lambda: read_samples(classifier, path, labels),
        ),
    )
    return subjects


def _arrays(root: Path) -> dict[str, Subject]:
    rng = np.random.default_rng(2)
    x, y = rng.random((60, 4)).astype(np.float32), np.array(["ill", "well"])[np.arange(60) % 2]
    subjects = {}
    facts: dict[str, Any] = {
        "features": np.array(list("abcd")),
        "groups": np.arange(60) // 2,
        "classes": np.array(["ill", "well"]),
    }
    for kind, write in (("npz", np.savez), ("npz, compressed", np.savez_compressed)):
        folder = root / kind.replace(", ", "-")
        folder.mkdir()
        path = folder / "t.npz"
        write(path, x=x, y=y, **facts)
        guard = _guard_of(path)
        subjects[kind] = Subject(
            folder,
            (path.name,),
            (
                partial(load, path),
                partial(guard.judge, path),
            ),
            seal="zip",
        )
    folder = root / "npy"
    folder.mkdir()
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    guard = _guard_of(root / "npz" / "t.npz")
    subjects["npy"] = Subject(
        folder,
        ("x.npy", "y.npy"),
        (
            lambda: guard.judge(folder / "x.npy"),
            lambda: read_samples(guard.classifier, folder / "x.npy", folder / "y.npy").x[0:5],
        ),
    )
    return subjects


def _images(root: Path) -> dict[str, Subject]:
    pillow = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(3)

    def grey(bits: int = 8) -> Any:
        kind = np.uint8 if bits == 8 else np.uint16
        return pillow.fromarray(rng.integers(0, 2**bits, (16, 16)).astype(kind))

    def colour(channels: int = 3) -> Any:
        return pillow.fromarray(rng.integers(0, 256, (16, 16, channels), dtype=np.uint8))

    turned = pillow.Exif()
    turned[0x0112] = 6
    turned[0x010F] = "a camera"
    kinds: dict[str, tuple[str, Callable[[], Any], dict[str, Any], dict[str, Any]]] = {
        "png": ("png", grey, {}, {}),
        "png of 16 bits": ("png", lambda: grey(16), {}, {"bit_depth": 16}),
        "png with a palette": ("png", lambda: colour().quantize(16), {"transparency": 3}, {}),
        "png with alpha": ("png", lambda: colour(4), {"exif": turned}, {}),
        "jpeg": ("jpg", colour, {"exif": turned, "quality": 90}, {}),
        "jpeg, grey": ("jpg", grey, {"quality": 80, "progressive": True}, {}),
        "tiff": ("tif", colour, {}, {}),
        "tiff, deflated": ("tif", grey, {"compression": "tiff_adobe_deflate"}, {}),
        "tiff, lzw": ("tif", colour, {"compression": "tiff_lzw"}, {}),
        "tiff of 12 bits": ("tif", lambda: grey(12), {"tiffinfo": {281: 4095}}, {"bit_depth": 12}),
        "tiff of 16 bits": ("tif", lambda: grey(16), {}, {"bit_depth": 16}),
        "tiff of several pages": ("tif", grey, {"save_all": True, "append_images": [grey()] * 2}, {"pages": "first"}),
        "bmp": ("bmp", colour, {}, {}),
        "webp": ("webp", colour, {"lossless": True}, {}),
        "ppm": ("ppm", colour, {}, {}),
        "pgm": ("pgm", lambda: grey(16), {}, {"bit_depth": 16}),
    }
    subjects = {}
    for kind, (suffix, make, how, options) in kinds.items():
        folder = root / kind.replace(", ", "-").replace(" ", "-")
        for label in ("a", "b"):
            (folder / label).mkdir(parents=True)
            for number in range(6):
                content = BytesIO()
                make().save(content, {"jpg": "JPEG", "tif": "TIFF", "pgm": "PPM"}.get(suffix, suffix.upper()), **how)
                (folder / label / f"{number}.{suffix}").write_bytes(content.getvalue())
        guard = _guard_of(folder, **options)
        path = folder / "a" / f"0.{suffix}"
        subjects[kind] = Subject(
            folder,
            (f"a/0.{suffix}",),
            (
                partial(load, folder, **options),
                partial(guard.judge, path),
            ),
            seal="png" if suffix == "png" else "",
        )
    return subjects


def _records(root: Path) -> dict[str, Subject]:
    import wfdb

    rng = np.random.default_rng(4)
    length, beats = 5600, 24
    peaks = np.arange(1, beats + 1) * 220
    symbols = ["N" if row % 2 else "V" for row in range(beats)]
    signal = rng.integers(-400, 400, (length, 2))

    def write(folder: Path, name: str, fmt: str, part: np.ndarray) -> None:
        wfdb.wrsamp(
            name,
            fs=360,
            units=["mV"] * 2,
            sig_name=["MLII", "V1"],
            d_signal=part,
            fmt=[fmt] * 2,
            adc_gain=[200.0] * 2,
            baseline=[0] * 2,
            comments=["63 M"],
            write_dir=str(folder),
        )

    subjects = {}
    for kind, fmt in (("wfdb, format 212", "212"), ("wfdb, format 16", "16"), ("wfdb in segments", "")):
        folder = root / kind.replace(", ", "-").replace(" ", "-")
        folder.mkdir()
        files = ["rec.hea", "rec.atr"]
        if fmt:
            write(folder, "rec", fmt, signal)
            files.append("rec.dat")
        else:
            write(folder, "one", "212", signal[:2800])
            write(folder, "two", "16", signal[2800:])
            (folder / "rec.hea").write_text("rec/2 2 360 5600\none 2800\ntwo 2800\n# 63 M\n")
            files += ["one.hea", "two.hea", "two.dat"]
        wfdb.wrann("rec", "atr", peaks, symbol=symbols, write_dir=str(folder))
        guard = _guard_of(folder, split="beats")
        subjects[kind] = Subject(
            folder,
            tuple(files),
            (
                partial(load, folder, split="beats"),
                partial(guard.judge, folder / "rec"),
                partial(guard.judge, folder),
            ),
        )
    return subjects


def _judged(folder: Path, thing: Path) -> object:
    return Guard.load(folder).judge(thing)


def _bundles(root: Path) -> dict[str, Subject]:
    table = root / "csv" / "t.csv"
    things = {
        "table": (table, load(table, **_TABLE), "mlp"),
        "images": (root / "png" / "a" / "0.png", load(root / "png"), "small-cnn"),
        "heartbeats": (root / "wfdb-format-16", load(root / "wfdb-format-16", split="beats"), "ecg-cnn"),
    }
    subjects = {}
    for kind, (thing, splits, architecture) in things.items():
        folder = root / f"guard-of-{kind}"
        data = splits.test
        assert data.preprocessor is not None
        classifier = classifier_of(data.preprocessor, architecture)
        x = torch.rand(120, *data.x.shape[1:], generator=torch.Generator().manual_seed(0))
        many = type(data)(x, torch.arange(120) % len(data.classes), data.classes, data.provenance)
        Guard(classifier, [IDefender()] if kind == "table" else [], name=kind).fit(many, many, 0.1).save(folder)
        subjects[f"guard of {kind}"] = Subject(
            folder,
            tuple(sorted(path.name for path in folder.iterdir() if path.suffix in (".json", ".safetensors"))),
            (partial(_judged, folder, thing),),
            seal="bundle",
        )
    return subjects


@pytest.fixture(scope="session")
def whole(subjects: dict[str, Subject], watch: Watch) -> Iterator[dict[str, Subject]]:
    """The subjects, read once as they are: what is imported on the way counts for no file."""
    for subject in subjects.values():
        for read in subject.readers:
            read()
    for name, subject in subjects.items():
        for read in subject.readers:
            assert watch.fault(read) == (None, None), name
    yield subjects


def _seal(folder: Path) -> None:
    """Make the checksums of a bundle agree with what was forged in it, as far as they can."""

    def change(name: str, put: Callable[[dict[str, Any]], None]) -> None:
        try:
            page = json.loads((folder / name).read_bytes())
            put(page)
        except Exception:  # it can be forged so that there is nothing to be put right
            return
        (folder / name).write_text(json.dumps(page))

    def digest(name: str) -> str:
        return hashlib.sha256((folder / name).read_bytes()).hexdigest()

    def preprocessor(page: dict[str, Any]) -> None:
        arrays = folder / "preprocessor.safetensors"
        tensors = load_safetensors(arrays.read_bytes()) if arrays.exists() else {}
        if arrays.exists():
            page["sha256"] = digest(arrays.name)
        page["fingerprint"] = KINDS[page["kind"]].restore(page["settings"], tensors).fingerprint()

    def model(page: dict[str, Any]) -> None:
        page["sha256"] = digest("model.safetensors")
        page["preprocessor"] = json.loads((folder / "preprocessor.json").read_bytes())["fingerprint"]

    def guard(page: dict[str, Any]) -> None:
        page["sha256"] = {name: digest(name) for name in page["sha256"]}
        page["checksum"] = hashlib.sha256(
            json.dumps({key: value for key, value in page.items() if key != "checksum"}, sort_keys=True).encode()
        ).hexdigest()

    change("preprocessor.json", preprocessor)
    change("model.json", model)
    change("guard.json", guard)


@pytest.fixture(scope="session")
def seal() -> Callable[[Path], None]:
    """Put the checksums of a forged bundle right."""
    return _seal


@pytest.fixture(scope="session")
def ecg_writers() -> ModuleType:
    """What writes files of ECGs and of DICOM: ``ecg_writers.py`` beside this file."""
    spec = importlib.util.spec_from_file_location("ecg_writers", Path(__file__).with_name("ecg_writers.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def subject() -> type[Subject]:
    """What a test of damaged files makes of each format."""
    return Subject
