"""What attacks share that walk for the smallest change with a pass a step, and keep the nearest success."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from salus.attacks.base import Attack
from salus.attacks.objective import Evaluation
from salus.attacks.search import Search
from salus.attacks.settings import LargestEps, Norm, Steps

#: What an attack remembers of each sample, ``[A, ...]`` each.
State = tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Iterate:
    """Where each sample stands after a pass.

    Attributes:
        change: from x ``[A, ...]``.
        slope: the gradient of what is raised, 0 where x may not change ``[A, ...]``.
        low: the lowest change of each value that keeps to the bounds ``[A, ...]``.
        high: the highest.
        margin: left to win ``[A]``.
        won: bool ``[A]``.
        best: distance of the nearest success, infinite before the first, float64 ``[A]``.
    """

    change: Tensor
    slope: Tensor
    low: Tensor
    high: Tensor
    margin: Tensor
    won: Tensor
    best: Tensor


@dataclass(frozen=True, kw_only=True)
class MinimalNorm(Attack):
    """Walks from x, or from ``start``, a pass a step.

    Attributes:
        eps: the largest change that counts; None for any.
        steps: forward and backward passes.
    """

    closest: ClassVar[bool] = True

    eps: LargestEps = None
    norm: Norm = "l2"
    steps: Steps = 1000

    @property
    def reads_loss(self) -> bool:
        """False: it lowers the margin."""
        return False

    @property
    def width(self) -> float:
        """The range of values, in which lengths are told."""
        return self.bounds[1] - self.bounds[0]

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Look, move, and look again; whom x itself fools needs no change."""
        if start is not None:
            search.select(~search.look(search.ball.x, gradient=False, keep=True).success)
        point = search.ball.x if start is None else start[search.rows]
        state = self.begin(point)
        for step in range(self.steps - 1):
            if len(search) == 0:
                return
            look = search.look(point, None if self.reads_loss else _lowered, keep=True)
            best = search.distance[search.rows]
            still = best > 0
            search.select(still)
            ball = search.ball
            here = Iterate(
                change=look.of(point)[still] - ball.x,
                slope=look.gradient[still] * (ball.low < ball.high),
                low=ball.low - ball.x,
                high=ball.high - ball.x,
                margin=look.margin[still],
                won=look.success[still],
                best=best[still],
            )
            change, state = self.move(here, tuple(look.of(part)[still] for part in state), step)
            point = ball.project(ball.x + change)
        search.record(point)

    @abstractmethod
    def begin(self, point: Tensor) -> State:
        """Return what is remembered of each point ``[A, ...]`` before the first step."""

    @abstractmethod
    def move(self, here: Iterate, state: State, step: int) -> tuple[Tensor, State]:
        """Return the change of x ``[A, ...]`` to look at next, and what to remember of each sample."""


def each(values: Tensor, like: Tensor) -> Tensor:
    """Shape one value a sample ``[A]`` to broadcast over samples ``[A, ...]``."""
    return values.to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))


def unit(slope: Tensor) -> Tensor:
    """Bring slopes ``[A, ...]`` to a Euclidean length of 1; zero where they vanish."""
    flat = slope.flatten(1)
    flat = flat / flat.abs().amax(1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
    one: Tensor = flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-30)
    return one.reshape(slope.shape)


def _lowered(evaluation: Evaluation, rows: Tensor) -> Tensor:
    return -evaluation.margin
