"""Photographs of skin lesions as honest callers send them, and how many of these callers monitors take for attackers.

    python benchmarks/query_lesions.py --size 32 --json benchmarks/query_lesions.json

Monitors are fitted to the lesions of HAM10000's training side alone (validation and calibration images among them), and
tried on those of its test side. A caller sends about a hundred photographs, all of one lesion in a row, then those of
the next; ``several`` leaves out lesions that were photographed once. Without ``--bundle``, a guard of lesions that
learnt from the training side, nobody answers: `lifelike` is then run without its test of answers (``reach=0``).
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from salus.atomic import write_json
from salus.audit.watching import callers, need_groups, tried
from salus.data import Dataset, load
from salus.data.packed import take
from salus.detectors.queries import MONITORS, Stream
from salus.guard import Guard
from salus.storage import versions

#: Monitors that read no answers, and what is run where a guard answers.
SILENT = ("lifelike:reach=0", "nearest", "blacklight", "perceptual")
ANSWERED = ("lifelike", *SILENT)


def main() -> None:
    """Fit, try, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64, help="pixels of a side")
    parser.add_argument("--bundle", type=Path, help="a guard of lesions, of this size, that answers")
    parser.add_argument("--seed", type=int, default=0, help="of the split by lesion")
    parser.add_argument("--json", type=Path, help="where the result goes")
    options = parser.parse_args()
    splits = load("ham10000", size=options.size, seed=options.seed)
    guard = None if options.bundle is None else Guard.load(options.bundle)
    learnt = [
        stream for part in (splits.train, splits.validation, splits.calibration) for stream in streams(part, guard)
    ]
    ways = {
        "one lesion after another": (streams(splits.test, guard), 1),
        "one lesion after another, all sent twice": (streams(splits.test, guard), 2),
        "several photographs of each lesion": (streams(several(splits.test), guard), 1),
    }
    result: dict[str, Any] = {
        "command": f"python benchmarks/query_lesions.py {' '.join(sys.argv[1:])}",
        "machine": f"{platform.platform()}, {os.cpu_count()} cores",
        "versions": versions(),
        "size": options.size,
        "answered": guard is not None,
        "fitted": {"callers": len(learnt), "photographs": sum(len(stream.x) for stream in learnt)},
        "lesions": {"test": lesions(splits.test), "several": lesions(several(splits.test))},
        "monitors": {},
    }
    for spec in ANSWERED if guard is not None else SILENT:
        began = time.process_time()
        monitor = MONITORS.parse(spec).fit(learnt)
        rows = {}
        for way, (sent, times) in ways.items():
            found = tried(monitor, [again(stream, times) for stream in sent])
            rows[way] = {
                "callers": found.callers,
                "photographs": len(found.refused),
                "alarmed": found.alarmed,
                "refused": found.share,
            }
        result["monitors"][spec] = rows
        print(spec, rows, f"{time.process_time() - began:.0f} s of processor time", flush=True)
        if options.json is not None:
            write_json(options.json, result)


def streams(data: Dataset, guard: Guard | None) -> list[Stream]:
    """Let callers send a part's photographs, lesion after lesion; nobody answers without a guard."""
    return [Stream(who, x, answers(x, guard)) for who, rows in callers(data, "ham10000") for x in [take(data.x, rows)]]


def answers(x: Tensor, guard: Guard | None) -> Tensor:
    """Return what each is answered ``[N]``; class 0 where nobody answers."""
    return torch.zeros(len(x), dtype=torch.int64) if guard is None else guard(x).answers


def several(data: Dataset) -> Dataset:
    """Keep the lesions that were photographed more than once."""
    groups = need_groups(data, "ham10000")
    return data.subset((torch.bincount(groups)[groups] > 1).nonzero()[:, 0])


def lesions(data: Dataset) -> int:
    """Count the lesions of a part."""
    return len(need_groups(data, "ham10000").unique())


def again(stream: Stream, times: int) -> Stream:
    """Send the whole stream so many times."""
    return replace(stream, x=torch.cat([stream.x] * times), answers=torch.cat([stream.answers] * times))


if __name__ == "__main__":
    main()
