"""The state of one batch under attack: who is still to be fooled, the best point of each, what it cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from salus.attacks.ball import Ball
from salus.attacks.objective import Evaluation, NaNLogitsError, Objective
from salus.errors import ModelError

#: What an attack raises instead of the objective's own loss: (evaluation, rows ``[A]``) to ``[A]``.
Goal = Callable[[Evaluation, Tensor], Tensor]


#: Most points that a processor evaluates side by side where they need not be: more fall out of its cache.
_CACHED = 64


class BudgetSpent(Exception):  # noqa: N818 - no error: the attack ends with what it has
    """The queries or the time that were allowed are used up."""


class Observation:
    """What one evaluation of the active samples' points showed, for the samples that stay active.

    Attributes:
        stay: bool ``[A]`` over those active before: who still is. An attack filters its own state by it.
        loss: what was raised ``[A']``; absent where neither a goal nor a gradient was asked for.
        gradient: of the loss in the point ``[A', ...]``; absent where it was not asked for.
    """

    loss: Tensor
    gradient: Tensor

    def __init__(self, evaluation: Evaluation, stay: Tensor, loss: Tensor | None, gradient: Tensor | None) -> None:
        self._evaluation = evaluation
        self._rows = None if bool(stay.all()) else stay.nonzero()[:, 0]
        self.stay = stay
        if loss is not None:
            self.loss = self.of(loss.detach())
        if gradient is not None:
            self.gradient = self.of(gradient)

    def of(self, values: Tensor) -> Tensor:
        """Keep the rows of the samples that stay."""
        return values if self._rows is None else values.index_select(0, self._rows)

    @cached_property
    def margin(self) -> Tensor:
        """The distance from success ``[A']``."""
        return self.of(self._evaluation.margin.detach())

    @cached_property
    def success(self) -> Tensor:
        """Where the attacker has won, bool ``[A']``."""
        return self.of(self._evaluation.success)

    @cached_property
    def class_margins(self) -> Tensor:
        """The margin left to win by way of each class ``[A', K]``."""
        return self.of(self._evaluation.class_margins.detach())

    @cached_property
    def logits(self) -> Tensor:
        """The logits ``[A', K]``."""
        return self.of(self._evaluation.logits.detach())


class FirstSuccess:
    """Where each of N samples fell first, and what that took, in a search that lets nobody go.

    Attributes:
        x_adv: ``[N, ...]``.
        found: bool ``[N]``, it fell.
        queries: int64 ``[N]``, until then.
        passes: int64 ``[N]``.
    """

    def __init__(self, x: Tensor, rows: Tensor) -> None:
        self.x_adv = x.clone()
        self.found = torch.zeros_like(rows, dtype=torch.bool)
        self.queries, self.passes = torch.zeros_like(rows), torch.zeros_like(rows)

    def note(self, rows: Tensor, points: Tensor, won: Tensor, queries: Tensor, passes: Tensor) -> None:
        """Keep the points ``[A, ...]`` of those at these rows ``[A]`` who fell now and not before."""
        new = won & ~self.found[rows]
        if bool(new.any()):
            fallen = rows[new]
            self.x_adv[fallen], self.found[fallen] = points[new].detach(), True
            self.queries[fallen], self.passes[fallen] = queries[fallen], passes[fallen]

    def end(self, x_adv: Tensor, success: Tensor, queries: Tensor, passes: Tensor) -> None:
        """Take where the search ended ``[N, ...]`` for who never fell on the way, though perhaps there."""
        late = ~self.found
        self.x_adv[late], self.queries[late], self.passes[late] = x_adv[late], queries[late], passes[late]
        self.found |= success


class Search:
    """Evaluates an objective on the samples that are still active and keeps the best point of each.

    An attack moves points of the *active* samples. With ``early_stop`` a sample leaves as soon as it has
    fallen; with ``closest`` it stays, and of all points where it falls the nearest to x is kept. ``ball``,
    ``y``, ``samples`` and ``rows`` (places in the batch) always describe the active ones, in the order of
    their points.

    Args:
        objective: the attacker's goal.
        ball: where the attacker may go, for the whole batch.
        y: labels or targets ``[N]``.
        samples: indices of the samples in the whole data ``[N]``; random draws depend on them.
        early_stop: let fallen samples go.
        closest: keep the success nearest to x instead of the first.
        queries: most forward passes a sample.
        deadline: when to stop, by ``time.monotonic()``.
        batch_size: points evaluated side by side by :meth:`ask`.
        note_first: note in ``first`` where each sample falls first, though it stays.
    """

    def __init__(
        self,
        objective: Objective,
        ball: Ball,
        y: Tensor,
        samples: Tensor,
        *,
        early_stop: bool = False,
        closest: bool = False,
        queries: int | None = None,
        deadline: float | None = None,
        batch_size: int = 256,
        note_first: bool = False,
    ) -> None:
        self.objective = objective
        self.batch_ball, self.batch_y, self.batch_samples = ball, y, samples
        self.ball, self.y, self.samples = ball, y, samples
        self.early_stop = early_stop
        self.closest = closest
        self.budget = queries
        self.deadline = deadline
        self.batch_size = batch_size
        self.x_adv = ball.x.clone()  # [N, ...], the best point of each sample
        self.success = torch.zeros_like(y, dtype=torch.bool)
        self.judged = torch.zeros_like(self.success)  # success is known at x_adv
        self.queries = torch.zeros_like(y)
        self.passes = torch.zeros_like(y)
        self.zero = torch.zeros_like(y)  # passes that gave no direction although nothing was won yet
        self.nonfinite = torch.zeros_like(y)  # passes whose gradient held an infinity or NaN
        self.corrected = torch.zeros_like(self.success)  # came back from outside, where others compute points
        self.distance = torch.full(y.shape, torch.inf, dtype=torch.float64, device=y.device)  # of the successes
        self._margin = self.distance.clone()
        self._last: tuple[Tensor, Tensor] | None = None  # rows and points of the last gradient
        self.rows = torch.arange(len(y), device=y.device)  # the active samples' places in the batch
        self.first = FirstSuccess(ball.x, self.rows) if note_first else None

    def __len__(self) -> int:
        return len(self.rows)

    def look(
        self, point: Tensor, goal: Goal | None = None, *, gradient: bool = True, keep: bool = False
    ) -> Observation:
        """Evaluate each active sample's point ``[A, ...]``, and differentiate what is to be raised.

        With ``early_stop`` the samples that fall here are kept and leave; with ``closest`` each fall that is
        nearer than those before is kept.

        Args:
            point: where to look; must be inside the ball.
            goal: what to raise instead of the objective's loss.
            gradient: compute the gradient; without it no loss is computed unless a goal is given.
            keep: keep each point that is better than what its sample has so far, as :meth:`record` does.

        Raises:
            ModelError: the model returned NaN, or nothing that depends on its input by torch operations.
            BudgetSpent: no more queries or time are allowed.
        """
        point = self.ball.land(point).detach()
        slope, loss = None, None
        if gradient:
            with torch.enable_grad():
                at = point.requires_grad_()
                evaluation = self._evaluate(at)
                loss = evaluation.loss if goal is None else goal(evaluation, self.rows)
            self.passes[self.rows] += 1
            slope = differentiate(loss, at)
            slope = self._counted(slope[:, None], evaluation)[:, 0]
            point = point.detach()
            self._last = (self.rows, point)
        else:
            with torch.no_grad():
                evaluation = self._evaluate(point)
                if goal is not None:
                    loss = goal(evaluation, self.rows)
        self._note(point, evaluation)
        stay = torch.ones_like(self.y, dtype=torch.bool)
        if keep:
            self._keep_better(evaluation, point)
            stay = ~evaluation.success if self.early_stop else stay
        elif (self.early_stop or self.closest) and bool(evaluation.success.any()):
            won = evaluation.success
            if self.early_stop:
                self._keep(won, point, evaluation, won)
                stay = ~won
            else:
                distance = self.ball.distance(point)
                self._keep(won & (distance < self.distance[self.rows]), point, evaluation, won, distance)
        look = Observation(evaluation, stay, loss, slope)
        if self.early_stop:
            self.select(stay)
        return look

    def explore(self, ball: Ball, point: Tensor, goal: Goal | None = None) -> Observation:
        """Differentiate what is to be raised at each active sample's point ``[A, ...]`` of a wider ball.

        Nothing is kept, as what falls there need not be near enough, and nobody leaves.
        """
        point = ball.land(point).detach()
        with torch.enable_grad():
            at = point.requires_grad_()
            evaluation = self._evaluate(at)
            loss = evaluation.loss if goal is None else goal(evaluation, self.rows)
        self.passes[self.rows] += 1
        slope = self._counted(differentiate(loss, at)[:, None], evaluation)[:, 0]
        return Observation(evaluation, torch.ones_like(self.y, dtype=torch.bool), loss, slope)

    def gradient(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """Differentiate the objective's loss at each active sample's point ``[A, ...]``; see :meth:`look`.

        Returns:
            The points of the samples that stay active and the gradients there.
        """
        look = self.look(point)
        return look.of(point), look.gradient

    def jacobian(self, point: Tensor, classes: Tensor | int) -> tuple[Tensor, Tensor]:
        """Differentiate the margins by way of several classes, from one forward pass.

        Args:
            point: each active sample's point ``[A, ...]``.
            classes: the classes of each, ``[A, M]``, or how many of those with the lowest margins there.

        Returns:
            Margins ``[A, M]`` and gradients ``[A, M, ...]``. Points are kept as :meth:`record` keeps them, but
            nobody leaves.
        """
        point = self.ball.land(point).detach().requires_grad_()
        with torch.enable_grad():
            evaluation = self._evaluate(point)
            if isinstance(classes, int):
                most = evaluation.class_margins.shape[1] - 1  # one class is y
                classes = evaluation.class_margins.detach().topk(min(classes, most), largest=False).indices
            margins = evaluation.class_margins.gather(1, classes)  # [A, M]
        self.passes[self.rows] += 1
        self._note(point, evaluation)
        finite = margins.detach().isfinite()
        ways = (margins if bool(finite.all()) else torch.where(finite, margins, 0)).unbind(1)
        last = len(ways) - 1
        gradients = torch.stack([differentiate(way, point, keep_graph=k < last) for k, way in enumerate(ways)], 1)
        gradients = self._counted(gradients, evaluation)
        self._keep_better(evaluation, point.detach())
        return margins.detach(), gradients

    def _counted(self, gradients: Tensor, evaluation: Evaluation) -> Tensor:
        """Count passes whose gradients ``[A, M, ...]`` lead nowhere, and return them without infinities or NaN.

        A pass is one that gave no direction where all of its gradients are zero and the attacker has not won there.
        """
        size = torch.linalg.vector_norm(gradients.flatten(2), torch.inf, dim=2)  # [A, M], NaN where one is
        broken = ~size.isfinite()
        if bool(broken.any()):
            self.nonfinite[self.rows] += broken.any(1)
            # A model with infinite slopes must not turn a point into NaN.
            gradients = gradients.nan_to_num_(nan=0.0, posinf=1e30, neginf=-1e30)
        flat = (size == 0).all(1)
        if bool(flat.any()):
            self.zero[self.rows] += flat & ~evaluation.success
        return gradients

    def record(self, point: Tensor) -> None:
        """Judge the active samples' points and keep each that is better than what its sample has so far."""
        if len(self) == 0:
            return
        point = self.ball.land(point).detach()
        with torch.no_grad():
            evaluation = self._evaluate(point)
        self._note(point, evaluation)
        self._keep_better(evaluation, point)
        won = evaluation.success
        if self.early_stop and bool(won.any()):
            self.select(~won)

    def notice(self, point: Tensor) -> None:
        """Look at the active samples' points where first successes are noted, and keep nothing else of them."""
        if self.first is not None and len(self):
            point = self.ball.land(point).detach()
            with torch.no_grad():
                self._note(point, self._evaluate(point))

    def _note(self, point: Tensor, evaluation: Evaluation) -> None:
        if self.first is not None:
            self.first.note(self.rows, point, evaluation.success, self.queries, self.passes)

    def _keep_better(self, evaluation: Evaluation, point: Tensor) -> None:
        """Keep successes before failures; of two alike the lower margin, or with ``closest`` the nearer success."""
        won, rows = evaluation.success, self.rows
        margin, before = evaluation.margin.detach().double(), self.success.index_select(0, rows)
        better = ~self.judged.index_select(0, rows) | (won & ~before)
        least = self._margin.index_select(0, rows)
        distance = None
        if self.closest:
            distance = self.ball.distance(point) if bool(won.any()) else torch.full_like(margin, torch.inf)
            better |= won & (distance < self.distance[rows])
            better |= ~won & ~before & (margin < least)
        else:
            better |= (won == before) & (margin < least)
        self._keep(better, point, evaluation, won, distance)

    def ask(self, points: Tensor, rows: Tensor) -> Tensor:
        """Find out whether points succeed; any number a sample, also of samples that are no longer active.

        Args:
            points: ``[M, ...]``, inside the ball.
            rows: whose they are, places in the batch ``[M]``.

        Returns:
            bool ``[M]``. With ``closest`` the nearest success of each sample is kept.
        """
        if len(rows) == 0:
            return torch.zeros(0, dtype=torch.bool, device=rows.device)
        answers = []
        size = self.batch_size if points.is_cuda else min(self.batch_size, _CACHED)
        for part, whose in zip(points.split(size), rows.split(size), strict=True):
            point = part.detach()
            if self.batch_ball.steps is not None:
                point = self.batch_ball.select(whose).land(point)
            self.queries.index_add_(0, whose, torch.ones_like(whose))
            with torch.no_grad():
                evaluation = self._answer(point, self.batch_y[whose], self.batch_samples[whose])
            won = evaluation.success
            answers.append(won)
            if self.closest and bool(won.any()):
                whose, point = whose[won], point[won]
                self._keep_nearest(whose, point, self.batch_ball.select(whose).distance(point))
        return torch.cat(answers)

    def margins(self, points: Tensor, rows: Tensor) -> Tensor:
        """Find out how far points are from success, float64 ``[M]``; any number a sample, each a query.

        Nothing is kept: :meth:`record` judges the points that an attack makes of the answers.

        Args:
            points: ``[M, ...]``, inside the ball.
            rows: whose they are, places in the batch ``[M]``.
        """
        self.check_time()
        margins = []
        size = self.batch_size if points.is_cuda else min(self.batch_size, _CACHED)
        for point, whose in zip(points.split(size), rows.split(size), strict=True):
            self.queries.index_add_(0, whose, torch.ones_like(whose))
            with torch.no_grad():
                evaluation = self._answer(point, self.batch_y[whose], self.batch_samples[whose])
            margins.append(evaluation.margin.double())
        return torch.cat(margins)

    def answer(self, points: Tensor, rows: Tensor) -> Evaluation:
        """Evaluate points ``[M, ...]`` of the samples at these places ``[M]``, and count and keep nothing.

        For attacks that do their own bookkeeping, such as other libraries'.
        """
        return self._answer(points, self.batch_y[rows], self.batch_samples[rows])

    def left(self, rows: Tensor | None = None) -> Tensor:
        """Return how many more queries each sample of the batch (or those at ``rows``) may ask, int64 ``[N]``."""
        spent = self.queries if rows is None else self.queries[rows]
        most = torch.iinfo(torch.int64).max if self.budget is None else self.budget
        return (most - spent).clamp_min(0)

    def check_time(self) -> None:
        """Stop when the time is up.

        Raises:
            BudgetSpent: it is.
        """
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise BudgetSpent

    def settle(self, point: Tensor) -> None:
        """Keep the active samples' points unjudged: the attack has nothing to choose between."""
        self.x_adv[self.rows] = self.ball.land(point).detach()
        self.judged[self.rows] = False

    def settle_last(self) -> None:
        """Keep the last point of each sample that has found nothing, when the budget ends an attack midway."""
        if self._last is not None:
            rows, points = self._last
            lost = ~self.success[rows] & ~self.judged[rows]
            self.x_adv[rows[lost]] = points[lost]

    def judge(self) -> None:
        """Find out whether unjudged points reach the goal; the last thing that a search does.

        This is the audit's question, not the attacker's: it counts as no query.
        """
        for part in (~self.judged).nonzero()[:, 0].split(self.batch_size):
            if len(part) == 0:
                break
            with torch.no_grad():
                y, samples = self.batch_y[part], self.batch_samples[part]
                self.success[part] = self._answer(self.x_adv[part], y, samples).success
        if self.first is not None:  # who stops as soon as a sample falls has to look where it ends
            self.first.end(self.x_adv, self.success, self.queries + ~self.judged, self.passes)
        self.judged[:] = True

    def resume(self, rows: Tensor) -> None:
        """Make the samples at these places of the batch the active ones, int64 ``[A]``."""
        self.rows, self.y, self.samples = rows, self.batch_y[rows], self.batch_samples[rows]
        self.ball = self.batch_ball.select(rows)

    def select(self, stay: Tensor) -> None:
        """Keep these of the active samples active, bool ``[A]``."""
        if not bool(stay.all()):
            stay = stay.nonzero()[:, 0]
            self.rows, self.y, self.samples = (part[stay] for part in (self.rows, self.y, self.samples))
            self.ball = self.ball.select(stay)

    def _evaluate(self, point: Tensor) -> Evaluation:
        self.check_time()
        if self.budget is not None and bool((self.queries.index_select(0, self.rows) >= self.budget).any()):
            raise BudgetSpent
        self.queries.index_add_(0, self.rows, torch.ones_like(self.rows))
        return self._answer(point, self.y, self.samples)

    def _answer(self, point: Tensor, y: Tensor, samples: Tensor) -> Evaluation:
        try:
            # A copy, because a model may write to its input, and a point may be the caller's x itself.
            return self.objective.evaluate_of(point.clone(), y, samples)
        except NaNLogitsError as error:
            raise ModelError(
                f"The model returned NaN near sample {int(samples[error.row])}; "
                "check the model's weights and the scaling of its input."
            ) from error

    def _keep(
        self, places: Tensor, point: Tensor, evaluation: Evaluation, won: Tensor, distance: Tensor | None = None
    ) -> None:
        places = places.nonzero()[:, 0]  # once, not with every mask
        if len(places) == 0:
            return
        rows = self.rows[places]
        self.x_adv.index_copy_(0, rows, point.index_select(0, places))
        self._margin.index_copy_(0, rows, evaluation.margin.detach()[places].double())
        if distance is not None:
            self.distance.index_copy_(0, rows, torch.where(won, distance, torch.inf)[places])
        self.success.index_copy_(0, rows, won[places])
        self.judged.index_fill_(0, rows, True)

    def _keep_nearest(self, rows: Tensor, points: Tensor, distance: Tensor) -> None:
        """Keep the nearest of several successes a sample."""
        nearest = self.distance.scatter_reduce(0, rows, distance, "amin")
        best = (distance == nearest[rows]) & (distance < self.distance[rows])
        rows, points = rows[best], points[best]
        self.x_adv[rows] = points  # of two that are equally near either will do
        self.distance = nearest
        self.success[rows] = True
        self.judged[rows] = True


def differentiate(loss: Tensor, point: Tensor, *, keep_graph: bool = False) -> Tensor:
    """Return the gradient of each sample's loss ``[A]`` in its point ``[A, ...]``, as it comes.

    Raises:
        ModelError: the loss does not depend on the point by torch operations.
    """
    gradient = None
    if loss.requires_grad:
        (gradient,) = torch.autograd.grad(loss.sum(), point, allow_unused=True, retain_graph=keep_graph)
    if gradient is None:
        raise ModelError(
            "The model's logits do not depend on its input by torch operations (a detach, a no_grad or numpy "
            "inside?), so there is no gradient to follow."
        )
    return gradient
