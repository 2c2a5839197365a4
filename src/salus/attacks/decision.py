"""What attacks that see answers alone share: a point to start from, the way to the boundary, a cap on the result."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks import draws
from salus.attacks.ball import Ball, NormName, ball
from salus.attacks.base import Attack
from salus.attacks.objective import DecisionObjective, Model, Objective
from salus.attacks.search import Search
from salus.attacks.settings import LargestEps, Norm, Queries
from salus.attacks.taxonomy import Knowledge
from salus.errors import OptionError

#: Random starts that a sample tries before it takes the nearest of those that fooled the model.
_ROUND = 10


@dataclass(frozen=True, kw_only=True)
class DecisionAttack(Attack):
    """Walks along the decision boundary towards x, from a point beyond it.

    The walk begins far from x, so it is not held inside the eps ball; eps says which results count. A sample for
    which no start was found keeps its x and is no success.

    Attributes:
        eps: the largest change that counts; where no success was found so near, the nearest one is pulled back
            into the ball. None for the smallest change that is found.
        queries: most queries a sample, those for its start among them; None for as many as the steps take.
        steps: most steps of the walk; None for as many as the queries allow.
        start_tries: most random points that a sample tries as its start, where none is given or the given one
            does not fool the model. For a target class random points will hardly do: give ``start``.

    Raises:
        OptionError: neither queries nor steps are limited.
    """

    knowledge: ClassVar[Knowledge] = "answers"
    norms: ClassVar[tuple[NormName, ...]] = ("linf", "l2")
    closest: ClassVar[bool] = True

    eps: LargestEps = None
    norm: Norm = "l2"
    queries: Queries = 2500
    steps: Annotated[int | None, Field(ge=0, description="most steps; none for as many as the queries allow")] = None
    start_tries: Annotated[int, Field(ge=0, description="most random points that are tried as the start")] = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.queries is None and self.steps is None:
            raise OptionError(f"{self.title}: queries or steps must be limited, or the attack would never end.")

    @property
    def radius(self) -> float:
        """Infinite: the walk is not held inside the eps ball."""
        return math.inf

    def objective(self, model: Model) -> Objective:
        """Make the goal on a bare model: a wrong answer, or the target."""
        return DecisionObjective(model, targeted=self.targeted)

    def _search(self, search: Search, start: Tensor | None) -> None:
        super()._search(search, start)
        if self.eps is None:
            return
        far = (search.distance > self.eps).nonzero()[:, 0]
        x = search.batch_ball.x
        cap = ball(self.norm, x, self.eps, self.bounds, *self._constraints(x)).select(far)
        search.x_adv[far] = cap.land(cap.project(search.x_adv[far]))
        search.success[far] = False
        search.judged[far] = False  # on its way back a point may, rarely, have crossed another boundary

    def find_start(self, search: Search, start: Tensor | None) -> tuple[Tensor, Tensor]:
        """Find a point beyond the boundary for each sample that x itself does not fool.

        Tried are ``start`` and then uniform noise in blocks from single values up to whole channels, pure and mixed
        half and half with x: a network that smooths its input does not see fine noise.

        Returns:
            Places in the batch of the samples that have one ``[A]``, and the points ``[A, ...]``.
        """
        region = search.batch_ball
        point = region.x.clone()
        nearest = torch.full_like(search.distance, torch.inf)
        rows = search.rows[~search.ask(region.x[search.rows], search.rows)]
        missing = torch.zeros_like(search.success).index_fill(0, rows, True)  # those without a start
        if start is not None:
            rows = rows[search.left(rows) > 0]
            rows = rows[search.ask(start[rows], rows)]
            point[rows], nearest[rows], missing[rows] = start[rows], 0.0, False
        sizes = _block_sizes(tuple(region.x.shape[1:]))
        for trial in range(self.start_tries):
            search.check_time()
            rows = (missing & (search.left() > 0)).nonzero()[:, 0]
            if len(rows) == 0:
                break
            size, pure = sizes[trial % len(sizes)], trial // len(sizes) % 2 == 0
            around = region.select(rows)
            candidate = _noise(around, self.seed, search.batch_samples[rows], size, trial)
            candidate = around.project(candidate if pure else (candidate + around.x) / 2)
            distance = around.distance(candidate)
            better = search.ask(candidate, rows) & (distance < nearest[rows])
            point[rows[better]], nearest[rows[better]] = candidate[better], distance[better]
            if trial % _ROUND == _ROUND - 1:
                missing &= nearest.isinf()
        rows = nearest.isfinite().nonzero()[:, 0]
        return rows, point[rows]

    def to_boundary(self, search: Search, rows: Tensor, point: Tensor, theta: float) -> Tensor:
        """Walk from points that fool the model towards x, by bisection, and stop just before the boundary.

        In L2 the way is straight; in L-inf all values come back by the same amount (HopSkipJump, Eq. 13).

        Args:
            search: the search.
            rows: whose points they are ``[A]``.
            point: where the model is fooled ``[A, ...]``.
            theta: how exact, as a share of the point's distance.

        Returns:
            Points that fool the model ``[A, ...]``.
        """
        region = search.batch_ball.select(rows)
        reach = _by_sample(region.distance(point), point).to(point.dtype)
        change = point - region.x

        def back(share: Tensor) -> Tensor:  # 1 is the point itself
            part = _by_sample(share, point).to(point.dtype)
            if self.norm == "l2":
                near = point - change * (1 - part)
            else:
                near = torch.where(part < 1, region.x + change.clamp(-reach * part, reach * part), point)
            return region.project(near)

        beyond = torch.ones(len(rows), dtype=torch.float64, device=rows.device)
        before = torch.zeros_like(beyond)
        for _ in range(bisections(theta)):
            search.check_time()
            middle = (before + beyond) / 2
            active = (search.left(rows) > 0).nonzero()[:, 0]
            won = torch.zeros_like(rows, dtype=torch.bool)
            won[active] = search.ask(back(middle)[active], rows[active])
            failed = torch.zeros_like(won)
            failed[active] = ~won[active]
            beyond, before = torch.where(won, middle, beyond), torch.where(failed, middle, before)
        return back(beyond)


def bisections(theta: float) -> int:
    """Count the halvings until a part of this size is left."""
    return max(math.ceil(-math.log2(theta)), 0)


def _block_sizes(shape: tuple[int, ...]) -> list[int]:
    """Return the edges of the blocks: 1, 4, 16 and so on up to the longest axis; features of tables stay single."""
    longest = max(shape[1:], default=1)
    powers = [4**k for k in range(16) if 4**k < longest]
    return [*powers, longest]


def _noise(region: Ball, seed: int, samples: Tensor, size: int, stream: int) -> Tensor:
    """Draw uniform noise between the bounds, the same within each block."""
    channels, *space = region.x.shape[1:]
    noise = draws.uniform(seed, samples, (channels, *[-(-length // size) for length in space]), stream)
    for axis, length in enumerate(space):
        noise = noise.repeat_interleave(size, axis + 2).narrow(axis + 2, 0, length)
    return region.low + (region.high - region.low) * noise.to(region.x.dtype)


def _by_sample(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (x.ndim - 1))
