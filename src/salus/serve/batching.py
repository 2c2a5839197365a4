"""Requests that come together are judged together: one forward pass for all that waited while the last one ran."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from salus.serve.guards import LoadedGuard
from salus.serve.problems import ProblemDetailsError
from salus.verdict import Verdict


@dataclass(frozen=True, eq=False)
class Judged:
    """What the guard says of one request's inputs, as plain values.

    Attributes:
        labels: class of each ``[n]``.
        accepted: whether each is accepted ``[n]``.
        probabilities: ``[n][K]``.
        scores: detector -> suspicion of each ``[n]``; None where it is no number.
        rejects: detector -> whether it rejects each ``[n]``.
        thresholds: detector -> above which suspicion it rejects.
        waited: seconds in the queue.
        seconds: that the forward pass and the detectors took, for all that shared them.
        shared: inputs that shared them.
        withheld: whether the caller is told no probabilities.
    """

    labels: list[int]
    accepted: list[bool]
    probabilities: list[list[float]]
    scores: dict[str, list[float | None]]
    rejects: dict[str, list[bool]]
    thresholds: dict[str, float]
    waited: float
    seconds: float
    shared: int
    withheld: bool = False


@dataclass(frozen=True, eq=False)
class _Waiting:
    served: LoadedGuard
    x: Tensor
    future: asyncio.Future[tuple[Judged, Verdict]]
    since: float


#: Seconds of a pass that may hold up the loop.
_SHORT = 0.015


class Batcher:
    """Judges inputs of many requests, in batches of what waits.

    Args:
        batch: inputs of one forward pass, at most, unless a single request has more.
        wait: seconds from one pass to the next, at least, in which requests gather.
        queue: inputs that may wait.
        threads: threads of a forward pass.
    """

    def __init__(self, *, batch: int, wait: float, queue: int, threads: int = 1) -> None:
        self._batch, self._wait, self._queue, self._threads = batch, wait, queue, threads
        self._pool = ThreadPoolExecutor(1, "salus-judge", torch.set_num_threads, (threads,))
        self._waiting: deque[_Waiting] = deque()
        self._count = 0
        self._begun = -math.inf  # when the last pass was
        self._judging = False
        self._last = 1, math.inf  # inputs of the last pass, and its seconds
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Inputs in the queue."""
        return self._count

    @property
    def running(self) -> bool:
        """Whether it judges what comes."""
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Begin to judge, in the running loop."""
        torch.set_num_threads(self._threads)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Judge what waits, then stop."""
        while (self._waiting or self._judging) and self._task is not None and not self._task.done():
            await asyncio.sleep(0.005)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._pool.shutdown()

    def judge(self, served: LoadedGuard, x: Tensor) -> asyncio.Future[tuple[Judged, Verdict]]:
        """Judge prepared inputs ``[n, ...]`` of one request; what becomes of them, once it is their turn.

        Raises:
            ProblemDetailsError: the queue is full, or the guard failed.
        """
        if self._count and self._count + len(x) > self._queue:
            raise ProblemDetailsError(
                "too-many",
                f"{self._count} inputs wait already, and the queue holds {self._queue}; try again a little later.",
                min(60.0, self._seconds(self._count)),
            )
        future: asyncio.Future[tuple[Judged, Verdict]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(served, x, future, time.perf_counter()))
        self._count += len(x)
        self._arrived.set()
        return future

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            if self._count < self._batch and (early := self._begun + self._wait - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            self._begun = time.perf_counter()
            group = self._take()
            if not group:
                continue
            self._judging = True
            try:
                answers = await self._judged(group)
            except Exception as error:  # a model may fail in any way
                problem = ProblemDetailsError(
                    "unavailable",
                    f"The guard {group[0].served.name!r} failed on these inputs ({type(error).__name__}); the "
                    "service's own log says more.",
                    5,
                )
                problem.__cause__ = error
                for each in group:
                    if not each.future.done():
                        each.future.set_exception(problem)
                continue
            finally:
                self._judging = False
            for each, answer in zip(group, answers, strict=True):
                if not each.future.done():
                    each.future.set_result(answer)
            self._last = answers[0][0].shared, answers[0][0].seconds

    async def _judged(self, group: list[_Waiting]) -> list[tuple[Judged, Verdict]]:
        """Judge a group: a short pass here and now, a long one in a thread, so that the loop goes on meanwhile.

        Each of a pass's many small steps lets other threads run, and would wait for them to get its turn again.
        """
        what = (group[0].served, [each.x for each in group], [each.since for each in group])
        if self._seconds(sum(len(x) for x in what[1])) < _SHORT:
            return _judge(*what)
        return await asyncio.get_running_loop().run_in_executor(self._pool, _judge, *what)

    def _seconds(self, count: int) -> float:
        """Guess how long a pass takes by the last one."""
        inputs, seconds = self._last
        return seconds * max(1.0, count / inputs)

    def _take(self) -> list[_Waiting]:
        """Take what goes into the next pass: requests of one guard, as many as fit, given up ones left out."""
        group: list[_Waiting] = []
        count = 0
        others: deque[_Waiting] = deque()
        while self._waiting and count < self._batch:
            each = self._waiting.popleft()
            if each.future.done():  # nobody waits for it any more
                self._count -= len(each.x)
            elif group and (each.served is not group[0].served or count + len(each.x) > self._batch):
                others.append(each)
                if each.served is group[0].served:
                    break  # whoever came first goes first
            else:
                group.append(each)
                count += len(each.x)
        self._waiting.extendleft(reversed(others))
        self._count -= count
        if not self._waiting:
            self._arrived.clear()
        return group


def judged_at_once(served: LoadedGuard, x: Tensor) -> Judged:
    """Judge inputs here and now, without a queue."""
    return _judge(served, [x], [time.perf_counter()])[0][0]


def _judge(served: LoadedGuard, requests: list[Tensor], since: list[float]) -> list[tuple[Judged, Verdict]]:
    """Judge the inputs of several requests in one go, and deal out the answers."""
    began = time.perf_counter()
    guard = served.guard
    x = torch.cat(requests) if len(requests) > 1 else requests[0]
    verdict = guard(x.to(guard.classifier.device))
    if not bool((answerable := verdict.probabilities.isfinite().all(1)).all()):  # what is no answer is none accepted
        verdict = replace(verdict, accepted=verdict.accepted & answerable)
    labels, accepted = verdict.labels.tolist(), verdict.accepted.tolist()
    probabilities = verdict.probabilities.tolist()
    scores = {
        key: [value if math.isfinite(value) else None for value in score.tolist()]
        for key, score in verdict.scores.items()
    }
    rejects = {key: flags.tolist() for key, flags in verdict.rejected_by.items()}
    seconds = time.perf_counter() - began
    answers, first = [], 0
    for own, arrived in zip(requests, since, strict=True):
        rows = slice(first, first := first + len(own))
        judged = Judged(
            labels[rows],
            accepted[rows],
            probabilities[rows],
            {key: values[rows] for key, values in scores.items()},
            {key: values[rows] for key, values in rejects.items()},
            verdict.thresholds,
            began - arrived,
            seconds,
            len(x),
        )
        answers.append((judged, _rows(verdict, rows)))
    return answers


def _rows(verdict: Verdict, rows: slice) -> Verdict:
    """Take some rows of a verdict."""
    return Verdict(
        verdict.labels[rows],
        verdict.probabilities[rows],
        verdict.accepted[rows],
        {key: value[rows] for key, value in verdict.rejected_by.items()},
        {key: value[rows] for key, value in verdict.scores.items()},
        verdict.thresholds,
    )
