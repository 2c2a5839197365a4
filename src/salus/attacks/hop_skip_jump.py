"""HopSkipJump: the gradient at the decision boundary, estimated from answers alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks import draws
from salus.attacks.decision import DecisionAttack, bisections
from salus.attacks.search import Search
from salus.errors import OptionError

#: Values of one sample's probes that are held at once. The same for every batch, so that sums are too.
_CHUNK = 2**12
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
        step = 0
        while self.steps is None or step < self.steps:
            step += 1
            most = min(int(self.initial_evaluations * math.sqrt(step)), self.max_evaluations)
            # Queries are put by for the way back to the boundary.
            probes = (search.left(rows) - bisections(theta) - 2).clamp(0, most)  # [A]
            going = (probes > 0) & (search.batch_ball.select(rows).distance(point) > 0)
            rows, point, probes = rows[going], point[going], probes[going]
            if len(rows) == 0:
                break
            direction = self.estimate(search, rows, point, probes, step)
            ahead, moved = self.hop(search, rows, point, direction, step)
            ahead[moved] = self.to_boundary(search, rows[moved], ahead[moved], theta)
            point = ahead

    def estimate(self, search: Search, rows: Tensor, point: Tensor, probes: Tensor, step: int) -> Tensor:
        """Estimate the steepest way into the region where the model is fooled (Eq. 16), ``[A, ...]``.

        Args:
            search: the search.
            rows: whose points they are ``[A]``.
            point: on the boundary ``[A, ...]``.
            probes: how many each sample may ask ``[A]``.
            step: counts the steps, for the random numbers.
        """
        region, shape = search.batch_ball.select(rows), point.shape[1:]
        low, high, at = (values[:, None].flatten(2) for values in (region.low, region.high, point))  # [A, 1, D]
        free = high > low
        radius = self.probe * (point - region.x).flatten(1).norm(dim=1)[:, None, None]
        along, spread = torch.zeros(2, len(rows), shape.numel(), dtype=torch.float64, device=rows.device)
        balance = torch.zeros_like(probes)
        most, chunk = int(probes.max()), max(_CHUNK // shape.numel(), 1)
        for first in range(0, most, chunk):
            search.check_time()
            mask = torch.arange(first, min(first + chunk, most), device=rows.device) < probes[:, None]  # [A, B]
            noise = draws.normal(
                self.seed, search.batch_samples[rows], (mask.shape[1], shape.numel()), (step << 32) + first
            ).to(point.dtype)  # [A, B, D]
            noise = torch.where(free, noise, 0)
            noise *= radius / noise.norm(dim=2, keepdim=True).clamp_min(1e-30)
            points = (at + noise).clamp_(low, high)
            noise = torch.where(mask[:, :, None], points - at, 0)
            signs = torch.zeros(mask.shape, dtype=torch.int64, device=rows.device)
            whose = rows[:, None].expand_as(mask)[mask]
            signs[mask] = search.ask(points[mask].reshape(-1, *shape), whose).long() * 2 - 1
            spread += noise.sum(1, dtype=torch.float64)
            along += noise.mul_(signs[:, :, None]).sum(1, dtype=torch.float64)
            balance += signs.sum(1)
        mean = (balance / probes)[:, None]  # [A, 1]
        # Answers that are all the same have no deviation from their mean.
        gradient = along - torch.where(mean.abs() < 1, mean, 0) * spread
        return region.steepest((gradient / radius[:, 0]).to(point.dtype).reshape(point.shape))

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
