"""A hundred thousand damaged and forged files of hospitals: each read, or refused in one sentence, in two seconds.

    python benchmarks/mutated_files.py --count 100000

It goes on where it was stopped (``--out``, written every five hundred files) and ends with an error if one file gave a
traceback, took over two seconds of CPU time, over 1 GiB of memory, or wrote anything. The mutations are those of
``tests/preprocessing/test_mutated_files.py``; the formats those of ``test_mutated_hospital_files.py`` beside it. Files
are short, and read up to a recording's leads or an image's levels: what comes after is the same for every format.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from salus.atomic import write_json
from salus.errors import DataError
from salus.preprocessing.ecg_files import read_ecg
from salus.preprocessing.ecg_formats import VARIABLE
from salus.preprocessing.image_files import MAX_PIXELS, decode
from salus.storage import versions

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests" / "preprocessing"
RESULT = ROOT / "benchmarks" / "mutated_files.json"

#: Samples of each lead, and files between two results.
LENGTH, A_TURN = 360, 500


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, TESTS / f"{name}.py")
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def read_image(path: Path) -> object:
    """Decode an image as a preprocessor does."""
    try:
        return decode(path.read_bytes(), channels=1, size=(16, 16), white=255, window="first")
    except (ValueError, OSError) as error:
        raise DataError(f"File {path} {error}.") from error


def read_image_file(path: Path, reader: Any) -> object:
    """Decode an image with what turns a library's faults into words."""
    image = reader(lambda: read_image(path))()
    if isinstance(image, str):
        raise DataError(f"File {path} {image}.")
    return image


def main() -> None:
    """Mutate and read, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="files in all")
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    writers, mutated = _module("ecg_writers"), _module("test_mutated_files")
    hospital, conftest = _module("test_mutated_hospital_files"), _module("conftest")
    os.environ[VARIABLE] = hospital.ASKED
    result = _begun(asked.out)
    with tempfile.TemporaryDirectory() as place:
        watch = conftest.Watch((os.path.realpath(place),))
        sys.addaudithook(watch.hear)
        whole = hospital.contents(writers, LENGTH)
        names, others = list(whole), {name: content for name, (_, content) in whole.items()}
        from salus.preprocessing.image_files import decoders, or_reason

        with decoders():  # Pillow's warnings are refusals there
            while result["files"] < asked.count:
                for number in range(result["files"], min(result["files"] + A_TURN, asked.count)):
                    name = names[number % len(names)]
                    path = Path(place) / f"file{whole[name][0]}"
                    path.write_bytes(whole[name][1])
                    content, how = mutated.mutated(path, others, "", random.Random(f"{name} {number}"))
                    if name.startswith("scp") and number % 4:
                        content, how = writers.scp_sealed(content), f"{how}, sealed"
                    path.write_bytes(content)
                    read = (
                        partial(read_image_file, path, or_reason)
                        if name in hospital.IMAGES
                        else partial(read_ecg, path)
                    )
                    begun = time.process_time()
                    fault, refusal = watch.fault(read)
                    spent = time.process_time() - begun
                    counts = result["formats"].setdefault(name, {"read": 0, "refused": 0, "faults": 0})
                    counts["faults" if fault else "refused" if refusal else "read"] += 1
                    if spent > result["slowest"]["seconds"]:
                        result["slowest"] = {"seconds": round(spent, 3), "format": name, "number": number, "how": how}
                    if fault:
                        result["faults"].append(f"{name} {number}, {how}: {fault}"[:500])
                    path.unlink(missing_ok=True)
                    result["files"] = number + 1
                    result["seconds"] = round(result["seconds"] + spent, 3)
                write_json(asked.out, result)
                print(result["files"], result["seconds"], len(result["faults"]), result["slowest"], flush=True)
    totals = Counter(
        {key: sum(each[key] for each in result["formats"].values()) for key in ("read", "refused", "faults")}
    )
    print(json.dumps(totals))
    if result["faults"]:
        raise SystemExit("\n".join(result["faults"][:20]))


def _begun(path: Path) -> dict[str, Any]:
    """Go on with a result that was begun, or begin one."""
    if path.is_file():
        begun: dict[str, Any] = json.loads(path.read_text())
        return begun
    return {
        "command": "python benchmarks/mutated_files.py",
        "versions": {**versions(), **{name: version(name) for name in ("ecgdatakit", "pydicom", "pillow")}},
        "pixels": MAX_PIXELS,
        "files": 0,
        "seconds": 0.0,
        "slowest": {"seconds": 0.0},
        "formats": {},
        "faults": [],
    }


if __name__ == "__main__":
    main()
