"""Sparse-RS: random search for a few pixels, moments or features that fool the model, seeing logits alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks import draws
from salus.attacks.ball import Ball, NormName, by_place, in_shape, places
from salus.attacks.base import Attack
from salus.attacks.search import Search
from salus.attacks.settings import EarlyStop, Norm, Places, ScheduledQueries
from salus.attacks.taxonomy import Knowledge

#: After so many of 10,000 queries the share of places that move at a time is divided by so much (the authors' code).
_SLOWER = ((0, 2), (50, 4), (200, 5), (500, 6), (1000, 8), (2000, 10), (4000, 12), (6000, 15), (8000, 20))


@dataclass(frozen=True, kw_only=True)
class SparseRS(Attack):
    """Moves some of eps changed places elsewhere at each query and keeps what lowers the margin (Croce et al., 2022).

    A place is a pixel of an image or a moment of a signal, with all its channels, or a feature of a table. A changed
    place stands in a corner of the bounds: each of its values is the lowest or the highest (Algorithms 1 and 2).

    Attributes:
        eps: most places that may change, a whole number.
        queries: most queries a sample; fewer places move at a time on a schedule that is scaled to them.
        p_init: share of the changed places that move at the first query, above 0 and at most 1.
        early_stop: let each sample go as soon as it has fallen; otherwise its margin is lowered to the end.

    Raises:
        OptionError: eps is no whole number.

    Example:
        >>> x_adv = SparseRS(eps=24)(model, x, y)  # doctest: +SKIP
    """

    name: ClassVar[str] = "sparse-rs"
    knowledge: ClassVar[Knowledge] = "logits"
    paper: ClassVar[str] = "Croce et al., 2022"
    norms: ClassVar[tuple[NormName, ...]] = ("l0",)
    label: ClassVar[str] = "Sparse-RS"

    eps: Places
    norm: Norm = "l0"
    queries: ScheduledQueries = 5000
    p_init: Annotated[
        float, Field(gt=0, le=1, description="share of the changed places that move at the first query")
    ] = 0.3
    early_stop: EarlyStop = True

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Judge x, then places at random (or ``start``), then move some of the best point's places at each query."""
        ball = search.batch_ball
        free = by_place(ball.low < ball.high).any(1).any(0).nonzero()[:, 0]  # what the mask leaves, [F]
        count = places(ball.eps, len(free))
        search.record(ball.x)  # what is already fooled needs no change
        if len(search) == 0 or count == 0:
            return
        spots = draws.uniform(self.seed, search.batch_samples, (len(free),), 0).argsort(dim=1, stable=True)[:, :count]
        best = paint(ball, ball.x, free[spots], self.seed, search.batch_samples, 1) if start is None else start
        best = best.clone()
        rows = search.rows
        look = search.look(best[rows], gradient=False, keep=True)
        margin = torch.full_like(search.batch_y, 0, dtype=torch.float64)
        margin[rows[look.stay]] = look.margin.double()
        for step in range((self.queries or 0) - 2):
            rows = search.rows
            if len(rows) == 0:
                return
            moving = max(int(count * self.share(step)), 1)
            after, old, new = move(spots[rows], moving, len(free), self.seed, search.samples, 2 * step + 2)
            point = restore(search.ball, best[rows], free[old])
            point = paint(search.ball, point, free[new], self.seed, search.samples, 2 * step + 3)
            look = search.look(point, gradient=False, keep=True)
            rows = rows[look.stay]
            better = look.margin.double() < margin[rows]
            rows = rows[better]
            margin[rows] = look.margin[better].double()
            best[rows], spots[rows] = look.of(point)[better], look.of(after)[better]

    def share(self, step: int) -> float:
        """Return which share of the changed places move at this step."""
        of_ten_thousand = int(step / (self.queries or 1) * 10_000)
        slower = max((by for after, by in _SLOWER if of_ten_thousand > after), default=1)
        return self.p_init / slower


def move(
    changed: Tensor, count: int, free: int, seed: int, samples: Tensor, stream: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Exchange some of the changed places for others, at random.

    Args:
        changed: the changed places of each sample, of ``free``, ``[A, k]``.
        count: how many to exchange, from 1 to k.
        free: how many places there are.
        seed: of the draws.
        samples: indices of the samples ``[A]``.
        stream: of the draws.

    Returns:
        The changed places afterwards ``[A, k]``, those given up ``[A, count]`` and those taken in their stead. Where
        nearly all places are changed already, fewer are exchanged, and at the least one is only painted anew.
    """
    k = changed.shape[1]
    numbers = draws.uniform(seed, samples, (k + count,), stream)
    slots = numbers[:, :k].argsort(dim=1, stable=True)[:, :count]
    old = changed.gather(1, slots)
    count = min(count, free - k)
    if count == 0:
        return changed, old, old
    slots, old = slots[:, :count], old[:, :count]
    # Distinct ranks among the places that are not changed, then the places of these ranks.
    ranks = (numbers[:, k : k + count].double() * (free - k - count + 1)).long().sort(dim=1).values
    ranks = ranks + torch.arange(count, device=ranks.device)
    occupied = changed.sort(dim=1).values - torch.arange(k, device=changed.device)
    new = ranks + torch.searchsorted(occupied, ranks, right=True)
    return changed.scatter(1, slots, new), old, new


def restore(ball: Ball, point: Tensor, at: Tensor) -> Tensor:
    """Give points ``[A, ...]`` back the sample's own values at some places ``[A, m]``."""
    return torch.where(in_shape(_mark(at, point), point), ball.x, point)


def paint(ball: Ball, point: Tensor, at: Tensor, seed: int, samples: Tensor, stream: int) -> Tensor:
    """Bring every value of some places ``[A, m]`` of points ``[A, ...]`` to its lowest or highest, by chance."""
    channels = by_place(point).shape[1]
    up = draws.uniform(seed, samples, (channels, at.shape[1]), stream) < 0.5  # [A, C, m]
    signs = torch.zeros_like(by_place(point), dtype=torch.bool).scatter_(2, at[:, None].expand_as(up), up)
    corner = torch.where(signs.reshape(point.shape), ball.high, ball.low)
    return torch.where(in_shape(_mark(at, point), point), corner, point)


def _mark(at: Tensor, point: Tensor) -> Tensor:
    empty = torch.zeros(len(point), by_place(point).shape[2], dtype=torch.bool, device=point.device)
    return empty.scatter_(1, at, value=True)
