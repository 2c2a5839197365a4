"""Checks a second of each monitor of callers, over so many stored queries, in memory and with its state in SQLite.

    python benchmarks/monitors.py --stored 1000000 --json benchmarks/monitors.json

The queries that are stored are random beats of 280 values, no two alike, dealt to as many callers as windows of 2,000
make; then callers in turn ask about new ones, one at a time and 64 at a time, as `salus serve` shows them to the
monitor: compared with the caller's window, kept, and brought together with the database twice a second. Times are those
of the processor, one thread, so that a busy machine counts as a quiet one. SQLite is measured with the state of one
monitor at a time, in a folder that is deleted.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from salus.atomic import write_json
from salus.detectors.queries import MONITORS, InProcess, Monitor, Stream
from salus.serve.database import Database
from salus.serve.watching.memory import SharedMemory, shared_salt
from salus.storage import versions

#: Values of a beat, queries that are remembered of a caller, and those of a request of many.
LENGTH, WINDOW, BATCH = 280, 2000, 64
#: Seconds after which `salus serve` writes what it has seen.
SYNC = 0.5


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stored", type=int, default=1_000_000, help="queries that are stored before")
    parser.add_argument("--seconds", type=float, default=5.0, help="that each way of asking is measured")
    parser.add_argument("--monitors", default="lifelike,nearest,blacklight,perceptual,updates")
    parser.add_argument("--json", type=Path, help="where the result goes")
    options = parser.parse_args()
    result: dict[str, Any] = {
        "command": f"python benchmarks/monitors.py {' '.join(sys.argv[1:])}",
        "machine": f"{platform.platform()}, {os.cpu_count()} cores",
        "load": os.getloadavg()[0],
        "versions": versions(),
        "stored": options.stored,
        "window": WINDOW,
        "batch": BATCH,
        "monitors": {},
    }
    for name in options.monitors.split(","):
        # a process each, so that what one held is not what the next is given
        with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=limited) as alone:
            row = alone.submit(measured, name, options.stored, options.seconds).result()
        result["monitors"][name] = row
        print(name, ", ".join(f"{key} {value:,.6g}" for key, value in row.items()), flush=True)
        if options.json is not None:
            write_json(options.json, result)


def limited() -> None:
    """Keep a process to one thread, as a worker of a service that has several is."""
    torch.set_num_threads(1)


def measured(name: str, stored: int, seconds: float) -> dict[str, float]:
    """Fill a monitor's memory, ask it, and say how fast it was and how much it holds."""
    monitor = MONITORS.find(name)()
    monitor.fit([stream(seed, 300) for seed in range(4)])
    callers = max(stored // WINDOW, 1)
    before = resident()
    with tempfile.TemporaryDirectory(prefix="salus-monitors-") as place:
        database = Database.open(f"sqlite:///{place}/service.sqlite")
        memory = SharedMemory(database, "ecg", monitor, shared_salt(database), window=WINDOW, most=callers)
        monitor.memory = memory
        began = time.process_time()
        fill(monitor, memory, callers, stored)
        filled = time.process_time() - began
        batch = rate(monitor, memory, callers, BATCH, seconds)
        single = rate(monitor, memory, callers, 1, seconds)
        found = {
            "callers": callers,
            "filled_per_second": stored / filled,
            "batch_per_second": batch,
            "single_per_second": single,
            "memory_bytes": resident() - before,
            "disk_bytes": sum(file.stat().st_size for file in Path(place).iterdir()),
        }
        database.close()
        monitor.memory = InProcess()
    return found


def fill(monitor: Monitor, memory: SharedMemory, callers: int, stored: int) -> None:
    """Store so many queries, each caller's window in turn, through the monitor's own traces; nothing is compared."""
    from salus.detectors.queries import News

    state = torch.zeros(len(monitor.tests), dtype=torch.float64)
    for caller in range(callers):
        x = beats(1_000_000 + caller, min(WINDOW, stored))
        traces, digests = monitor.trace(x), tuple(monitor.digests(x))
        times = torch.zeros(len(x), dtype=torch.float64)
        scores = torch.zeros(len(x), dtype=torch.float64)
        memory.recall(f"c{caller}")
        memory.keep(f"c{caller}", News(traces, torch.zeros(len(x), dtype=torch.int64), times, digests, state, scores))
        memory.sync()


def rate(monitor: Monitor, memory: SharedMemory, callers: int, size: int, seconds: float) -> float:
    """Ask in requests of a size, callers in turn, and count checks a second of processor time, writing included."""
    asked, turn, x = 0, 0, beats(7, 4096 + size)
    answers = torch.zeros(size, dtype=torch.int64)
    began = synced = time.process_time()
    while (now := time.process_time()) - began < seconds:
        place = turn * size % 4096
        point = x[place : place + size] + 1e-3 * (turn + 1)
        monitor.observe(f"c{turn % callers}", point, now, answers)
        asked, turn = asked + size, turn + 1
        if now - synced > SYNC:
            memory.sync()
            synced = now
    memory.sync()
    return asked / (time.process_time() - began)


def beats(seed: int, count: int) -> Tensor:
    """Draw beats ``[count, 1, LENGTH]``."""
    return torch.rand(count, 1, LENGTH, generator=torch.Generator().manual_seed(seed))


def stream(seed: int, count: int) -> Stream:
    """Draw an honest caller."""
    return Stream(f"p{seed}", beats(seed, count), torch.zeros(count, dtype=torch.int64))


def resident() -> int:
    """Return the bytes of memory that this process holds."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:  # no Linux: the most that it ever held
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main()
