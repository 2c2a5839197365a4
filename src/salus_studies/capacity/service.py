"""Guards in service, simulated: requests, batches, the log that all processes share (SimPy)."""

from __future__ import annotations

import random
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import simpy


@dataclass(frozen=True)
class Service:
    """What it costs to answer, in seconds.

    Attributes:
        http: of the event loop for each request, to read and to answer it.
        judge: of a forward pass, and of each input in it.
        log: of a transaction, and of each entry in it.
        batch_wait: from the beginning of one pass to that of the next, at least.
        log_wait: from the beginning of one transaction to that of the next, at least.
        most: inputs of a pass.
    """

    http: float
    judge: tuple[float, float]
    log: tuple[float, float]
    batch_wait: float = 0.020
    log_wait: float = 0.012
    most: int = 64


class _Worker:
    """One process: its event loop, which reads, judges and answers, and its log thread."""

    def __init__(self, world: simpy.Environment, service: Service, chain: simpy.Resource, done: list[float]) -> None:
        self._world, self._service, self._chain, self._done = world, service, chain, done
        self._loop = simpy.PriorityResource(world)
        self._asked: simpy.Store = simpy.Store(world)
        self._judged: simpy.Store = simpy.Store(world)
        world.process(self._judge())
        world.process(self._write())

    def request(self, late: float) -> Generator[Any, Any, None]:
        """Let a request come in, a little late."""
        yield self._world.timeout(late)
        came = self._world.now
        yield from self._busy(self._service.http)
        yield self._asked.put(came)

    def _busy(self, seconds: float) -> Generator[Any, Any, None]:
        with self._loop.request() as turn:
            yield turn
            yield self._world.timeout(seconds)

    def _judge(self) -> Generator[Any, Any, None]:
        begun = -1.0
        while True:
            first = yield self._asked.get()
            yield self._world.timeout(max(0.0, begun + self._service.batch_wait - self._world.now))
            begun = self._world.now
            batch = [first]
            while self._asked.items and len(batch) < self._service.most:
                batch.append((yield self._asked.get()))
            fixed, each = self._service.judge
            yield from self._busy(fixed + each * len(batch))
            for came in batch:
                yield self._judged.put(came)

    def _write(self) -> Generator[Any, Any, None]:
        begun = -1.0
        while True:
            first = yield self._judged.get()
            yield self._world.timeout(max(0.0, begun + self._service.log_wait - self._world.now))
            begun = self._world.now
            group = [first]
            while self._judged.items:
                group.append((yield self._judged.get()))
            fixed, each = self._service.log
            with self._chain.request() as turn:  # one writer among all processes
                yield turn
                yield self._world.timeout(fixed)
            yield from self._busy(each * len(group))  # Python's part of it holds up the loop
            self._done.extend(self._world.now - came for came in group)


def simulate(
    service: Service, rate: float, *, workers: int = 1, seconds: float = 20.0, seed: int = 0
) -> dict[str, Any]:
    """Let requests of one input each come, one at some moment of each interval, dealt to the workers in turn.

    Returns:
        The rate at which they were answered, and the median and 99th percentile of their latency in milliseconds, of
        those that came after the first tenth.
    """
    draws = random.Random(seed)
    world, done = simpy.Environment(), list[float]()
    chain = simpy.Resource(world)
    crew = [_Worker(world, service, chain, done) for _ in range(workers)]

    def source() -> Generator[Any, Any, None]:
        for number in range(int(rate * seconds)):
            world.process(crew[number % workers].request(draws.random() / rate))
            yield world.timeout(1 / rate)

    world.process(source())
    world.run(until=seconds)
    kept = sorted(done[len(done) // 10 :])
    return {
        "rate": rate,
        "answered": len(done) / seconds,
        "p50_ms": 1e3 * kept[len(kept) // 2] if kept else None,
        "p99_ms": 1e3 * kept[int(0.99 * len(kept))] if kept else None,
    }


def saturation(service: Service, *, workers: int = 1, seconds: float = 10.0) -> float:
    """Return the highest rate of single inputs, to a twentieth, that are answered as fast as they come, p99 < 1 s."""
    low, high = 1.0, 2.0 / service.http * workers
    while high - low > 0.05 * low:
        middle = (low * high) ** 0.5
        found = simulate(service, middle, workers=workers, seconds=seconds)
        good = found["answered"] > 0.9 * middle and found["p99_ms"] is not None and found["p99_ms"] < 1000
        low, high = (middle, high) if good else (low, middle)
    return low
