"""DeepFool: over the nearest class boundary, as if the boundaries were flat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks.base import Attack
from salus.attacks.cost import Cost
from salus.attacks.plane import cross, dual
from salus.attacks.search import Search
from salus.attacks.settings import Candidates, LargestEps, Norm, Steps


@dataclass(frozen=True, kw_only=True)
class DeepFool(Attack):
    """DeepFool (Moosavi-Dezfooli et al., 2016): steps to the nearest of the linearised class boundaries.

    With ``f_k`` the margin left to win by way of class k, a step goes towards the class with the smallest
    ``|f_k| / ||grad f_k||_q``, by that distance (Algorithm 2; Eq. 10 and 11 in other norms) and ``overshoot`` more.
    As in the authors' code a ten-thousandth of the value range is added to each distance, and a sample is done at its
    first crossing. In L1 the way to a boundary keeps to the bounds: the values that matter most go to theirs in turn,
    as in SparseFool (Modas et al., 2019).

    Attributes:
        eps: the largest change that counts; None for any.
        steps: most steps.
        overshoot: how far beyond the linearised boundary, as a share of the step.
        candidates: how many other classes a step looks at, those nearest in margin; one backward pass each. The
            result is that of all classes unless a class far in margin is near in distance.
        line_search: how often the way between x and the first crossing is halved afterwards, to end nearer to the
            boundary; one forward pass each. The paper has none.

    Example:
        >>> x_adv = DeepFool(norm="l2")(model, x, y)  # doctest: +SKIP
    """

    name: ClassVar[str] = "deepfool"
    paper: ClassVar[str] = "Moosavi-Dezfooli et al., 2016"
    closest: ClassVar[bool] = True

    eps: LargestEps = None
    norm: Norm = "l2"
    steps: Steps = 100
    overshoot: Annotated[
        float, Field(ge=0, description="how far beyond the linearised boundary, as a share of the step")
    ] = 0.02
    candidates: Candidates = 5
    line_search: Annotated[
        int, Field(ge=0, description="how often the way back from the first crossing to x is halved")
    ] = 0

    @property
    def reads_loss(self) -> bool:
        """False: it reads the margins by way of each class."""
        return False

    def cost(self, classes: int) -> Cost:
        """Each step looks at some classes, a backward pass each."""
        return Cost(self.steps + self.line_search, self.steps * min(self.candidates, classes - 1))

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Step towards the nearest boundary until each sample has crossed one."""
        if start is not None:
            look = search.look(search.ball.x, gradient=False, keep=True)
            search.select(~look.success)
        point = search.ball.x if start is None else start[search.rows]
        for step in range(self.steps):
            if step in _CROSSING and len(search) > 0:
                look = search.look(point, gradient=False, keep=True)
                still = ~look.success
                search.select(still)
                point = look.of(point)[still]
            if len(search) == 0:
                break
            way = self._way(search, point)
            still = ~search.success[search.rows]
            search.select(still)
            point = search.ball.project(point[still] + (1 + self.overshoot) * way[still])
        search.record(point)
        if self.line_search:
            self._draw_near(search)

    def _way(self, search: Search, point: Tensor) -> Tensor:
        """Compute the way to the nearest of the linearised boundaries, ``[A, ...]``."""
        margins, w = search.jacobian(point, 1 if self.targeted else self.candidates)  # [A, M], [A, M, ...]
        if self.mask is not None:
            w = w * (search.ball.low < search.ball.high)[:, None]
        w = w.flatten(2)
        length = dual(w, self.norm)
        distance = torch.where(length > 0, margins.abs() / length, torch.inf)
        distance, nearest = distance.min(1)
        w = w[torch.arange(len(w), device=w.device), nearest]
        distance = torch.where(distance.isfinite(), distance + _EXTRA * (self.bounds[1] - self.bounds[0]), 0)
        if self.norm == "l1":  # the one value that is steepest has, alone, seldom the room
            here, low, high = (part.flatten(1) for part in (point, search.ball.low, search.ball.high))
            return cross(w, distance * dual(w, "l1"), low - here, high - here, "l1")[0].reshape(point.shape)
        w = w.reshape(point.shape)
        return -distance.reshape(-1, *[1] * (point.ndim - 1)) * search.ball.steepest(w)

    def _draw_near(self, search: Search) -> None:
        """Halve the way between x and what was found, again and again."""
        rows = (search.success & (search.distance > 0)).nonzero()[:, 0]
        region = search.batch_ball.select(rows)
        way = search.x_adv[rows] - region.x
        missed, hit = torch.zeros(2, len(rows), dtype=way.dtype, device=way.device)  # shares of the way
        hit = hit + 1
        for _ in range(self.line_search):
            search.check_time()
            share = (missed + hit) / 2
            active = search.left(rows) > 0
            point = region.project(region.x + share.reshape(-1, *[1] * (way.ndim - 1)) * way)
            won = torch.zeros_like(active)
            won[active] = search.ask(point[active], rows[active])
            missed, hit = torch.where(active & ~won, share, missed), torch.where(won, share, hit)


#: Added to each step, as a share of the value range, so that rounding does not stop it short of the boundary.
_EXTRA = 1e-4
#: The steps before which it pays to ask who has crossed, and to compute no gradients for those.
_CROSSING = (1, 2, 3)
