"""Carlini and Wagner's attacks: the smallest change traded against the margin, solved plane by plane."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks.ball import NormName
from salus.attacks.base import Attack
from salus.attacks.cost import Cost
from salus.attacks.objective import Evaluation, Objective
from salus.attacks.plane import cross
from salus.attacks.search import Search
from salus.attacks.settings import Candidates, LargestEps, Norm


@dataclass(frozen=True, kw_only=True)
class _CarliniWagner(Attack):
    """A search by way of each of the nearest classes, repeated with more force where none has succeeded.

    Attributes:
        eps: the largest change that counts; None for any.
        steps: most steps of a search; a sample leaves it when a tenth of them has brought it nothing.
        searches: most searches, what others call ``binary_search_steps``.
        candidates: how many classes are searched for, those nearest in margin at x: the best of the attacks on each
            class is what the paper calls untargeted.
        confidence: how far beyond the boundary the margin must be, kappa in the paper.
    """

    paper: ClassVar[str] = "Carlini and Wagner, 2017"
    closest: ClassVar[bool] = True

    eps: LargestEps = None
    steps: Annotated[int, Field(ge=1, description="most steps of a search")] = 100
    searches: Annotated[int, Field(ge=1, description="most searches, each with more force")] = 9
    candidates: Candidates = 3
    confidence: Annotated[float, Field(ge=0, description="how far beyond the boundary the margin must be, kappa")] = 0.0

    @property
    def reads_loss(self) -> bool:
        """False: it reads the margins by way of each class."""
        return False

    def cost(self, classes: int) -> Cost:
        """Each search takes all its steps, for a sample that it never fools."""
        return Cost(self.steps, self.steps).times(self.searches)

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Search by way of each class in turn; the first search begins at ``start``, when given."""
        with _sure(search, self.confidence):
            look = search.look(search.ball.x, gradient=False, keep=True)
            still = ~look.success
            search.select(still)
            rows, margins = search.rows, look.class_margins[still]  # [A], [A, K]
            ways = min(self.candidates, 1 if self.targeted else margins.shape[1] - 1)
            nearest = torch.zeros(len(search.batch_y), ways, dtype=torch.int64, device=rows.device)
            nearest[rows] = margins.argsort(1)[:, :ways]
            for number in range(self.searches):
                if search.early_stop or number >= ways:
                    rows = rows[~search.success[rows]]
                rows = rows[search.left(rows) > 0]
                if len(rows) == 0:
                    return
                search.resume(rows)
                point = search.ball.x if start is None or number else start[rows]
                self._descend(search, point, nearest[:, number % ways], 10.0 ** (number // ways))

    def _descend(self, search: Search, point: Tensor, classes: Tensor, force: float) -> None:
        """Search by way of these classes ``[N]``, until each sample has come as far as it will."""

        def goal(evaluation: Evaluation, rows: Tensor) -> Tensor:
            return -evaluation.class_margins.gather(1, classes[rows, None])[:, 0]

        reached = torch.full((len(search), 2), torch.inf, dtype=torch.float64, device=point.device)
        before = reached  # the nearest success and the lowest margin of this search
        first = torch.zeros_like(reached[:, 0], dtype=point.dtype)
        state: list[Tensor] = []
        for step in range(self.steps):
            look = search.look(point, goal, keep=True)
            point, reached, before, first, *state = map(look.of, (point, reached, before, first, *state))
            margin = torch.where(look.loss.isfinite(), -look.loss, 0).to(point.dtype)
            if step == 0:
                first = margin.abs().clamp_min(_LEAST)
            gap = margin + force * (_OVER / (step + 1) + _OVER_LAST) * first
            place = _Place(point, gap, -look.gradient, look.success)
            distance = torch.where(look.success, search.ball.distance(point), torch.inf)
            reached = reached.minimum(torch.stack([distance, margin.double().clamp_min(0)], 1))
            still = search.left(search.rows) > 0
            if step and step % max(1, self.steps // 10) == 0:
                still &= (reached < _PROGRESS * before).any(1)
                before = reached
            if not bool(still.all()):
                search.select(still)
                place, reached, before, first = place.select(still), reached[still], before[still], first[still]
                state = [part[still] for part in state]
            if len(search) == 0:
                return
            change, state = self._move(search, place, state, step)
            point = search.ball.project(search.ball.x + change.reshape(place.point.shape))

    @abstractmethod
    def _move(self, search: Search, place: _Place, state: list[Tensor], step: int) -> tuple[Tensor, list[Tensor]]:
        """Return the change of x ``[A, D]`` to look at next, and what to remember of each sample."""


@dataclass(frozen=True, kw_only=True)
class CarliniWagnerL2(_CarliniWagner):
    """Carlini and Wagner's L2 attack (2017): the change with the least ``||change||^2 + c max(margin + kappa, 0)``.

    The paper descends by Adam, in a variable whose tanh keeps to the bounds, and halves its way to a good c from
    outside. Here every step takes for the margin a plane of its slope, averaged over the steps with more weight on the
    later ones (regularised dual averaging; Xiao, 2010), and solves the objective with it exactly, bounds
    included: the change is minus c/2 times the slope, clipped, and c is what just brings the plane below 0. So
    there is no step size and no constant to choose.

    Example:
        >>> x_adv = CarliniWagnerL2()(model, x, y)  # doctest: +SKIP
    """

    name: ClassVar[str] = "carlini-wagner-l2"
    norms: ClassVar[tuple[NormName, ...]] = ("l2",)
    label: ClassVar[str] = "C&W L2"

    norm: Norm = "l2"

    def _move(self, search: Search, place: _Place, state: list[Tensor], step: int) -> tuple[Tensor, list[Tensor]]:
        """Cross the averaged plane by the smallest change of x."""
        change, slope, low, high = place.around(search)
        (mean,) = state or [slope]
        mean = mean + (slope - mean) * (2 / (step + 2))
        gap = place.gap - (mean * change).sum(1)  # seen from x
        return cross(mean, gap, low, high, "l2")[0], [mean]


@dataclass(frozen=True, kw_only=True)
class CarliniWagnerLinf(_CarliniWagner):
    """Carlini and Wagner's L-infinity attack (2017): ``sum max(|change| - tau, 0) + c max(margin + kappa, 0)``.

    As published, tau falls below each success until none is found within it. The paper, and ART with it, solves each
    such problem anew by Adam, for one constant after another, and stops at tau = 1/256. Here a step keeps the first
    term at 0, by moving inside the box of half-width tau, and brings the plane of the margin's slope below 0
    by the smallest move; tau changes with every step, down after a success and up after a failure, by a share
    that shrinks. Papers on ECG use ART's version with ``eps=0.1``.

    Example:
        >>> x_adv = CarliniWagnerLinf(eps=0.1)(model, x, y)  # doctest: +SKIP
    """

    name: ClassVar[str] = "carlini-wagner-linf"
    norms: ClassVar[tuple[NormName, ...]] = ("linf",)
    label: ClassVar[str] = "C&W L∞"

    norm: Norm = "linf"

    def _move(self, search: Search, place: _Place, state: list[Tensor], step: int) -> tuple[Tensor, list[Tensor]]:
        """Cross the plane inside the box of half-width tau."""
        change, slope, low, high = place.around(search)
        best = search.distance[search.rows].to(change.dtype)
        share = _TAU * (_TAU_LAST / _TAU) ** (step / self.steps)
        # The half-width of the smallest box that reaches the plane.
        least = cross(slope, place.gap - (slope * change).sum(1), low, high, "linf")[1]
        if state:
            (tau,) = state
            down, up = (1 - share) * tau.minimum(best), (1 + share) * tau
            tau = torch.where(place.won, down, up.minimum((1 - share / 2) * best))
            tau = torch.where((tau < least) & (least < best), least, tau)
        else:
            tau = ((1 + share) * least).minimum((1 - share) * best)
        low, high = low.maximum(-tau[:, None]), high.minimum(tau[:, None])
        inside = change.clamp(low, high)
        gap = place.gap + (slope * (inside - change)).sum(1)
        return inside + cross(slope, gap, low - inside, high - inside, "l2")[0], [tau]


@dataclass(frozen=True, eq=False)
class _Place:
    """Where each sample stands, and what the margin of its class does there.

    Attributes:
        point: ``[A, ...]``.
        gap: how far the margin is to fall ``[A]``.
        slope: the margin's gradient ``[A, ...]``.
        won: bool ``[A]``.
    """

    point: Tensor
    gap: Tensor
    slope: Tensor
    won: Tensor

    def select(self, stay: Tensor) -> _Place:
        """Keep these samples."""
        return _Place(self.point[stay], self.gap[stay], self.slope[stay], self.won[stay])

    def around(self, search: Search) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the change of x, the slope where x may change, and the change's bounds, all ``[A, D]``."""
        x, low, high = (part.flatten(1) for part in (search.ball.x, search.ball.low, search.ball.high))
        return self.point.flatten(1) - x, self.slope.flatten(1) * (low < high), low - x, high - x


@contextmanager
def _sure(search: Search, confidence: float) -> Iterator[None]:
    """Let a search take for success only what succeeds by this margin."""
    if confidence == 0:
        yield
        return
    objective = search.objective
    search.objective = _Sure(objective, confidence)
    try:
        yield
    finally:
        search.objective = objective
        search.judged &= search.success  # what is not sure may still succeed


class _Sure(Objective):
    """An objective whose margins all stand this much higher."""

    def __init__(self, objective: Objective, confidence: float) -> None:
        self.objective = objective
        self.confidence = confidence

    def evaluate(self, x: Tensor, y: Tensor) -> Evaluation:
        """Raise the margins; success is what falls all the same."""
        evaluation = self.objective.evaluate(x, y)
        margin = evaluation.margin + self.confidence
        return Evaluation(
            None,
            y,
            targeted=evaluation.targeted,
            margin=margin,
            success=evaluation.success & (margin <= 0),
            class_margins=evaluation.class_margins + self.confidence,
        )


#: A tenth of the steps has brought something where the nearest success or the lowest margin is below this share.
_PROGRESS = 0.995
#: How far below 0 the plane is brought, as a share of the margin at the start: at first, and after many steps.
_OVER, _OVER_LAST = 0.01, 3e-4
#: The least such margin, for samples that start on the boundary.
_LEAST = 1e-6
#: The share by which tau changes in the first step and in the last.
_TAU, _TAU_LAST = 0.05, 0.005
