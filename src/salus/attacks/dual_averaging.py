"""The smallest change by dual averaging: averaged planes stand for the boundary, and are crossed exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks import draws
from salus.attacks.ball import NormName, by_place, in_shape
from salus.attacks.base import Attack
from salus.attacks.cost import Cost
from salus.attacks.objective import Evaluation
from salus.attacks.plane import cross
from salus.attacks.search import Search
from salus.attacks.settings import Candidates, LargestEps, Norm, Steps


@dataclass(frozen=True, kw_only=True)
class DualAveraging(Attack):
    """The smallest change in L0, L1, L2 or L-infinity, by regularised dual averaging (Xiao, 2010, Algorithm 1).

    Towards one class after another, the nearest first, every step takes for the margin a plane whose slope is the mean
    of all slopes seen, with more weight on the later ones, and crosses it from x by the change that is smallest in L2
    among those of a size of at most tau in the norm, bounds included. In L2 there is no tau, in L0 the places that
    bring the plane down most go to their bounds. Tau falls by a share after a success, rises by it after a failure, and
    is never too small to cross the plane unless a success is nearer; the share shrinks. As in primal-dual attacks
    (Matyasko and Chau, 2021) the multiplier of the margin follows from where the search stands; there is no step size.

    A search leaves a class when a tenth of its steps has brought nothing. When all classes have been searched from x,
    it is done again from random points, towards those classes that came nearest, until the steps are spent.

    Attributes:
        eps: the largest change that counts; None for any. In L0 a number of places.
        steps: forward and backward passes, over all searches.
        search_steps: most of them that one search takes.
        candidates: how many classes are searched for, those nearest in margin at x.

    Example:
        >>> x_adv = DualAveraging(norm="l1")(model, x, y)  # doctest: +SKIP
    """

    name: ClassVar[str] = "dual-averaging"
    paper: ClassVar[str] = "after Xiao, 2010"
    norms: ClassVar[tuple[NormName, ...]] = ("linf", "l2", "l1", "l0")
    label: ClassVar[str] = "Dual averaging"
    closest: ClassVar[bool] = True

    eps: LargestEps = None
    norm: Norm = "l2"
    steps: Annotated[int, Field(ge=1, description="forward and backward passes, over all searches")] = 500
    search_steps: Steps = 100
    candidates: Candidates = 9

    @property
    def reads_loss(self) -> bool:
        """False: it reads the margins by way of each class."""
        return False

    def cost(self, classes: int) -> Cost:
        """All steps, and a look at x."""
        most = self.steps + 1 if self.queries is None else min(self.queries, self.steps + 1)
        return Cost(most, most)

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Search towards each class from x (the first from ``start``, when given), then from random points."""
        look = search.look(search.ball.x, gradient=False, keep=True)
        still = ~look.success
        search.select(still)
        rows, margins = search.rows, look.class_margins[still]
        ways = min(self.candidates, 1 if self.targeted else margins.shape[1] - 1)
        classes = torch.zeros(len(search.batch_y), ways, dtype=torch.int64, device=rows.device)
        classes[rows] = margins.argsort(1)[:, :ways]
        reached = torch.full(classes.shape, torch.inf, dtype=torch.float64, device=rows.device)  # by way of each
        last = search.queries + self.steps  # what each sample may have asked in the end
        number = 0
        while True:
            rows = rows[(search.queries[rows] < last[rows]) & (search.left(rows) > 0)]
            if search.early_stop:
                rows = rows[~search.success[rows]]
            if len(rows) == 0:
                return
            search.resume(rows)
            if number < ways:
                point = search.ball.x if start is None or number else start[rows]
            else:
                point = self._random(search, number)
            if number == ways:  # from now on towards those that came nearest
                classes = classes.gather(1, reached.argsort(dim=1, stable=True))
            place = number % ways if number < ways else _turn(number - ways, ways)
            best = self._approach(search, point, classes[:, place], last)
            if number < ways:
                reached[:, place] = best
            number += 1

    def _approach(self, search: Search, point: Tensor, classes: Tensor, last: Tensor) -> Tensor:
        """Search towards these classes ``[N]``; return the nearest success of this search, ``[N]``."""

        def goal(evaluation: Evaluation, rows: Tensor) -> Tensor:
            return -evaluation.class_margins.gather(1, classes[rows, None])[:, 0]

        found = torch.full_like(search.distance, torch.inf)
        reached = torch.full((len(search), 2), torch.inf, dtype=torch.float64, device=point.device)
        before, first = reached, torch.zeros_like(reached[:, 0], dtype=point.dtype)
        state: tuple[Tensor, ...] = ()
        for step in range(self.search_steps):
            look = search.look(point, goal, keep=True)
            point, reached, before, first = map(look.of, (point, reached, before, first))
            state = tuple(look.of(part) for part in state)
            margin = torch.where(look.loss.isfinite(), -look.loss, 0).to(point.dtype)
            if step == 0:
                first = margin.abs().clamp_min(_LEAST)
            gap = margin + (_OVER / (step + 1) + _OVER_LAST) * first
            distance = torch.where(look.success, search.ball.distance(point), torch.inf)
            reached = reached.minimum(torch.stack([distance, margin.double().clamp_min(0)], 1))
            found[search.rows] = reached[:, 0]
            slope, won = -look.gradient, look.success
            still = (search.left(search.rows) > 0) & (search.queries[search.rows] < last[search.rows])
            if step and step % max(1, self.search_steps // 10) == 0:
                still &= (reached < _PROGRESS * before).any(1)
                before = reached
            if not bool(still.all()):
                search.select(still)
                point, gap, slope, won = point[still], gap[still], slope[still], won[still]
                reached, before, first = reached[still], before[still], first[still]
                state = tuple(part[still] for part in state)
            if len(search) == 0:
                break
            change, state = self._move(search, point, gap, slope, won, state, step)
            point = search.ball.project(search.ball.x + change.reshape(point.shape))
        return found

    def _move(
        self,
        search: Search,
        point: Tensor,
        gap: Tensor,
        slope: Tensor,
        won: Tensor,
        state: tuple[Tensor, ...],
        step: int,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Cross the averaged plane from x by a change of size tau ``[A, D]``."""
        x, low, high = (part.flatten(1) for part in (search.ball.x, search.ball.low, search.ball.high))
        change, slope, low, high = point.flatten(1) - x, slope.flatten(1) * (low < high), low - x, high - x
        mean = state[0] if state else slope
        mean = mean + (slope - mean) * (2 / (step + 2))
        gap = gap - (mean * change).sum(1)  # seen from x
        if self.norm == "l2":
            return cross(mean, gap, low, high, "l2")[0], (mean,)
        best = search.distance[search.rows].to(change.dtype)
        share = _TAU * (_TAU_LAST / _TAU) ** (step / self.search_steps)
        least = _least(mean, gap, low, high, self.norm, point)
        if state:
            tau = state[1]
            tau = torch.where(won, (1 - share) * tau.minimum(best), ((1 + share) * tau).minimum((1 - share / 2) * best))
            tau = torch.where((tau < least) & (least < best), least, tau)
        else:
            tau = ((1 + share) * least).minimum((1 - share) * best)
        if self.norm == "l0":
            tau = tau.minimum((best - 1).clamp_min(1))
            return _bring_down(mean, tau.ceil(), low, high, point), (mean, tau)
        if self.norm == "linf":
            return cross(mean, gap, low.maximum(-tau[:, None]), high.minimum(tau[:, None]), "l2")[0], (mean, tau)
        return _sparse(mean, gap, low, high, tau), (mean, tau)

    def _random(self, search: Search, stream: int) -> Tensor:
        """Draw points around x about as far away as the nearest success."""
        x = search.ball.x
        best = search.x_adv[search.rows] - x
        way = draws.normal(self.seed, search.samples, tuple(x.shape[1:]), stream).to(x.dtype).flatten(1)
        size = best.flatten(1).norm(dim=1) / way.norm(dim=1).clamp_min(1e-30)
        return search.ball.project(x + _SPREAD * best + _FAR * (size[:, None] * way).reshape(x.shape))


def _turn(number: int, ways: int) -> int:
    """Return whose turn it is after all have had theirs: the nearest more often than the others."""
    place = 0
    while number % 2 and place < ways - 1:
        number, place = number // 2, place + 1
    return place


def _least(slope: Tensor, gap: Tensor, low: Tensor, high: Tensor, norm: NormName, point: Tensor) -> Tensor:
    """Return the size of the smallest change that crosses a plane ``[A]``."""
    if norm != "l0":
        return cross(slope, gap, low, high, norm)[1]
    gains = _gains(slope, low, high, point).sort(dim=1, descending=True).values
    return ((gains.cumsum(1) < gap[:, None]).sum(1) + 1).to(slope.dtype)


def _gains(slope: Tensor, low: Tensor, high: Tensor, point: Tensor) -> Tensor:
    """Return by how much each place can bring a plane down, ``[A, P]``."""
    return by_place((-slope * torch.where(slope > 0, low, high)).reshape(point.shape)).sum(1)


def _bring_down(slope: Tensor, count: Tensor, low: Tensor, high: Tensor, point: Tensor) -> Tensor:
    """Bring the places that matter most, so many of each sample, to the bounds where the plane is lowest."""
    rank = _gains(slope, low, high, point).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    chosen = in_shape(rank < count[:, None], point).expand_as(point).flatten(1)
    return torch.where(chosen, torch.where(slope > 0, low, high), 0)


def _sparse(slope: Tensor, gap: Tensor, low: Tensor, high: Tensor, most: Tensor) -> Tensor:
    """Cross a plane by the change that is smallest in L2 among those whose sizes sum up to at most ``most`` ``[A]``.

    It goes against the slope with every element lowered by one amount, which halving finds.
    """
    less, more = torch.zeros_like(most), slope.abs().amax(1)
    for _ in range(_HALVINGS):
        middle = (less + more) / 2
        long = _against(slope, middle, gap, low, high).abs().sum(1) > most
        less, more = torch.where(long, middle, less), torch.where(long, more, middle)
    return _against(slope, more, gap, low, high)


def _against(slope: Tensor, lowered: Tensor, gap: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Cross a plane against its slope, every element of which is lowered by an amount ``[A]``, inside a box."""
    way = (slope.abs() - lowered[:, None]).clamp_min(0) * slope.sign()
    end = torch.where(way > 0, low, high)
    t, step = torch.zeros_like(gap), torch.zeros_like(slope)
    for _ in range(_HALVINGS):  # Newton's, as in ``cross``
        lacking = gap + (slope * step).sum(1)
        rate = torch.where(step == end, 0, slope * way).sum(1)
        climbing = (lacking > 1e-5 * gap) & (rate > 0)
        if not bool(climbing.any()):
            break
        t = torch.where(climbing, t + lacking / rate.clamp_min(1e-30), t)
        step = (-t[:, None] * way).clamp(low, high)
    return step


#: A tenth of a search's steps has brought something where the nearest success or the lowest margin is below this share.
_PROGRESS = 0.995
#: How far below 0 the plane is brought, as a share of the margin at the start: at first, and after many steps.
_OVER, _OVER_LAST = 0.01, 3e-4
#: The least such margin, for samples that start on the boundary.
_LEAST = 1e-6
#: The share by which tau changes in the first step of a search and in the last.
_TAU, _TAU_LAST = 0.05, 0.005
#: Rounds of halving, and of Newton's method.
_HALVINGS = 12
#: A random start is the nearest success's change times this, and noise as long as that change times this.
_SPREAD, _FAR = 0.0, 1.0
