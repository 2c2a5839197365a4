"""CGBA: along circles through a point on the decision boundary to nearer ones, seeing answers alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks.ball import NormName
from salus.attacks.decision import DecisionAttack
from salus.attacks.normals import estimate_normal
from salus.attacks.probes import Frequencies, frequencies_of, orthogonal
from salus.attacks.search import Search

#: How exactly the first point is brought to the boundary, as a share of its distance.
_THETA = 1e-3
#: The first angle that is tried, the widest and the narrowest.
_FIRST, _WIDEST, _LEAST = math.pi / 8, 0.49 * math.pi, 1e-3


@dataclass(frozen=True, kw_only=True)
class CGBA(DecisionAttack):
    """Searches half circles between x and points on the boundary, in planes by its normal (Reza et al., 2023, Alg. 2).

    Where the boundary is a plane, the half circle over the way from x to a point on it meets it again in the nearest
    point of the plane that the circle and the normal span. Each step t estimates the normal from the answers at
    probes, and finds by bisection how far round the circle the model stays fooled.

    Two things differ from the authors', and bring it nearer: probes stand at right angles to the way from x, so that
    the last steps are told as much as the first; and they run through orthonormal bases instead of being drawn anew,
    so that no answer repeats another.

    Attributes:
        evaluations: probes of the first step; step t takes sqrt(t) times as many.
        probe: their length, as a share of the point's distance from x.
        angles: queries of the search on each circle.
        frequencies: which share of the frequencies of each axis the probes are made of, from the lowest up; when not
            given half of an image's and all of a signal's, whose networks read the highest too.
    """

    name: ClassVar[str] = "cgba"
    label: ClassVar[str] = "CGBA"
    paper: ClassVar[str] = "Reza et al., 2023"
    norms: ClassVar[tuple[NormName, ...]] = ("l2",)

    evaluations: Annotated[int, Field(ge=1, description="probes of the first step")] = 20
    probe: Annotated[float, Field(gt=0, lt=1, description="length of a probe, as a share of the distance from x")] = 0.2
    angles: Annotated[int, Field(ge=1, description="queries of the search on each circle")] = 9
    frequencies: Frequencies = None

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Walk until the queries are spent; the search keeps the nearest success."""
        rows, point = self.find_start(search, start)
        point = self.to_boundary(search, rows, point, _THETA)
        angle = torch.full(rows.shape, _FIRST, dtype=torch.float64, device=rows.device)
        frequencies = frequencies_of(point, self.frequencies)
        step = asked = 0
        while self.steps is None or step < self.steps:
            step += 1
            most = int(self.evaluations * math.sqrt(step))
            probes = (search.left(rows) - self.angles).clamp(0, most)  # [A]
            going = (probes > 0) & (search.batch_ball.select(rows).distance(point) > 0)
            rows, point, probes, angle = rows[going], point[going], probes[going], angle[going]
            if len(rows) == 0:
                break
            draw = partial(orthogonal, self.seed, tuple(point.shape[1:]), frequencies, asked)
            normal = estimate_normal(search, rows, point, probes, self.probe, draw, tangent=True)
            asked += most
            point, angle = self.turn(search, rows, point, normal, angle)

    def turn(self, search: Search, rows: Tensor, point: Tensor, normal: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """Go round the half circle over the way from x to the point, as far as the model stays fooled (Alg. 1).

        Args:
            search: the search.
            rows: whose points they are ``[A]``.
            point: where the model is fooled ``[A, ...]``.
            normal: spans the circle's plane together with the way from x ``[A, ...]``.
            first: the angle to try first ``[A]``: about how far it was in the step before.

        Returns:
            Points that fool the model ``[A, ...]`` and the angles to try next.
        """
        region = search.batch_ball.select(rows)
        away = point - region.x
        length = away.double().flatten(1).norm(dim=1)  # [A]
        ahead = _unit(away)
        aside = _unit(normal - _column((normal * ahead).flatten(1).sum(1), away) * ahead)
        near, far = torch.zeros_like(first), torch.full_like(first, torch.inf)
        for _ in range(self.angles):
            search.check_time()
            wider = torch.where(near > 0, 2 * near, first).clamp_max(_WIDEST)
            angle = torch.where(far.isinf(), wider, (near + far) / 2)
            radius = length * angle.cos()
            cosine, sine = (_column(radius * part, away).to(away.dtype) for part in (angle.cos(), angle.sin()))
            candidate = region.project(region.x + cosine * ahead + sine * aside)
            asking = (search.left(rows) > 0).nonzero()[:, 0]
            won = torch.zeros_like(rows, dtype=torch.bool)
            won[asking] = search.ask(candidate[asking], rows[asking])
            lost = torch.zeros_like(won)
            lost[asking] = ~won[asking]
            near, far = torch.where(won, angle, near), torch.where(lost, angle, far)
            point = torch.where(_column(won, point), candidate, point)
        return point, torch.where(near > 0, near, first / 4).clamp_min(_LEAST)


def _unit(x: Tensor) -> Tensor:
    flat = x.flatten(1)
    unit: Tensor = flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-30)
    return unit.reshape(x.shape)


def _column(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (x.ndim - 1))
