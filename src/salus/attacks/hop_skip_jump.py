"""HopSkipJump: the gradient at the decision boundary, estimated from answers alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks import draws
from salus.attacks.decision import DecisionAttack, bisections
from salus.attacks.normals import Draw, estimate_normal
from salus.attacks.probes import Frequencies, frequencies_of, orthogonal
from salus.attacks.search import Search
from salus.errors import OptionError

#: Halvings of a step before the sample stays where it is.
_HALVINGS = 15


@dataclass(frozen=True, kw_only=True)
class HopSkipJump(DecisionAttack):
    """Probes around a point on the boundary, steps away from it, and comes back nearer to x (Chen et al., 2020).

    Each step t estimates the direction in which the model stays fooled from the answers at random probes (Eq. 16),
    goes along it by ``distance / sqrt(t)``, halved until the model is fooled there, and bisects back to the boundary.

    The settings are those that came nearest on heartbeats at 500 to 2,500 queries: fewer probes in the first steps
    than the authors' 100, which are far from x and need no exact direction, and longer ones.

    Attributes:
        initial_evaluations: probes of the first step; step t takes sqrt(t) times as many.
        max_evaluations: most probes of one step.
        directions: where probes go: ``basis``, through random orthonormal bases, so that no answer repeats another;
            ``chen-2020`` draws each anew from the normal distribution.
        frequencies: which share of the frequencies of each axis the probes of ``basis`` are made of, from the lowest
            up; when not given half of an image's and all of a signal's.
        probe: their length, as a share of the point's Euclidean distance from x. The boundary is found to
            ``probe / sqrt(d)`` of the distance, d values a sample: the paper's ratio of the two, but not its lengths
            (``1 / d``), which drown in the rounding of large images.

    Raises:
        OptionError: the first step has more probes than any may have.
    """

    name: ClassVar[str] = "hop-skip-jump"
    paper: ClassVar[str] = "Chen et al., 2020"

    initial_evaluations: Annotated[int, Field(ge=1, description="probes of the first step")] = 25
    max_evaluations: Annotated[int, Field(ge=1, description="most probes of one step")] = 10_000
    directions: Annotated[
        Literal["basis", "chen-2020"], Field(description="where probes go: through orthonormal bases, or anywhere")
    ] = "basis"
    frequencies: Frequencies = None
    probe: Annotated[float, Field(gt=0, lt=1, description="length of a probe, as a share of the distance from x")] = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.initial_evaluations > self.max_evaluations:
            raise OptionError(
                f"{self.title}: initial_evaluations must be at most max_evaluations={self.max_evaluations}, "
                f"not {self.initial_evaluations}."
            )

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Walk until the queries are spent; the search keeps the nearest success."""
        rows, point = self.find_start(search, start)
        theta = self.probe / math.sqrt(point[:1].numel() or 1)
        point = self.to_boundary(search, rows, point, theta)
        step = asked = 0
        while self.steps is None or step < self.steps:
            step += 1
            most = min(int(self.initial_evaluations * math.sqrt(step)), self.max_evaluations)
            # Queries are put by for the way back to the boundary.
            probes = (search.left(rows) - bisections(theta) - 2).clamp(0, most)  # [A]
            going = (probes > 0) & (search.batch_ball.select(rows).distance(point) > 0)
            rows, point, probes = rows[going], point[going], probes[going]
            if len(rows) == 0:
                break
            direction = self.estimate(search, rows, point, probes, asked)
            asked += most
            ahead, moved = self.hop(search, rows, point, direction, step)
            ahead[moved] = self.to_boundary(search, rows[moved], ahead[moved], theta)
            point = ahead

    def estimate(self, search: Search, rows: Tensor, point: Tensor, probes: Tensor, asked: int) -> Tensor:
        """Estimate the steepest way into the region where the model is fooled (Eq. 16), ``[A, ...]``.

        Args:
            search: the search.
            rows: whose points they are ``[A]``.
            point: on the boundary ``[A, ...]``.
            probes: how many each sample may ask ``[A]``.
            asked: how many the steps before had at most, for the random numbers.
        """
        shape = tuple(point.shape[1:])
        draw: Draw = partial(self._normal, shape, asked)
        if self.directions == "basis":
            draw = partial(orthogonal, self.seed, shape, frequencies_of(point, self.frequencies), asked)
        normal = estimate_normal(search, rows, point, probes, self.probe, draw)
        return search.batch_ball.select(rows).steepest(normal)

    def _normal(self, shape: tuple[int, ...], asked: int, samples: Tensor, first: int, count: int) -> Tensor:
        return draws.normal(self.seed, samples, (count, *shape), (1 << 32) + asked + first)

    def hop(self, search: Search, rows: Tensor, point: Tensor, direction: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Go along the direction as far as half of each half way allows.

        Returns:
            The points after it ``[A, ...]``, and who has moved, bool ``[A]``.
        """
        region = search.batch_ball.select(rows)
        stride = region.distance(point) / math.sqrt(step)  # [A]
        moved = torch.zeros_like(rows, dtype=torch.bool)
        point = point.clone()
        for _ in range(_HALVINGS):
            trying = (~moved & (search.left(rows) > 0)).nonzero()[:, 0]
            if len(trying) == 0:
                break
            length = stride[trying].to(point.dtype).reshape(-1, *[1] * (point.ndim - 1))
            candidate = region.select(trying).project(point[trying] + length * direction[trying])
            won = search.ask(candidate, rows[trying])
            point[trying[won]] = candidate[won]
            moved[trying[won]] = True
            stride = stride / 2
        return point, moved
