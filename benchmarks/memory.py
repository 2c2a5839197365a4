"""Audit all 10,015 skin lesions of ham10000 at 200x150, and print the most memory that took.

Run: python benchmarks/memory.py [--attack fgsm:eps=2/255] [--threat-model oblivious] [--samples N]

Every image is a test image (``--split all``) and is attacked: by FGSM at 2/255 a small network, bare and behind the
purifier ``low-level``. What is measured is the command ``salus audit`` in a process of its own, its report included;
pages of the file that the images are mapped from count as well. It writes some 4 GB for every attack, which are
deleted. Ends with 1 above the limit.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT = 3.0  # GB

STORE = Path(__file__).parent.parent / "runs" / "bench"
NETWORK = "small-cnn"
SIZES = {"widths": [4, 8, 8], "hidden": 16}
TRAINED_ON = 2000


def main() -> int:
    """Run the audit, print its time and its peak; return 1 above the limit."""
    options = _options()
    if options.prepare is not None:
        train(options.prepare)
        return 0
    STORE.mkdir(parents=True, exist_ok=True)
    model = STORE / "lesions"
    if not (model / "model.json").exists():
        subprocess.run([sys.executable, __file__, "--prepare", str(model)], check=True)
    with tempfile.TemporaryDirectory(dir=STORE) as out:
        command = [
            sys.executable, "-m", "salus.cli", "audit", "--data", "ham10000", "--split", "all", "--model", str(model),
            "--defence", "low-level", "--out", str(Path(out) / "run"),
        ]  # fmt: skip
        for name, values in (("attack", options.attack), ("threat-model", options.threat_model)):
            command += [word for value in values for word in (f"--{name}", value)]
        if options.samples is not None:
            command += ["--samples", str(options.samples)]
        print(f"{platform.system()}, {os.cpu_count()} cores: {shlex.join(['salus', *command[3:]])}", flush=True)
        started = time.perf_counter()
        peak = run(command)
        written = sum(path.stat().st_size for path in Path(out).rglob("*") if path.is_file())
    print(
        f"{time.perf_counter() - started:.0f} s, {written / 1e9:.1f} GB written; "
        f"peak of memory {peak / 1e9:.2f} GB (limit {LIMIT:g})"
    )
    return int(peak > LIMIT * 1e9)


def run(command: list[str]) -> int:
    """Run a command and return the most memory that it held, in bytes."""
    process = subprocess.Popen(command)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the audit ended with {process.returncode}")
    return used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def train(folder: Path) -> None:
    """Train a network that is no better than it has to be, and save it."""
    import torch

    from salus.data import load
    from salus.training import TrainingOptions, fit_classifier

    splits = load("ham10000")
    rows = torch.randperm(len(splits.train), generator=torch.Generator().manual_seed(0))[:TRAINED_ON]
    options = TrainingOptions(epochs=3, batch_size=32, learning_rate=0.01, balance="sampling", keep="last")
    trained, _ = fit_classifier(
        NETWORK, splits.train.subset(rows), splits.validation, options, model_options=SIZES, log=print
    )
    trained.save(folder)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attack", action="append", help="as of salus audit (default: fgsm:eps=2/255)")
    parser.add_argument("--threat-model", action="append", help="likewise (default: white-box, oblivious)")
    parser.add_argument("--samples", type=int, help="images to attack (default: all)")
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.attack = options.attack or ["fgsm:eps=2/255"]
    options.threat_model = options.threat_model or ["white-box", "oblivious"]
    return options


if __name__ == "__main__":
    sys.exit(main())
