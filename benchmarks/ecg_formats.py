"""Which files of ECGs are read as they were recorded: against the original, step by step and by the verdict.

What is read by default is what stands here with an error of at most one step. The original is the PTB database's
record s0010_re (twelve leads, 1000 Hz, 0.5 microvolts a step). Independent programs write it or read what was written:

    pip install pyedflib ishneholterlib sierraecg; apt-get install biosig-tools; pip download --no-binary :all: SPxml
    python benchmarks/ecg_formats.py --philips SPxml-1.1/libsierraecg/129DYPRG.XML

A program that is not there is named in the result, and its rows are left out. ``--samples FOLDER`` writes the small
files of independent writers that the tests read.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from salus.classifier import Classifier
from salus.errors import SalusError
from salus.guard import Guard
from salus.preprocessing import RecordingPreprocessor
from salus.preprocessing.ecg_files import read_ecg
from salus.storage import versions

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "ecg_formats.json"

#: Samples of each lead: fifteen seconds, so that an uncompressed SCP-ECG file is no longer than such a file may be.
LENGTH = 15_000


def _writers() -> ModuleType:
    place = ROOT / "tests" / "preprocessing" / "ecg_writers.py"
    spec = importlib.util.spec_from_file_location("ecg_writers", place)
    if spec is None or spec.loader is None:
        raise ImportError(str(place))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hand = _writers()


def edf(stored: NDArray[np.int64], leads: Sequence[str], rate: float, step: float, path: Path) -> None:
    """Write EDF by pyEDFlib."""
    import pyedflib

    top = 32767
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        writer = pyedflib.EdfWriter(str(path), len(leads), file_type=pyedflib.FILETYPE_EDF)
        writer.setSignalHeaders(
            [
                {
                    "label": lead,
                    "dimension": "uV",
                    "sample_frequency": int(rate),
                    "physical_max": top * step,
                    "physical_min": -(top + 1) * step,
                    "digital_max": top,
                    "digital_min": -top - 1,
                    "transducer": "",
                    "prefilter": "",
                }
                for lead in leads
            ]
        )
        columns = [np.ascontiguousarray(stored[:, place].astype(np.int32)) for place in range(len(leads))]
        writer.writeSamples(columns, digital=True)
        writer.close()


def biosig(source: Path, target: Path, form: str) -> None:
    """Convert by BioSig."""
    subprocess.run(["save2gdf", form, str(source), str(target)], check=True, capture_output=True)


def ishne(stored: NDArray[np.int64], leads: Sequence[str], rate: float, step: float, path: Path) -> None:
    """Write ISHNE by ishneholterlib."""
    import ishneholterlib

    numbers = {"I": 5, "II": 6, "III": 7, "aVR": 8, "aVL": 9, "aVF": 10, **{f"V{n}": 10 + n for n in range(1, 7)}}
    holter = ishneholterlib.Holter.__new__(ishneholterlib.Holter)
    facts: dict[str, Any] = {
        "filename": str(path), "is_annfile": False, "file_version": 1, "first_name": "", "last_name": "", "id": "",
        "sex": 0, "race": 0, "birth_date": None, "record_date": None, "file_date": None, "start_time": None, "pm": 0,
        "recorder_type": b"digital", "sr": int(rate), "proprietary": "", "copyright": "", "reserved": "",
        "var_block": b"", "ecg_size": 0, "nleads": len(leads),
    }  # fmt: skip
    for name, value in facts.items():
        setattr(holter, name, value)
    holter.lead = []
    for place, lead in enumerate(leads):
        each = ishneholterlib.Lead(numbers[lead], 1, round(step * 1000))
        each.save_data(stored[:, place].astype(np.int16), convert=False)
        holter.lead.append(each)
    path.unlink(missing_ok=True)
    holter.write_file(convert_data=False)


def csv_of_biosig(path: Path) -> NDArray[np.float64]:
    """Read what BioSig reads of a file, in microvolts ``[T, C]``."""
    target = path.with_suffix(path.suffix + ".csv")
    biosig(path, target, "-CSV")
    with target.open(newline="") as file:
        head, *rows = [row for row in csv.reader(file) if row]
    values = np.array([[float(cell) for cell in row if cell] for row in rows])
    return values * (1e6 if any("[V]" in name for name in head) else 1.0)


def steps_off(path: Path, stored: NDArray[np.int64], leads: Sequence[str], rate: float, step: float) -> float:
    """Read a file as Salus does; by how many steps it is off at the most."""
    ecg = read_ecg(path)
    if [ecg.rates[lead] for lead in leads] != [rate] * len(leads):
        raise SystemExit(f"{path}: rates {dict(ecg.rates)}, not {rate}")
    read = np.stack([ecg.signals[lead] for lead in leads], 1)[: len(stored)]
    return float(np.abs(read * 1000 / step - stored[: len(read)]).max())


def guard_of(leads: Sequence[str]) -> Guard:
    """An untrained guard of heartbeats of lead II: what it says depends on every sample of a beat."""
    preprocessor = RecordingPreprocessor(leads=tuple(leads), classes=("N", "V", "S", "F"), shape=(1, 280))
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(280, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
    return Guard(Classifier(module, preprocessor.classes, shape=(1, 280), preprocessor=preprocessor))


def same_verdict(guard: Guard, original: Path, path: Path) -> dict[str, Any]:
    """Compare what a guard says of the record and of the file."""
    first, second = guard.judge(original), guard.judge(path)
    if first.verdict is None or second.verdict is None:
        return {"beats": 0}
    same = first.verdict.labels.shape == second.verdict.labels.shape
    gap = float((first.verdict.probabilities - second.verdict.probabilities).abs().max()) if same else None
    return {
        "beats": len(second.verdict.labels),
        "same_answers": bool(same and (first.verdict.labels == second.verdict.labels).all()),
        "probability_apart": gap,
    }


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--philips", type=Path, help="an authentic file: 129DYPRG.XML of SPxml")
    parser.add_argument("--samples", type=Path, help="write the files that the tests read, and nothing else")
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    if asked.samples is not None:
        write_samples(asked.samples)
        return
    rows = measure(asked.philips)
    asked.out.write_text(json.dumps({"versions": {**versions(), **_programs()}, "rows": rows}, indent=1) + "\n")
    for row in rows:
        print(row)


def _programs() -> dict[str, str]:
    """Say which programs wrote and read."""
    found = {}
    for name in ("ecgdatakit", "pydicom", "pyedflib", "ishneholterlib", "sierraecg"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    if shutil.which("save2gdf") is not None:
        said = subprocess.run(["save2gdf", "--version"], capture_output=True, text=True)
        found["BioSig"] = said.stdout.strip().splitlines()[0] if said.stdout.strip() else "unknown"
    return found


def write_samples(folder: Path) -> None:
    """Write small files by independent writers: two leads of a made-up heart."""
    leads, folder = ("II", "V1"), folder.resolve()
    stored = hand.heart(leads)
    edf(stored, leads, hand.RATE, hand.STEP, folder / "pyedflib.edf")
    ishne(stored, leads, hand.RATE, hand.STEP, folder / "ishneholterlib.ecg")
    biosig(folder / "pyedflib.edf", folder / "biosig.xml", "-f=HL7aECG")


def measure(philips: Path | None) -> list[dict[str, Any]]:
    """Write the original in every format, read it, compare."""
    import wfdb

    from salus.data.places import find_set

    place = find_set("ptbdb", ("patient001", "s0010_re.hea"), None) or Path(os.environ.get("SALUS_DATA", "."))
    found = next(place.rglob("s0010_re.hea"), None)
    if found is None:
        raise SystemExit("The record s0010_re of the PTB database is not at hand (SALUS_DATA).")
    leads = hand.TWELVE
    whole = wfdb.rdrecord(str(found.with_suffix("")), sampto=LENGTH, channels=list(range(12)), physical=False)
    stored, rate, step = whole.d_signal.astype(np.int64), float(whole.fs), 0.5
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        wfdb.wrsamp(
            "original", fs=rate, units=["mV"] * 12, sig_name=list(leads), d_signal=whole.d_signal, fmt=["16"] * 12,
            adc_gain=[2000.0] * 12, baseline=[0] * 12, write_dir=str(here),
        )  # fmt: skip
        guard, given = guard_of(("II",)), (stored, leads, rate, step)
        makers: list[tuple[str, str, str, Callable[[Path], object]]] = [
            ("DICOM", "pydicom", "a.dcm", lambda path: path.write_bytes(hand.dicom_ecg(*given))),
            ("EDF", "pyEDFlib", "a.edf", lambda path: edf(*given, path)),
            ("HL7 aECG", "BioSig", "a.xml", lambda path: biosig(here / "a.edf", path, "-f=HL7aECG")),
            ("ISHNE", "ishneholterlib", "a.ecg", lambda path: ishne(*given, path)),
            ("Philips XML", "by hand", "p.xml", lambda path: path.write_bytes(hand.philips(*given))),
            ("MFER", "by hand", "a.mwf", lambda path: path.write_bytes(hand.mfer(*given))),
            ("SCP-ECG", "by hand", "a.scp", lambda path: path.write_bytes(hand.scp(*given))),
            ("SCP-ECG, Huffman", "by hand", "h.scp", lambda path: path.write_bytes(hand.scp(*given, huffman=True))),
        ]
        for name, by, file, make in makers:
            path = here / file
            result: dict[str, Any] = {"format": name, "by": by}
            try:
                make(path)
                result["steps_off"] = round(steps_off(path, stored, leads, rate, step), 6)
                result |= same_verdict(guard, here / "original.hea", path)
            except (FileNotFoundError, ModuleNotFoundError) as error:
                result["left_out"] = str(error)
            except SalusError as error:
                result["refused"] = str(error)
            rows.append(result)
        rows += [_read_alike(each, stored, step) for each in (here / "a.scp", here / "h.scp", here / "a.mwf")]
        rows.append(_philips_alike(here / "p.xml", "by hand"))
        if philips is not None:
            rows.append(_philips_alike(philips, "authentic, of SPxml"))
    return rows


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _read_alike(path: Path, stored: NDArray[np.int64], step: float) -> dict[str, Any]:
    """Say whether BioSig reads a file that was written by hand as it was written."""
    name = {"a.scp": "SCP-ECG", "h.scp": "SCP-ECG, Huffman", "a.mwf": "MFER"}[path.name]
    if shutil.which("save2gdf") is None:
        return {"format": name, "read_by": "BioSig", "left_out": "save2gdf is not installed"}
    values = csv_of_biosig(path)
    off = float(np.abs(values / step - stored[: len(values)]).max())
    return {"format": name, "read_by": "BioSig", "samples": len(values), "steps_off": round(off, 6)}


def _philips_alike(path: Path, which: str) -> dict[str, Any]:
    """Say whether sierraecg and Salus read a file alike."""
    try:
        import sierraecg
    except ModuleNotFoundError as error:
        return {"format": "Philips XML", "read_by": "sierraecg", "left_out": str(error)}
    theirs = sierraecg.read_file(str(path)).leads
    ours = read_ecg(path)
    step = 0.5 if which == "by hand" else 5.0
    off = max(
        float(np.abs(ours.signals[each.label] * 1000 / step - np.asarray(each.samples, np.float64)).max())
        for each in theirs
    )
    return {
        "format": "Philips XML", "by": which, "read_by": "sierraecg", "leads": len(theirs),
        "samples": len(theirs[0].samples), "steps_off": round(off, 6),
    }  # fmt: skip


if __name__ == "__main__":
    main()
