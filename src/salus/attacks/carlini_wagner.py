"""Carlini and Wagner's attacks: the smallest change traded against the margin, solved plane by plane."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from salus.attacks.ball import NormName
from salus.attacks.base import Attack
from salus.attacks.objective import Evaluation, Objective
from salus.attacks.plane import cross
from salus.attacks.search import Search
from salus.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class _CarliniWagner(Attack):
    """What the two have in common: a search for each of the nearest classes, repeated where none has succeeded.

    Attributes:
        eps: the largest change that counts; None for any.
        steps: most steps of a search. A sample leaves a search when a tenth of them has brought nothing.
        searches: most searches (``binary_search_steps`` elsewhere).
        candidates: how many classes are searched for, those nearest in margin at x: the best of the attacks on each
            class is what the paper calls untargeted.
        confidence: how far beyond the boundary the margin must be, kappa in the paper.
    """

    paper: ClassVar[str] = "Carlini and Wagner, 2017"
    closest: ClassVar[bool] = True

    eps: float | None = None
    steps: int = 100
    searches: int = 9
    candidates: int = 3
    confidence: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in ("steps", "searches", "candidates"):
            if getattr(self, option) < 1:
                raise OptionError(f"{self.title}: {option} must be at least 1, not {getattr(self, option)}.")
        if not (math.isfinite(self.confidence) and self.confidence >= 0):
            raise OptionError(f"{self.title}: confidence must be a number from 0 up, not {self.confidence}.")

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Search by way of each class in turn; the first search begins at ``start``, when given."""
        with _sure(search, self.confidence):
            look = search.look(search.ball.x, gradient=False, keep=True)
            search.select(~look.success)
            rows, margins = search.rows, look.class_margins[~look.success]
            ways = min(self.candidates, 1 if self.targeted else margins.shape[1] - 1)
            nearest = torch.zeros(len(search.batch_y), ways, dtype=torch.int64, device=rows.device)
            nearest[rows] = margins.argsort(1)[:, :ways]
            for number in range(self.searches):
                if number >= ways or search.early_stop:
                    rows = rows[~search.success[rows]]
                if len(rows) == 0:
                    break
                search.resume(rows)
                point = search.ball.x if start is None or number else start[rows]
                self._descend(search, point, nearest[:, number % ways], number // ways)

    def _descend(self, search: Search, point: Tensor, classes: Tensor, sweep: int) -> None:
        """Search by way of these classes ``[N]``, until each sample has come as far as it will."""

        def goal(seen: Evaluation, rows: Tensor) -> Tensor:
            return -seen.class_margins.gather(1, classes[rows, None])[:, 0]

        nearest = torch.full((len(search),), torch.inf, dtype=torch.float64, device=point.device)
        progress = before = torch.stack([nearest, nearest], 1)  # the nearest success and the lowest margin, [A, 2]
        state: tuple[Tensor, ...] = ()
        for step in range(self.steps):
            look = search.look(point, goal, keep=True)
            margin = torch.where(look.loss.isfinite(), -look.loss, 0).to(point.dtype)
            here = _Place(look.of(point), margin, -look.gradient, look.success)
            distance = torch.where(here.won, search.ball.distance(here.point), torch.inf)
            progress, before = look.of(progress), look.of(before)
            progress = progress.minimum(torch.stack([distance, margin.double().clamp_min(0)], 1))
            state = tuple(map(look.of, state))
            if step and step % max(1, self.steps // 10) == 0:
                still = (progress < _PROGRESS * before).any(1)
                search.select(still)
                here, progress, state = here.select(still), progress[still], tuple(part[still] for part in state)
                before = progress
            if len(search) == 0:
                return
            change, state = self._move(search, here, state, sweep, step)
            point = search.ball.project(search.ball.x + change.reshape(here.point.shape))

    @abstractmethod
    def _move(
        self, search: Search, here: _Place, state: tuple[Tensor, ...], sweep: int, step: int
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the change of x ``[A, D]`` to look at next, and what to remember of each sample."""


@dataclass(frozen=True, eq=False)
class _Place:
    """Where each sample stands, and what its class's margin does there.

    Attributes:
        point: ``[A, ...]``.
        margin: what is left to win by way of its class ``[A]``.
        slope: the margin's gradient ``[A, ...]``.
        won: bool ``[A]``.
    """

    point: Tensor
    margin: Tensor
    slope: Tensor
    won: Tensor

    def select(self, stay: Tensor) -> _Place:
        return _Place(self.point[stay], self.margin[stay], self.slope[stay], self.won[stay])


@dataclass(frozen=True, kw_only=True)
class CarliniWagnerL2(_CarliniWagner):
    name: ClassVar[str] = "carlini-wagner-l2"
    norms: ClassVar[tuple[NormName, ...]] = ("l2",)

    norm: NormName = "l2"

    def _move(self, search, here, state, sweep, step):
        change, slope, low, high = _flat(search, here)
        mean, first = state if state else (slope, here.margin.abs())
        mean = mean + (slope - mean) * (2 / (step + 2))
        over = (OV0 / (step + 1) + OV1) * first * 10.0**sweep
        gap = here.margin - (mean * change).sum(1) + over
        return cross(mean, gap, low, high, "l2")[0], (mean, first)


@dataclass(frozen=True, kw_only=True)
class CarliniWagnerLinf(_CarliniWagner):
    name: ClassVar[str] = "carlini-wagner-linf"
    norms: ClassVar[tuple[NormName, ...]] = ("linf",)

    norm: NormName = "linf"

    def _move(self, search, here, state, sweep, step):
        change, slope, low, high = _flat(search, here)
        best = search.distance[search.rows].to(change.dtype)
        gamma = G0 * (G1 / G0) ** (step / self.steps)
        if not state:
            _, tau = cross(slope, here.margin - (slope * change).sum(1), low, high, "linf")
            tau, first = (tau * 1.05 * 2.0**sweep).minimum(best * (1 - gamma)), here.margin.abs()
        else:
            tau, first = state
            tau = torch.where(here.won, (1 - gamma) * tau.minimum(best), ((1 + gamma) * tau).minimum((1 - gamma / 2) * best))
        low, high = low.maximum(-tau[:, None]), high.minimum(tau[:, None])
        inner = change.maximum(low).minimum(high)
        gap = here.margin + (slope * (inner - change)).sum(1) + RHO * gamma * first
        return inner + cross(slope, gap, low - inner, high - inner, "l2")[0], (tau, first)


def _flat(search: Search, here: _Place) -> tuple[Tensor, ...]:
    ball, x = search.ball, search.ball.x.flatten(1)
    low, high = ball.low.flatten(1) - x, ball.high.flatten(1) - x
    return here.point.flatten(1) - x, torch.where(low < high, here.slope.flatten(1), 0), low, high


OV0, OV1, G0, G1, RHO = .01, 3e-4, .1, .002, .2
_PROGRESS = 0.995


@contextmanager
def _sure(search: Search, confidence: float) -> Iterator[None]:
    """Let a search take for success only what succeeds by this margin."""
    if confidence == 0:
        yield
        return
    objective = search.objective
    search.objective = _Sure(objective, confidence)
    try:
        yield
    finally:
        search.objective = objective
        search.judged &= search.success  # what is not sure may still succeed


class _Sure(Objective):
    """An objective whose margins all stand this much higher."""

    def __init__(self, objective: Objective, confidence: float) -> None:
        self.objective = objective
        self.confidence = confidence

    def evaluate(self, x: Tensor, y: Tensor) -> Evaluation:
        """Raise the margins; success is what still falls."""
        seen = self.objective.evaluate(x, y)
        margin = seen.margin + self.confidence
        return Evaluation(
            None,
            y,
            targeted=seen.targeted,
            margin=margin,
            success=seen.success & (margin <= 0),
            class_margins=seen.class_margins + self.confidence,
        )
