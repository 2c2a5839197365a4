"""The boundary attack: a random walk along the decision boundary towards x, seeing answers alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks import draws
from salus.attacks.ball import NormName
from salus.attacks.decision import DecisionAttack
from salus.attacks.search import Search

#: The share of sideways steps that should succeed.
_AIM = 0.3
#: How exactly the first point is brought to the boundary.
_THETA = 1e-3
#: Values of one sample's noise that are drawn at once.
_BLOCK = 2**12
#: Longest steps, as a share of the distance from x.
_SPHERICAL_MOST, _SOURCE_MOST = 1.0, 0.5


@dataclass(frozen=True, kw_only=True)
class Boundary(DecisionAttack):
    """Steps sideways on the sphere around x, then towards x, and keeps what fools the model (Brendel et al., 2018).

    Every query is one proposal of each sample's own walk. A sideways step that fools the model is followed by steps
    towards x for as long as those do. Both lengths are adapted to each sample after every answer: sideways so that
    three steps in ten succeed (the authors: five, what a flat boundary gives anyhow), towards x by half up and down.

    Attributes:
        spherical_step: first length of a sideways step, as a share of the distance from x.
        source_step: first length of a step towards x, likewise.
        adaptation: factor by which a sideways step that succeeded lengthens the next.
    """

    name: ClassVar[str] = "boundary"
    paper: ClassVar[str] = "Brendel et al., 2018"
    norms: ClassVar[tuple[NormName, ...]] = ("l2",)

    spherical_step: Annotated[
        float,
        Field(gt=0, le=_SPHERICAL_MOST, description="first step sideways, as a share of the distance from x"),
    ] = 0.1
    source_step: Annotated[
        float, Field(gt=0, le=_SOURCE_MOST, description="first step towards x, as a share of the distance from it")
    ] = 0.1
    adaptation: Annotated[
        float, Field(gt=1, description="factor by which a step sideways that succeeded lengthens the next")
    ] = 1.2

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Walk until the queries are spent; the search keeps the nearest success."""
        rows, point = self.find_start(search, start)
        point = self.to_boundary(search, rows, point, _THETA)
        shape = tuple(point.shape[1:])
        delta = torch.full(rows.shape, self.spherical_step, dtype=point.dtype, device=point.device)  # [A]
        epsilon = torch.full_like(delta, self.source_step)
        inward = torch.zeros_like(rows, dtype=torch.bool)  # the next step goes towards x
        longer, shorter = self.adaptation, self.adaptation ** (-_AIM / (1 - _AIM))
        block = max(_BLOCK // math.prod(shape), 1)
        step = 0
        while self.steps is None or step < self.steps:
            search.check_time()
            going = search.left(rows) > 0
            if step % block == 0 or not bool(going.all()):
                rows, point, delta, epsilon, inward = (v[going] for v in (rows, point, delta, epsilon, inward))
                if len(rows) == 0:
                    break
                region = search.batch_ball.select(rows)
                first = step - step % block
                noise = draws.normal(self.seed, search.batch_samples[rows], (block, *shape), (1 << 32) + first)
                noise = torch.where((region.high > region.low)[:, None], noise.to(point.dtype), 0)  # [A, block, ...]
            away = point - region.x
            sidestep = sideways(away, noise[:, step % block], delta)
            proposal = region.project(
                region.x + torch.where(_column(inward, away), away * _column(1 - epsilon, away), sidestep)
            )
            won = search.ask(proposal, rows)
            point = torch.where(_column(won, point), proposal, point)
            wider = (delta * torch.where(won, longer, shorter)).clamp_max(_SPHERICAL_MOST)
            deeper = (epsilon * torch.where(won, 1.5, 1 / 1.5)).clamp_max(_SOURCE_MOST)
            delta, epsilon = torch.where(inward, delta, wider), torch.where(inward, deeper, epsilon)
            inward = won
            step += 1


def sideways(away: Tensor, noise: Tensor, delta: Tensor) -> Tensor:
    """Turn the way from x ``[A, ...]`` at random by the angle whose tangent is delta ``[A]``; its length stays."""
    flat, noise = away.flatten(1), noise.flatten(1)
    tiny = torch.finfo(flat.dtype).tiny
    length = flat.norm(dim=1, keepdim=True)
    unit = flat / length.clamp_min(tiny)
    noise = noise - (noise * unit).sum(1, keepdim=True) * unit
    noise = noise / noise.norm(dim=1, keepdim=True).clamp_min(tiny)
    slope = delta[:, None]
    way: Tensor = (flat + slope * length * noise) / (1 + slope.square()).sqrt()
    return way.reshape(away.shape)


def _column(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (x.ndim - 1))
