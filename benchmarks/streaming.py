"""Attack 100,000 beats from disk to disk, and see whether memory stays flat.

Run: python benchmarks/streaming.py [--count 100000] [--attack pgd:eps=0.01,steps=10] [--threads 2]
     ... --out src/salus_studies/attacks/streaming.json, for docs/attacks.md

Beats are read from one file in pieces, each piece's results are written as they come, one safetensors file a piece.
Ends with 1 where the peak after all beats is more than 5% above that after half of them.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from salus import atomic
from salus.attacks import parse_attack
from salus.classifier import Classifier
from salus.data import load
from salus.training import TrainingOptions, fit_classifier

STORE = Path(__file__).parents[1] / "runs" / "bench"
LIMIT = 1.05
LENGTH = 280
PIECE = 1000


def main() -> int:
    """Print the memory and the speed on the way; return 1 where memory grows."""
    options = _options()
    if options.prepare:
        write_beats(options.folder, options.count)
        return 0
    torch.set_num_threads(options.threads)
    options.folder.mkdir(parents=True, exist_ok=True)
    # In a process of its own: what loading takes must not hide what attacking takes.
    command = [sys.executable, __file__, "--prepare", "--folder", str(options.folder), "--count", str(options.count)]
    subprocess.run(command, check=True)
    classifier = network()
    attack = parse_attack(options.attack)
    print(f"torch {torch.__version__}, {options.threads} threads, {platform.system()}; {attack}")
    marks = {options.count // 10, options.count // 2, options.count}
    first, fallen, started, reached = 0, 0, time.perf_counter(), []
    for result in attack.stream(classifier, read_beats(options.folder, options.count)):
        found = {"x_adv": result.x_adv, "success": result.success, "distance": result.distance}
        save_file(found, options.folder / f"{first:07d}.safetensors")
        first += len(result.x_adv)
        fallen += int(result.success.sum())
        if first in marks:
            mark = {"beats": first, "peak": round(peak(), 1), "rate": round(first / (time.perf_counter() - started), 1)}
            reached.append(mark)
            speed = f"{fallen / first:.1%} fallen, {mark['rate']:.0f} beats/s"
            print(f"{first:7} beats: peak {mark['peak']:6.0f} MiB, {speed}", flush=True)
    # Until then torch still caches its kernels, one for each size that a batch shrinks to as samples fall.
    ratio = reached[-1]["peak"] / reached[1]["peak"]
    held = options.count * LENGTH * 4 / 2**20
    print(f"peak after all over peak after half: {ratio:.3f} (limit {LIMIT:g}); x_adv takes {held:.0f} MiB on disk")
    if options.out is not None:
        typed = shlex.join(["python", "benchmarks/streaming.py", *sys.argv[1:]])
        run = {"command": typed, "attack": options.attack, "threads": options.threads, "marks": reached}
        atomic.write_text(options.out, json.dumps(run, separators=(",", ":"), ensure_ascii=False) + "\n")
    return int(ratio > LIMIT)


def network() -> Classifier:
    """Load the network of heartbeats; where it is missing, train it and keep it."""
    folder = STORE / "ecg"
    if not (folder / "model.json").exists():
        print(f"training the network, kept in {folder}", flush=True)
        splits = load("mitdb")
        options = TrainingOptions(epochs=4)
        fit_classifier("ecg-cnn", splits.train, splits.validation, options, log=print)[0].save(folder)
    return Classifier.load(folder).eval()


def write_beats(folder: Path, count: int) -> None:
    """Write the beats of all patients to disk, with their labels."""
    parts = [part for _, part in load("mitdb")]
    x, y = torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts])
    if len(x) < count:
        raise SystemExit(f"there are {len(x)} beats, not {count}")
    x[:count].numpy().tofile(folder / "x.f32")
    y[:count].numpy().tofile(folder / "y.i64")


def read_beats(folder: Path, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Read them back in pieces ``[PIECE, 1, 280]``, which nobody keeps."""
    with (folder / "x.f32").open("rb") as x_file, (folder / "y.i64").open("rb") as y_file:
        for first in range(0, count, PIECE):
            size = min(PIECE, count - first)
            x = np.fromfile(x_file, np.float32, size * LENGTH).reshape(size, 1, LENGTH)
            yield torch.from_numpy(x), torch.from_numpy(np.fromfile(y_file, np.int64, size))


def peak() -> float:
    """Return the most memory that this process has held, in MiB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 2**10


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="beats (default %(default)s)")
    parser.add_argument("--attack", default="pgd:eps=0.01,steps=10", help="any attack (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default %(default)s)")
    parser.add_argument("--folder", type=Path, default=STORE / "streaming", help="where beats and results are written")
    parser.add_argument("--out", type=Path, help="write the figures to this file as well")
    parser.add_argument("--prepare", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
