"""What a guard costs in time, beside the classifier that it stands before."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from salus.batches import rows_at_once
from salus.guard import Guard

_BATCH = 128
_SLOW_BATCH = 8
_ROUNDS = 15
_SECONDS = 10.0


def extra_cost(guard: Guard, x: Tensor) -> float | None:
    """Return the time that a verdict takes beyond one without defences, as a share of the classifier's forward pass.

    Medians of rounds in which each takes its turn, on a batch of 128, of fewer where samples are large, or of 8 where a
    verdict takes seconds. As many processors are used as torch may use.

    Args:
        guard: the guard.
        x: inputs ``[N, ...]`` to judge; None comes back where there are none.
    """
    if not len(x):
        return None
    bare = Guard(guard.classifier)
    started = time.perf_counter()
    guard(x[:_SLOW_BATCH])  # warms up, and shows what a batch may cost
    slow = (time.perf_counter() - started) * _BATCH / _SLOW_BATCH > _SECONDS / _ROUNDS
    batch = x[: _SLOW_BATCH if slow else rows_at_once(x, _BATCH)]
    ways: tuple[Callable[[Tensor], object], ...] = (guard.classifier, bare, guard)
    times: tuple[list[float], ...] = ([], [], [])
    with torch.no_grad():
        for way in ways[:2]:
            way(batch)
        while len(times[0]) < _ROUNDS and (not times[0] or time.perf_counter() - started < _SECONDS):
            for way, seconds in zip(ways, times, strict=True):
                seconds.append(_seconds(way, batch))
    forward, without, guarded = (statistics.median(seconds) for seconds in times)
    return max(0.0, guarded - without) / forward


def _seconds(run: Callable[[Tensor], object], batch: Tensor) -> float:
    started = time.perf_counter()
    run(batch)
    if batch.device.type == "cuda":
        torch.cuda.synchronize(batch.device)
    return time.perf_counter() - started
