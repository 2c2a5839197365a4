"""FAB: along the class boundary towards x, from projections onto the linearised boundary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks import draws
from salus.attacks.ball import NormName
from salus.attacks.base import Attack
from salus.attacks.cost import Cost
from salus.attacks.plane import cross, dual, length
from salus.attacks.ranking import Ranking, ranked_classes
from salus.attacks.search import Search
from salus.attacks.settings import LargestEps, Restarts, Steps, Targets


@dataclass(frozen=True, kw_only=True)
class FAB(Attack):
    """The fast adaptive boundary attack (Croce and Hein, 2020).

    Each step linearises the nearest class boundary where it stands, projects both the point and x onto it inside
    the bounds, and goes to a mean of the two beyond it; a point that has crossed is pulled back towards x first
    (Algorithm 1). The published step looks at the model twice, at the new point to see whether it has crossed, and
    after pulling back for the gradient; here the first look gives the gradient too, which halves the forward
    passes and brings the points no farther from x. With eps they keep to the ball, and only what falls there counts.

    Attributes:
        eps: the largest change that counts; None for any.
        steps: steps from each start.
        restarts: starts; the first is x, the others random, at half the distance of the best success.
        targets: FAB-T: attack so many classes one after another, those nearest at x, each with all restarts, for one
            backward pass a step. None looks at all classes in every step, as the paper's FAB does, and comes less near
            at as many passes.
        ranking: which of the targets come first: ``"margin"``, or ``"malt"``, nearest at x if the model were linear.
        alpha_max: most weight of the projection of x.
        eta: how far beyond the plane, 1 for onto it.
        beta: what is left of the way from x after pulling back.

    Example:
        >>> x_adv = FAB(norm="l2")(model, x, y)  # doctest: +SKIP
    """

    name: ClassVar[str] = "fab"
    paper: ClassVar[str] = "Croce and Hein, 2020"
    closest: ClassVar[bool] = True

    eps: LargestEps = None
    steps: Steps = 100
    restarts: Restarts = 1
    targets: Targets = 3
    ranking: Ranking = "margin"
    alpha_max: Annotated[float, Field(ge=0, le=1, description="most weight of the projection of x")] = 0.1
    eta: Annotated[float, Field(ge=1, description="how far beyond the plane, 1 for onto it")] = 1.05
    beta: Annotated[float, Field(ge=0, le=1, description="what is left of the way from x after pulling back")] = 0.9

    @property
    def reads_loss(self) -> bool:
        """False: it reads the margins by way of each class."""
        return False

    def cost(self, classes: int) -> Cost | None:
        """All classes are looked at in every step, unless they are targeted in turn."""
        each = super().cost(classes)
        if each is None or self.targeted or self.targets is not None:
            return each
        return Cost(each.forward, each.backward * (classes - 1))

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Walk along the boundary from each start; ``start``, when given, takes the place of x."""
        look = search.look(search.ball.x, gradient=False, keep=True)
        nearest = ranked_classes(search, look, "margin" if self.targets is None else self.ranking, self.norm)
        nearest = nearest[:, :1] if self.targeted else nearest
        search.select(~search.success[search.rows])
        groups = [nearest] if self.targets is None else nearest[:, : self.targets].split(1, 1)  # [N, M] each
        for number, classes in enumerate(groups):
            for restart in range(self.restarts):
                if len(search) == 0:
                    return
                if restart:
                    point = self._random(search, number * self.restarts + restart)
                else:
                    point = search.ball.x if start is None else start[search.rows]
                self._walk(search, point, classes)

    def _walk(self, search: Search, point: Tensor, classes: Tensor) -> None:
        for _ in range(self.steps):
            margins, gradients = search.jacobian(point, classes[search.rows])  # [A, M], [A, M, ...]
            if search.early_stop:
                still = ~search.success[search.rows]
                search.select(still)
                point, margins, gradients = point[still], margins[still], gradients[still]
            if len(search) == 0:
                return
            point = search.ball.project(self._step(search, point, margins, gradients))
        search.record(point)

    def _step(self, search: Search, point: Tensor, margins: Tensor, gradients: Tensor) -> Tensor:
        """Go from the point ``[A, ...]`` and from x beyond the plane, and take a mean of the two."""
        if self.mask is not None:
            gradients = gradients * (search.ball.low < search.ball.high)[:, None]
        w = gradients.flatten(2)  # [A, M, D]
        slope = dual(w, self.norm)
        distance = torch.where(slope > 0, margins.abs() / slope, torch.inf)
        nearest = torch.arange(len(w), device=w.device), distance.argmin(1)  # the nearest boundary
        w, margin = w[nearest], torch.where(distance.isfinite(), margins, 0)[nearest]

        x, low, high = (part.flatten(1) for part in (search.ball.x, search.ball.low, search.ball.high))
        here = point.flatten(1)
        crossed = (margins < 0).any(1)[:, None]
        back = torch.where(crossed, x + self.beta * (here - x), here)
        d1 = self._onto(margin + (w * (back - here)).sum(1), w, low - back, high - back)
        d2 = self._onto(margin + (w * (x - here)).sum(1), w, low - x, high - x)
        a1, a2 = (length(d, self.norm).clamp_min(1e-8) for d in (d1, d2))
        alpha = (a1 / (a1 + a2)).clamp_max(self.alpha_max)
        from_point, from_x = back + self.eta * d1 - x, self.eta * d2
        if self.norm != "linf" and self.eps is not None:
            alpha = alpha.maximum(_least_weight(from_point, from_x, self.eps, self.norm))
        change = from_point + alpha[:, None] * (from_x - from_point)
        return (x + change).reshape(point.shape)

    def _onto(self, margin: Tensor, w: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Project onto the plane where the margin is 0, from either side."""
        side = torch.where(margin < 0, -1, 1)
        return cross(side[:, None] * w, side * margin, low.clamp_max(0), high.clamp_min(0), self.norm)[0]

    def _random(self, search: Search, stream: int) -> Tensor:
        """Draw a start at half the distance of the best success, or of the ball."""
        x, shape = search.ball.x, tuple(search.ball.x.shape[1:])
        if self.norm == "linf":
            way = draws.uniform(self.seed, search.samples, shape, stream) * 2 - 1
        else:
            way = draws.normal(self.seed, search.samples, shape, stream)
        way = way.to(x.dtype).flatten(1)
        way = way / length(way, self.norm).clamp_min(1e-30)[:, None]
        usual = (self.bounds[1] - self.bounds[0]) * _USUAL[self.norm]
        radius = search.distance[search.rows].clamp_max(min(self.radius, usual)) / 2
        return search.ball.project(x + (radius.to(x.dtype)[:, None] * way).reshape(x.shape))


def _least_weight(u: Tensor, v: Tensor, eps: float, norm: NormName) -> Tensor:
    """Find the least share of the way from u to v, ``[A, D]``, at which the length is down to eps; 1 if it is not.

    Going from u straight into the ball instead would lead back over the plane, and with it all that lies near the rim.
    """
    eps = eps * (1 - 1e-6)
    way = v - u
    above = torch.ones_like(u[:, 0])
    if norm == "l2":
        a, b, c = way.square().sum(1), (u * way).sum(1), u.square().sum(1) - eps**2
        root = (b.square() - a * c).clamp_min(0).sqrt()  # of |u + share * way|^2 = eps^2
        above = ((-b - root) / a.clamp_min(1e-30)).clamp(0, 1)
    else:  # lengths are convex in the share: halve it, where v itself is near enough
        below, far = torch.zeros_like(above), length(v, norm) > eps
        for _ in range(_HALVINGS):
            middle = (below + above) / 2
            outside = far | (length(u + middle[:, None] * way, norm) > eps)
            below, above = torch.where(outside, middle, below), torch.where(outside, above, middle)
    return torch.where(length(u, norm) > eps, above, 0)


#: The half of it is the radius of random starts where nothing is known, in units of the value range.
_USUAL: dict[NormName, float] = {"linf": 0.3, "l2": 1.0, "l1": 5.0}
_HALVINGS = 20
