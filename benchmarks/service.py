"""Load on a guard in service: how many beats a second, how fast, and where the time goes.

Each server runs alone, one after another, in a process of its own, and is asked by this process on the same machine:

- Salus with the guard, and with its bare classifier (what the guard adds);
- plain FastAPI with the same bare classifier, a forward pass for each request, no log;
- LitServe with it, which takes JSON alone, no log (with the extra ``bench``).

Single beats are asked about at fixed times (open loop), whether earlier answers have come or not, and their latency
counts from when they should have been sent. Batches of 64 are asked about by four callers, one after another.

Run: python benchmarks/service.py BUNDLE --seconds 10 --again 3; and ... BUNDLE --again 0 --memory 1000000
The bundle is one of ``salus guard fit --data mitdb --model ecg-cnn --defence i-defender``; the result lands in
benchmarks/service.json.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import io
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from starlette.requests import Request

from salus.atomic import write_json
from salus.classifier import Classifier
from salus.storage import versions

RESULT = Path(__file__).with_suffix(".json")
BATCH, CALLERS = 64, 4
LITSERVE = "/litserve"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=300.0)
    parser.add_argument("--memory", type=int, default=0, help="beats over which the memory is watched")
    parser.add_argument("--again", type=int, default=1, help="rounds of load, servers in turn")
    options = parser.parse_args()
    gc.collect()
    gc.freeze()  # the caller's own search for garbage, 150 ms long, would be counted as the server's latency
    gc.disable()
    shape = Classifier.load(options.bundle).shape
    x = torch.rand(BATCH, *shape, generator=torch.Generator().manual_seed(0)).numpy()
    with tempfile.TemporaryDirectory() as place:
        bare = Path(place) / "bare"
        shutil.copytree(options.bundle, bare, ignore=shutil.ignore_patterns("guard.json", "detector-*", "purifier*"))
        servers = _servers(options.bundle, bare, Path(place))
        measured: dict[str, Any] = {}
        if options.again:
            rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in servers}
            for number in range(options.again):
                for name, start in servers.items():
                    print(f"round {number + 1}: {name}", flush=True)
                    rounds[name].append(_measure(start, x, options.seconds, options.rate))
                    print("   ", json.dumps(rounds[name][-1]), flush=True)
            medians = {name: _medians(each) for name, each in rounds.items()}
            words = f"--seconds {options.seconds:g} --rate {options.rate:g} --again {options.again}"
            measured["load"] = {**_circumstances(words), "rounds": rounds, "medians": medians}
            added = medians["salus, guarded"]["p50_ms"] / medians["salus, bare"]["p50_ms"] - 1
            print(json.dumps(medians, indent=2), f"\nthe guard adds {added:.0%} to p50")
        if options.memory:
            memory = _memory(servers["salus, guarded"], x, options.memory)
            measured["memory"] = {**_circumstances(f"--again 0 --memory {options.memory}"), **memory}
    before = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    write_json(RESULT, {**before, **measured})  # each part stays until it is measured again


def _circumstances(words: str) -> dict[str, Any]:
    return {
        "command": f"python benchmarks/service.py BUNDLE {words}",
        "machine": f"{platform.platform()}, {os.cpu_count()} cores, callers and server together",
        "versions": versions(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _servers(bundle: Path, bare: Path, place: Path) -> dict[str, Callable[[], Any]]:
    def salus(folder: Path) -> list[str]:
        return [
            *(sys.executable, "-m", "salus.cli", "serve", f"g={folder}", "--port", "{port}", "--reload-seconds", "0"),
            *("--data-folder", f"{place}/data", "--key-file", f"{place}/keys/key.pem"),
        ]

    servers = {
        "salus, guarded": lambda: _running(salus(bundle), "/v1/guards/g/verdicts"),
        "salus, bare": lambda: _running(salus(bare), "/v1/guards/g/verdicts"),
        "fastapi, bare": lambda: _running([sys.executable, __file__, "serve-fastapi", str(bare), "{port}"], "/predict"),
    }
    if find_spec("litserve"):
        servers["litserve, bare"] = lambda: _running(
            [sys.executable, __file__, "serve-litserve", str(bare), "{port}"], LITSERVE
        )
    return servers


@contextmanager
def _running(command: Sequence[str], path: str) -> Iterator[tuple[int, str, int]]:
    """Start a server, wait until it answers, end it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [word.replace("{port}", str(port)) for word in command]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as output, subprocess.Popen(
        words, stdout=output, stderr=output, env=environment, start_new_session=True
    ) as process:  # fmt: skip
        try:
            for _ in range(600):
                with socket.socket() as probe:
                    if not probe.connect_ex(("127.0.0.1", port)):
                        break
                if process.poll() is not None:
                    output.seek(0)
                    raise SystemExit(output.read().decode()[-2000:])
                time.sleep(0.1)
            time.sleep(1)
            yield port, path, process.pid
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it may have started itself


def _measure(start: Callable[[], Any], x: np.ndarray, seconds: float, rate: float) -> dict[str, Any]:
    with start() as (port, path, pid):
        single = _request(path, x[:1])
        asyncio.run(_open_loop(port, single, rate, 3.0))  # warm
        before, cpu = _phases(port), _cpu(pid)
        latencies, errors = asyncio.run(_open_loop(port, single, rate, seconds))
        after, used = _phases(port), _cpu(pid) - cpu
        many = _request(path, x, as_json=path == LITSERVE)
        beats, batch_errors = asyncio.run(_closed_loop(port, many, seconds))
    latencies.sort()
    count = len(latencies)
    result: dict[str, Any] = {
        "single_a_second": round(count / seconds, 1),
        "errors": errors + batch_errors,
        "p50_ms": round(1e3 * statistics.median(latencies), 2),
        "p99_ms": round(1e3 * latencies[int(0.99 * count)], 2),
        "max_ms": round(1e3 * latencies[-1], 2),
        "cpu_share": round(used / seconds, 3),
        "batched_beats_a_second": round(beats / seconds),
    }
    if before:
        phases = {
            phase: round(1e3 * (after[phase][0] - before[phase][0]) / (after[phase][1] - before[phase][1]), 3)
            for phase in before
        }
        phases["all"] = round(1e3 * statistics.fmean(latencies), 3)
        phases["http"] = round(phases["all"] - sum(value for key, value in phases.items() if key != "all"), 3)
        result["mean_ms_of"] = phases
    return result


def _request(path: str, x: np.ndarray, *, as_json: bool = False) -> bytes:
    """Write a request: one beat as JSON, many as an array."""
    if len(x) == 1 or as_json:
        kind, body = "application/json", json.dumps({"inputs": x.tolist(), "prepared": True}).encode()
    else:
        file = io.BytesIO()
        np.save(file, x)
        kind, body = "application/x-npy", file.getvalue()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class _Connection:
    """One connection of HTTP/1.1 that costs the caller next to nothing."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> bool:
        """Send a request; tell whether it was answered with 200."""
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._streams
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            lower = head.lower()
            at = lower.index(b"content-length:") + 15
            await reader.readexactly(int(lower[at : lower.index(b"\r\n", at)]))
            return head[9:12] == b"200"
        except (OSError, asyncio.IncompleteReadError, ValueError):
            self.close()
            return False

    def close(self) -> None:
        """End it."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _open_loop(port: int, request: bytes, rate: float, seconds: float) -> tuple[list[float], int]:
    """Ask at fixed times; return latencies from when each should have been sent, and how many failed."""
    idle: list[_Connection] = []
    latencies: list[float] = []
    failed = 0

    async def one(due: float) -> None:
        nonlocal failed
        connection = idle.pop() if idle else _Connection(port)
        good = await connection.ask(request)
        latencies.append(time.perf_counter() - due)
        failed += not good
        idle.append(connection)

    began = time.perf_counter() + 0.05
    tasks = []
    for number in range(int(rate * seconds)):
        due = began + number / rate
        if (ahead := due - time.perf_counter()) > 0:
            await asyncio.sleep(ahead)
        tasks.append(asyncio.create_task(one(due)))
    await asyncio.gather(*tasks)
    for connection in idle:
        connection.close()
    return latencies, failed


async def _closed_loop(
    port: int, request: bytes, seconds: float, most: int | None = None, watch: Callable[[int], None] | None = None
) -> tuple[int, int]:
    """Ask about batches one after another, several callers at once; return beats answered and requests that failed."""
    done, failed, end = 0, 0, time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal done, failed
        connection = _Connection(port)
        while time.perf_counter() < end and (most is None or done < most):
            if await connection.ask(request):
                done += BATCH
                if watch is not None:
                    watch(done)
            else:
                failed += 1
        connection.close()

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return done, failed


def _memory(start: Callable[[], Any], x: np.ndarray, beats: int) -> dict[str, Any]:
    """Watch the server's resident memory over many beats."""
    with start() as (port, path, pid):
        steps: dict[int, float] = {}

        def watch(done: int) -> None:
            place = done // (beats // 20) * (beats // 20)
            if place not in steps:
                steps[place] = _resident(pid)
                print(f"    {done} beats: {steps[place]:.0f} MB", flush=True)

        began = time.perf_counter()
        done, failed = asyncio.run(_closed_loop(port, _request(path, x), 1e9, beats, watch))
        seconds = time.perf_counter() - began
    return {
        "beats": done,
        "errors": failed,
        "beats_a_second": round(done / seconds),
        "megabytes": {str(place): round(size, 1) for place, size in steps.items()},
    }


def _resident(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _cpu(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _phases(port: int) -> dict[str, tuple[float, float]]:
    """Read how long Salus says that each part of its requests took: seconds and counts."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return {}
    sums, counts = ({}, {})  # type: tuple[dict[str, float], dict[str, float]]
    for line in lines:
        for values, word in ((sums, "salus_phase_seconds_sum"), (counts, "salus_phase_seconds_count")):
            if line.startswith(word):
                values[line.split('"')[1]] = float(line.split()[-1])
    return {phase: (sums[phase], counts[phase]) for phase in sums}


def _medians(rounds: Sequence[dict[str, Any]]) -> dict[str, float]:
    keys = [key for key, value in rounds[0].items() if not isinstance(value, dict)]
    return {key: statistics.median(each[key] for each in rounds) for key in keys}


class _Bare:
    """The bare classifier, as tutorials put one behind HTTP: parse, one forward pass, answer."""

    def __init__(self, folder: Path) -> None:
        torch.set_num_threads(1)
        self._classifier = Classifier.load(folder)
        self._module = self._classifier.module.eval()

    @staticmethod
    async def read(request: Request) -> torch.Tensor:
        """Read a body."""
        body = await request.body()
        if request.headers["content-type"] == "application/json":
            return torch.tensor(json.loads(body)["inputs"])
        return torch.from_numpy(np.load(io.BytesIO(body)))

    def judge(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the probabilities."""
        with torch.inference_mode():
            probabilities: torch.Tensor = self._module(x).softmax(1)
            return probabilities

    def answer(self, probabilities: torch.Tensor) -> dict[str, Any]:
        """Write an answer."""
        labels = [self._classifier.classes[label] for label in probabilities.argmax(1).tolist()]
        return {"labels": labels, "probabilities": probabilities.tolist()}


def serve_fastapi(folder: Path, port: int) -> None:
    """Serve the bare classifier by plain FastAPI."""
    import uvicorn
    from fastapi import FastAPI

    bare, app = _Bare(folder), FastAPI()

    @app.post("/predict")
    async def predict(request: Request) -> dict[str, Any]:
        return bare.answer(bare.judge(await bare.read(request)))

    uvicorn.run(app, port=port, log_level="error", access_log=False)


def serve_litserve(folder: Path, port: int) -> None:
    """Serve it by LitServe."""
    import litserve

    litserve.LitServer(LitServeApi(folder, api_path=LITSERVE), accelerator="cpu").run(
        port=port, num_api_servers=1, generate_client_file=False, log_level="error"
    )


def litserve_api() -> Any:
    """Make LitServe's description of the classifier; its worker process finds it by name."""
    import litserve

    class Api(litserve.LitAPI):  # type: ignore[misc]
        """One request is one input, or an array of them."""

        def __init__(self, folder: Path, **options: Any) -> None:
            super().__init__(**options)
            self._folder = folder

        def setup(self, device: str) -> None:
            """Load it."""
            self._bare = _Bare(self._folder)

        def decode_request(self, request) -> torch.Tensor:  # type: ignore[no-untyped-def] # LitServe reads it
            """Read a body; it takes JSON alone."""
            return torch.tensor(request["inputs"])

        def predict(self, x: torch.Tensor) -> torch.Tensor:
            """Judge."""
            return self._bare.judge(x)

        def encode_response(self, probabilities: torch.Tensor) -> dict[str, Any]:
            """Write an answer."""
            return self._bare.answer(probabilities)

    Api.__qualname__ = "LitServeApi"
    return Api


if find_spec("litserve"):
    LitServeApi = litserve_api()


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] == "serve-fastapi":
        serve_fastapi(Path(sys.argv[2]), int(sys.argv[3]))
    elif len(sys.argv) == 4 and sys.argv[1] == "serve-litserve":
        serve_litserve(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
