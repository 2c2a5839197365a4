"""NES: the gradient estimated from logits at random points, for models that give no other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks.ball import NormName
from salus.attacks.base import Attack
from salus.attacks.probes import Frequencies, frequencies_of, orthogonal
from salus.attacks.search import Search
from salus.attacks.settings import EarlyStop, Eps, ScheduledQueries
from salus.attacks.taxonomy import Knowledge


@dataclass(frozen=True, kw_only=True)
class NES(Attack):
    """Follows a gradient that it estimates from margins at pairs of points (Ilyas et al., 2018, Alg. 1).

    Each step asks at ``pairs`` of points on both sides of the sample's own, sums the directions weighted by the
    difference within each pair, and goes down the running mean of those sums (the authors' momentum). What it reads
    is the margin instead of the probability, which says nothing where the model is sure.

    The directions run through orthonormal bases, where the authors draw them from a normal distribution: with as many
    pairs as values the sum is the gradient, and with fewer no pair repeats another.

    Attributes:
        eps: radius of the ball, in the units of x.
        queries: most queries a sample; the steps shrink on a schedule that is scaled to them.
        pairs: pairs of points a step.
        sigma: distance of a pair's points from the sample's, as a share of eps; where the ball is narrow, less.
        step_size: length of the first step, as a share of eps; the last is nearly nothing.
        momentum: share of the mean of the earlier estimates in each step's direction.
        frequencies: which share of the frequencies of each axis the directions are made of, from the lowest up; when
            not given half of an image's and all of a signal's.
        early_stop: let each sample go as soon as it has fallen; otherwise its margin is lowered to the end.
    """

    name: ClassVar[str] = "nes"
    label: ClassVar[str] = "NES"
    knowledge: ClassVar[Knowledge] = "logits"
    paper: ClassVar[str] = "Ilyas et al., 2018"
    norms: ClassVar[tuple[NormName, ...]] = ("linf", "l2")

    eps: Eps
    queries: ScheduledQueries = 1000
    pairs: Annotated[int, Field(ge=1, description="pairs of points a step")] = 25
    sigma: Annotated[float, Field(gt=0, le=1, description="distance of a pair's points, as a share of eps")] = 0.1
    step_size: Annotated[float, Field(gt=0, description="length of the first step, as a share of eps")] = 0.5
    momentum: Annotated[float, Field(ge=0, lt=1, description="share of the earlier estimates in a direction")] = 0.8
    frequencies: Frequencies = None
    early_stop: EarlyStop = True

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Judge x, then ``start``, then go down the estimated gradient until the queries are spent."""
        search.record(search.ball.x)  # what is already fooled needs no change
        point = search.batch_ball.x if start is None else start
        if start is not None:
            search.record(start[search.rows])
        shape = tuple(point.shape[1:])
        draw = partial(orthogonal, self.seed, shape, frequencies_of(point, self.frequencies))
        mean = torch.zeros_like(point)  # [N, ...]; of all samples, the fallen too
        asked = 0
        steps = max((self.queries - 2) // (2 * self.pairs + 1), 1)
        for step in range(steps):
            rows = search.rows
            pairs = min(self.pairs, (int(search.left(rows).min()) - 1) // 2) if len(rows) else 0
            if pairs < 1:
                break
            directions = draw(asked, search.samples, 0, pairs)
            asked += pairs
            mean[rows] = self.momentum * mean[rows] + self.slope(search, point[rows], directions)
            stride = self.eps * self.step_size * (1 + math.cos(math.pi * step / steps)) / 2
            ahead = search.ball.project(point[rows] - stride * search.ball.steepest(mean[rows]))
            point = point.index_copy(0, rows, ahead)
            search.record(ahead)

    def slope(self, search: Search, point: Tensor, directions: Tensor) -> Tensor:
        """Estimate the gradient of the margins at the active samples' points ``[A, ...]``.

        Args:
            search: the search.
            point: where ``[A, ...]``.
            directions: of unit length ``[A, pairs, ...]``.
        """
        ball, count = search.ball, directions.shape[1]
        low, high, at = (values[:, None] for values in (ball.low, ball.high, point))
        width = directions.flatten(2).abs().amax(2) if self.norm == "linf" else directions.flatten(2).norm(dim=2)
        length = (self.sigma * self.eps / width.clamp_min(1e-30)).reshape(*width.shape, *[1] * (point.ndim - 1))
        change = (length * directions).to(point.dtype)
        sides = torch.stack([(at + change), (at - change)], 2).clamp(low[:, None], high[:, None])  # [A, pairs, 2, ...]
        rows = search.rows[:, None].expand(-1, 2 * count).flatten()
        margins = search.margins(sides.flatten(0, 2), rows).reshape(-1, count, 2)
        way = (sides[:, :, 0] - sides[:, :, 1]).flatten(2)
        squares = way.square().sum(2).clamp_min(1e-30)
        rise = (margins[:, :, 0] - margins[:, :, 1]).nan_to_num(0.0, 0.0, 0.0) / squares
        return (rise[:, :, None] * way).sum(1).to(point.dtype).reshape(point.shape)
