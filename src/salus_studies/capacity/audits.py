"""Audits on many workers, simulated: cells, and the one owner that hands them out and stores them (SimPy)."""

from __future__ import annotations

import random
from collections.abc import Generator, Sequence
from typing import Any

import simpy


def simulate(seconds: Sequence[float], workers: int, owner: float, way: float = 0.0) -> float:
    """Run cells on workers; return how long the audit takes.

    Args:
        seconds: what each cell takes, in the order in which they are handed out.
        workers: how many there are.
        owner: seconds of the owner for each cell, one after another: to hand it out, check and store it.
        way: seconds that a cell is under way, there and back, in which its worker has nothing to do.
    """
    world = simpy.Environment()
    desk = simpy.Resource(world)
    waiting = list(reversed(seconds))

    def worker() -> Generator[Any, Any, None]:
        while waiting:
            work = waiting.pop()
            yield world.timeout(way + work)
            world.process(store())

    def store() -> Generator[Any, Any, None]:
        with desk.request() as turn:
            yield turn
            yield world.timeout(owner)

    for _ in range(workers):
        world.process(worker())
    world.run()
    return float(world.now)


def cells(count: int, mean: float, seed: int) -> list[float]:
    """Draw what cells take: log-normal with a standard deviation like the mean, as audits of several attacks have."""
    draws = random.Random(seed)
    sigma = 0.8326  # of the logarithm: sqrt(log 2)
    return [mean * draws.lognormvariate(-sigma * sigma / 2, sigma) for _ in range(count)]
