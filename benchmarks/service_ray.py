"""Load on guards on Ray Serve beside uvicorn's workers: the same guard, the same two cores, callers on them as well.

Each way of serving runs alone, one after another, and is asked as ``benchmarks/service.py`` asks:

- one process under uvicorn, and two (``--workers 2``);
- one replica on Ray Serve, and two (``--engine ray --replicas 2``), behind its one proxy.

Beside it: how long each takes from the command to its first answer, what all its processes use of the processor and of
memory, and, on two replicas under four callers, how long no answer comes when one of them is killed.

Run: python benchmarks/service_ray.py BUNDLE --seconds 10 --again 3
The bundle is that of ``benchmarks/service.py``; the result lands in benchmarks/service_ray.json.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from service import BATCH, CALLERS, _closed_loop, _Connection, _cpu, _medians, _open_loop, _phases, _request, _resident

from salus.atomic import write_json
from salus.classifier import Classifier
from salus.storage import versions

RESULT = Path(__file__).with_suffix(".json")

#: Ways of serving, by their options.
WAYS = {
    "uvicorn, 1 worker": ["--workers", "1"],
    "uvicorn, 2 workers": ["--workers", "2"],
    "Ray Serve, 1 replica": ["--engine", "ray", "--replicas", "1"],
    "Ray Serve, 2 replicas": ["--engine", "ray", "--replicas", "2"],
}

PATH = "/v1/guards/g/verdicts"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float, nargs="+", default=[100.0, 300.0], help="single beats a second")
    parser.add_argument("--again", type=int, default=1, help="rounds of load, ways of serving in turn")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    gc.collect()
    gc.freeze()  # the caller's own search for garbage would be counted as the server's latency
    gc.disable()
    shape = Classifier.load(options.bundle).shape
    x = torch.rand(BATCH, *shape, generator=torch.Generator().manual_seed(0)).numpy()
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in WAYS}
    for number in range(options.again):
        for name, words in WAYS.items():
            print(f"round {number + 1}: {name}", flush=True)
            with _serving(options.bundle, words) as (port, pid, seconds):
                rounds[name].append({"start_s": seconds, **_measure(port, pid, x, options.seconds, options.rate)})
                if name == "Ray Serve, 2 replicas":
                    rounds[name][-1].update(_killed(port, pid, x[:1]))
            print("   ", json.dumps(rounds[name][-1]), flush=True)
    medians = {name: _medians(each) for name, each in rounds.items()}
    rates = " ".join(f"{rate:g}" for rate in options.rate)
    command = f"--seconds {options.seconds:g} --rate {rates} --again {options.again}"
    result = {
        "command": f"python benchmarks/service_ray.py BUNDLE {command}",
        "machine": f"{platform.platform()}, {os.cpu_count()} cores, callers and servers together",
        "versions": versions(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "rounds": rounds,
        "medians": medians,
    }
    print(json.dumps(medians, indent=2))
    write_json(options.out, result)


@contextmanager
def _serving(bundle: Path, words: Sequence[str]) -> Iterator[tuple[int, int, float]]:
    """Start a service; give its port, its process and the seconds to its first answer. Each cluster is its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_ADDRESS": "local"}
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryFile() as output:
        command = [
            *(sys.executable, "-m", "salus.cli", "serve", f"g={bundle}", "--port", str(port), "--reload-seconds", "0"),
            *("--data-folder", f"{place}/data", "--key-file", f"{place}/keys/key.pem", *words),
        ]
        began = time.perf_counter()
        with subprocess.Popen(command, stdout=output, stderr=output, env=environment) as process:
            try:
                while not _ready(port):
                    if process.poll() is not None or time.perf_counter() - began > 300:
                        output.seek(0)
                        raise SystemExit(output.read().decode()[-2000:])
                    time.sleep(0.05)
                seconds = round(time.perf_counter() - began, 2)
                time.sleep(2)
                yield port, process.pid, seconds
            finally:
                process.send_signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(60)
                process.kill()


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5):
            return True
    except (OSError, urllib.error.URLError):
        return False


def _measure(port: int, pid: int, x: np.ndarray, seconds: float, rates: Sequence[float]) -> dict[str, Any]:
    """Ask about single beats at fixed times, at several rates, and about batches one after another."""
    single = _request(PATH, x[:1])
    asyncio.run(_open_loop(port, single, min(rates), 3.0))  # warm
    result: dict[str, Any] = {}
    for rate in rates:
        before, cpu = _phases(port), _all(pid, _cpu)
        latencies, errors = asyncio.run(_open_loop(port, single, rate, seconds))
        used = _all(pid, _cpu) - cpu
        latencies.sort()
        count, name = len(latencies), f"at_{rate:g}"
        result |= {
            f"{name}_p50_ms": round(1e3 * latencies[count // 2], 2),
            f"{name}_p99_ms": round(1e3 * latencies[int(0.99 * count)], 2),
            f"{name}_failed": errors,
            f"{name}_cpu_share": round(used / seconds, 3),
        }
        time.sleep(2.5)  # until all replicas have told what they counted
        after = _phases(port)
        result[f"{name}_mean_ms_of"] = {
            phase: round(1e3 * (after[phase][0] - before[phase][0]) / max(1.0, after[phase][1] - before[phase][1]), 3)
            for phase in before
        }
    beats, failed = asyncio.run(_closed_loop(port, _request(PATH, x), seconds))
    result |= {
        "batched_beats_a_second": round(beats / seconds),
        "batched_failed": failed,
        "processes": len(list(_below(pid))) + 1,
        "megabytes": round(_all(pid, _resident)),
    }
    return result


def _killed(port: int, pid: int, x: np.ndarray) -> dict[str, Any]:
    """Kill one of two replicas while callers ask; count what failed, and the longest time without an answer."""
    replicas = [each for each in _below(pid) if _name(each).startswith(b"ray::ServeReplica:")]
    answered: list[float] = []
    failed = 0

    async def caller(until: float) -> None:
        nonlocal failed
        connection, request = _Connection(port), _request(PATH, x)
        while time.perf_counter() < until:
            if await connection.ask(request):
                answered.append(time.perf_counter())
            else:
                failed += 1
                await asyncio.sleep(0.05)

    async def run() -> float:
        until = time.perf_counter() + 6.0
        callers = [asyncio.create_task(caller(until)) for _ in range(CALLERS)]
        await asyncio.sleep(2.0)
        os.kill(replicas[0], signal.SIGKILL)
        killed = time.perf_counter()
        await asyncio.gather(*callers)
        return killed

    killed = asyncio.run(run())
    moments = [killed, *(moment for moment in answered if moment > killed)]
    gap = float(np.diff(moments).max())
    return {"killed_failed_once": failed, "killed_longest_gap_ms": round(1e3 * gap)}


def _below(pid: int) -> Iterator[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in map(int, children):
        yield child
        yield from _below(child)


def _name(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _all(pid: int, measure: Any) -> float:
    """Add up a measure of a process and of all below it that still run."""
    total = 0.0
    for each in (pid, *_below(pid)):
        with suppress(OSError, IndexError):
            total += measure(each)
    return total


if __name__ == "__main__":
    main()
