"""Requests that share a forward pass get what they would have got alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor

from salus.guard import Guard
from salus.serve.batching import Batcher, Judged, judged_at_once
from salus.serve.guards import LoadedGuard, fingerprint_of
from salus.serve.limits import Rates, Room
from salus.serve.problems import ProblemDetailsError

T = TypeVar("T")


def _served(guard: Guard) -> LoadedGuard:
    return LoadedGuard("toy", Path("toy"), guard, fingerprint_of(guard), 0.0)


class _Slow:
    """Counts passes and holds them until it is let go."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self.sizes: list[int] = []
        self.go = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guard, name)

    def __call__(self, x: Tensor) -> Any:
        self.go.wait(10)
        self.sizes.append(len(x))
        return self._guard(x)


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def test_requests_that_wait_share_a_pass_and_get_their_own_answers(toy: Any) -> None:
    guard = toy.guard()
    slow = _Slow(guard)
    served = _served(slow)  # type: ignore[arg-type]
    alone = [judged_at_once(_served(guard), toy.test.x[i : i + 3]) for i in range(0, 30, 3)]

    async def ask() -> list[Judged]:
        batcher = Batcher(batch=64, wait=0, queue=1000)
        batcher.start()
        first = asyncio.ensure_future(batcher.judge(served, toy.test.x[:3]))
        await asyncio.sleep(0.05)
        others = [asyncio.ensure_future(batcher.judge(served, toy.test.x[i : i + 3])) for i in range(3, 30, 3)]
        await asyncio.sleep(0.01)
        slow.go.set()
        answers = [(await task)[0] for task in (first, *others)]
        await batcher.close()
        return answers

    together = _run(ask())
    assert slow.sizes == [3, 27]
    for one, shared in zip(alone, together, strict=True):
        assert one.labels == shared.labels
        assert one.accepted == shared.accepted
        assert torch.allclose(torch.tensor(one.probabilities), torch.tensor(shared.probabilities), atol=1e-6)


def test_a_full_queue_refuses_with_a_time_to_come_again_and_then_takes_more(toy: Any) -> None:
    slow = _Slow(toy.guard())
    served = _served(slow)  # type: ignore[arg-type]

    async def ask() -> None:
        batcher = Batcher(batch=4, wait=0, queue=8)
        batcher.start()
        running = asyncio.ensure_future(batcher.judge(served, toy.test.x[:4]))
        await asyncio.sleep(0.05)
        waiting = asyncio.ensure_future(batcher.judge(served, toy.test.x[:8]))
        await asyncio.sleep(0)
        with pytest.raises(ProblemDetailsError) as caught:
            await batcher.judge(served, toy.test.x[:1])
        assert caught.value.kind == "too-many"
        assert caught.value.retry_after is not None
        slow.go.set()
        await running
        await waiting
        await batcher.judge(served, toy.test.x[:1])
        await batcher.close()
        assert batcher.waiting == 0

    _run(ask())


def test_a_guard_that_fails_fails_its_group_alone(toy: Any) -> None:
    class Broken(_Slow):
        def __call__(self, x: Tensor) -> Any:
            raise RuntimeError("no memory")

    async def ask() -> None:
        batcher = Batcher(batch=4, wait=0, queue=100)
        batcher.start()
        with pytest.raises(ProblemDetailsError) as caught:
            await batcher.judge(_served(Broken(toy.guard())), toy.test.x[:4])  # type: ignore[arg-type]
        assert caught.value.kind == "unavailable"
        assert "no memory" not in caught.value.detail
        judged, _ = await batcher.judge(_served(toy.guard()), toy.test.x[:4])
        assert len(judged.labels) == 4
        await batcher.close()

    _run(ask())


def test_closing_answers_what_waits(toy: Any) -> None:
    async def ask() -> int:
        batcher = Batcher(batch=2, wait=0, queue=100)
        batcher.start()
        served = _served(toy.guard())
        tasks = [asyncio.ensure_future(batcher.judge(served, toy.test.x[i : i + 1])) for i in range(20)]
        await asyncio.sleep(0)
        await batcher.close()
        return sum([len((await task)[0].labels) for task in tasks])

    assert _run(ask()) == 20


def test_who_gave_up_costs_no_pass(toy: Any) -> None:
    slow = _Slow(toy.guard())
    served = _served(slow)  # type: ignore[arg-type]

    async def ask() -> None:
        batcher = Batcher(batch=2, wait=0, queue=100)
        batcher.start()
        running = asyncio.ensure_future(batcher.judge(served, toy.test.x[:2]))
        await asyncio.sleep(0.05)
        waiting = [asyncio.ensure_future(batcher.judge(served, toy.test.x[:2])) for _ in range(5)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        slow.go.set()
        await running
        await batcher.close()

    _run(ask())
    assert slow.sizes == [2]


def test_what_has_no_number_for_an_answer_is_not_accepted(toy: Any) -> None:
    class Void(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.full((len(x), 3), float("nan"))

    from salus.classifier import Classifier

    guard = Guard(Classifier(Void(), ("a", "b", "c"), shape=(8,)))
    assert judged_at_once(_served(guard), toy.test.x[:2]).accepted == [False, False]


def test_a_bucket_fills_at_its_rate_whatever_the_clock_does() -> None:
    now = 100.0
    rates = Rates(2.0, burst=4, clock=lambda: now)
    rates.charge("t", 4)
    with pytest.raises(ProblemDetailsError) as caught:
        rates.charge("t", 1)
    assert caught.value.retry_after == pytest.approx(0.5)
    rates.charge("other", 4)
    now = 101.0
    rates.charge("t", 2)
    now = 50.0
    with pytest.raises(ProblemDetailsError):
        rates.charge("t", 1)


def test_room_is_given_back() -> None:
    room = Room(10)
    with room.reserved() as take:
        take(6)
        with pytest.raises(ProblemDetailsError), room.reserved() as more:
            more(5)
    assert room.taken == 0
