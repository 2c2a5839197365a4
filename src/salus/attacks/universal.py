"""Universal perturbations: one change that fools a model on most samples it is added to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks import draws
from salus.attacks.ball import NormName, ball
from salus.attacks.base import Attack, AttackResult, Constraints
from salus.attacks.objective import Evaluation, LogitObjective, Model, Objective, frozen
from salus.attacks.perturbation import Perturbation
from salus.attacks.search import BudgetSpent, Search
from salus.attacks.settings import Eps
from salus.errors import OptionError

#: Where a sample starts to count less, in median margins of the clean samples.
_NEAR = 0.1

#: How many of the nearest classes DeepFool looks at.
_WAYS = 9


@dataclass(frozen=True, kw_only=True)
class UAP(Attack):
    """One perturbation for all samples (Moosavi-Dezfooli et al., 2017), fitted by mini-batches.

    The published algorithm walks from sample to sample and adds to the perturbation what the attack inside takes
    to fool the next one. Here all samples of a mini-batch pull at once and the perturbation follows their sum
    (Shafahi et al., 2020), in steps that shrink to nothing. A sample that is fooled already pulls ever less, one
    that is out of reach a little less, so that those near the boundary, which can be won or lost, decide.

    :meth:`fit` makes a :class:`~salus.attacks.perturbation.Perturbation` from training data. Called as an attack it
    is fitted to the very samples that it is then applied to, which flatters it.

    Attributes:
        inner: how the samples of a mini-batch pull: ``"fgsm"`` once along the gradient, ``"pgd"`` so
            ``inner_steps`` times, ``"deepfool"`` along the shortest way of each over its nearest boundary.
        inner_steps: steps on a mini-batch before the next; ``"fgsm"`` takes one.
        fooling_rate: stop once this share of the samples is fooled.
        epochs: passes over the samples at most.
        step_size: length of the first step, ``eps / 4`` when not given.
        batch_size: samples of a mini-batch; unlike elsewhere the result depends on it.

    Example:
        >>> perturbation = UAP(eps=0.02).fit(model, x_train, y_train)  # doctest: +SKIP
        >>> x_adv = perturbation(x_test)  # doctest: +SKIP
    """

    name: ClassVar[str] = "uap"
    paper: ClassVar[str] = "Moosavi-Dezfooli et al., 2017"
    norms: ClassVar[tuple[NormName, ...]] = ("linf", "l2")

    eps: Eps
    inner: Annotated[Literal["pgd", "fgsm", "deepfool"], Field(description="how the samples of a mini-batch pull")] = (
        "pgd"
    )
    inner_steps: Annotated[int, Field(ge=1, description="steps on a mini-batch before the next")] = 2
    fooling_rate: Annotated[float, Field(gt=0, le=1, description="stop once this share of the samples is fooled")] = 0.8
    epochs: Annotated[int, Field(ge=1, description="most passes over the samples")] = 10
    step_size: Annotated[float | None, Field(gt=0, description="length of the first step; none for eps / 4")] = None
    batch_size: Annotated[int, Field(ge=1, description="samples of a mini-batch; the result depends on it")] = 32

    @property
    def stride(self) -> float:
        """The length of the first step."""
        return self.eps / 4 if self.step_size is None else self.step_size

    @property
    def reads_loss(self) -> bool:
        """False with DeepFool inside, which reads margins."""
        return self.inner != "deepfool"

    def fit(
        self,
        model: Model | Objective,
        x: Tensor,
        y: Tensor,
        *,
        start: Tensor | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Perturbation:
        """Find the perturbation that does best on these samples.

        Args:
            model: a callable from a batch to logits, or an objective.
            x: samples ``[N, ...]`` inside the bounds; not those that the result is to be judged on.
            y: int64 ``[N]``, their labels, or the classes to reach; the model's own answers for the published
                attack, which knows no labels.
            start: points whose mean change is where the perturbation starts, ``[N, ...]``.
            progress: called with the number of samples done after each mini-batch, in every epoch.

        Raises:
            ModelError: see :meth:`run`.
            DataError: see :meth:`run`.
            OptionError: see :meth:`run`.
        """
        return self._fit(model, x, y, start, progress)[0]

    def stream(
        self, model: Model | Objective, batches: Iterable[tuple[Tensor, Tensor]], *, first: int = 0
    ) -> Iterator[AttackResult]:
        """Refuse: one change is fitted to all samples, and batches would each get their own.

        Raises:
            OptionError: always.
        """
        raise OptionError(f"{self.title} cannot be streamed: fit it once and call the Perturbation on each batch.")

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Apply what was fitted: ``start`` holds the perturbed samples."""
        search.settle(search.ball.x if start is None else start)

    def _run(
        self,
        model: Model | Objective,
        x: Tensor,
        y: Tensor,
        *,
        start: Tensor | None = None,
        progress: Callable[[int], None] | None = None,
        judge: bool = True,
        samples: Tensor | None = None,
        ends: float | None = None,
        note_first: bool = False,
    ) -> AttackResult:
        perturbation, crowd = self._fit(model, x, y, start)
        start = perturbation(x.detach())
        result = super()._run(
            model, x, y, start=start, progress=progress, judge=judge, samples=samples, note_first=note_first
        )
        return replace(result, queries=result.queries + crowd.queries, passes=result.passes + crowd.passes)

    def _fit(
        self,
        model: Model | Objective,
        x: Tensor,
        y: Tensor,
        start: Tensor | None,
        progress: Callable[[int], None] | None = None,
    ) -> tuple[Perturbation, _Crowd]:
        objective = model if isinstance(model, Objective) else self.objective(model)
        self._check(objective, x, y, start)
        constraints = self._constraints(x)
        mask = constraints.mask
        width = self.bounds[1] - self.bounds[0]
        with torch.inference_mode(False), frozen(*objective.modules):
            x = x.detach()
            space = ball(self.norm, torch.zeros_like(x[:1]), self.eps, (-width, width), mask)  # where delta may be
            crowd = _Crowd(self, objective, x, y, constraints)
            delta = space.x if start is None else space.project((start - x).detach().mean(0, keepdim=True))
            with suppress(BudgetSpent):
                for rows, share in crowd.batches():
                    for _ in range(1 if self.inner == "fgsm" else self.inner_steps):
                        step = space.steepest(crowd.pull(delta, rows))
                        delta = space.project(delta + self.stride * share * step)
                    if progress is not None:
                        progress(len(rows))
                    if crowd.due:
                        crowd.measure(delta)
                        if crowd.fooling_rate >= self.fooling_rate:
                            break
            if crowd.measured is not delta:  # the work or the budget ended between two measurements
                crowd.measure(delta, counted=False)
        perturbation = Perturbation(
            delta=crowd.delta[0],
            eps=self.eps,
            norm=self.norm,
            bounds=self.bounds,
            mask=None if mask is None else mask.clone(),
            units=self.units,
            ranges=self.ranges,
            fooling_rate=crowd.fooling_rate,
            error_rate=crowd.error_rate,
            samples=len(x),
            attack=repr(self),
        )
        return perturbation, crowd


class _Crowd:
    """The samples that a perturbation is fitted to: which way they pull, how many it fools, what they cost.

    Attributes:
        delta: the best perturbation so far ``[1, ...]``; none at all at first.
        fooling_rate: share of the samples whose answer it changes.
        error_rate: share of the samples for which it reaches the goal.
        queries: int64 ``[N]``, forward passes.
        passes: int64 ``[N]``, those with a backward pass.
    """

    def __init__(self, attack: UAP, objective: Objective, x: Tensor, y: Tensor, constraints: Constraints) -> None:
        self.attack, self.objective, self.x, self.y = attack, objective, x, y
        self.constraints = constraints
        self.rows = torch.arange(len(y), device=y.device)
        self.queries, self.passes = torch.ones_like(y), torch.zeros_like(y)
        self.deadline = None if attack.time_limit is None else time.monotonic() + attack.time_limit
        # A bare model's predictions can change; of a target or a guard only whether the goal is reached is asked.
        self.bare = isinstance(objective, LogitObjective) and not attack.targeted
        self.since, self.promise = 0, 0.0  # samples dealt since the last measurement, share fooled of the last batch
        self.delta = self.measured = torch.zeros_like(x[:1])
        evaluations = [self._see(rows, self.delta) for rows in self.rows.split(attack.batch_size)]
        self.clean = torch.cat([self._answers(part) for part in evaluations])
        self.fooling_rate = 0.0 if self.bare else float(self.clean.double().mean())
        self.error_rate = float(torch.cat([part.success for part in evaluations]).double().mean())
        margin = torch.cat([part.margin for part in evaluations]).double().abs().median()
        self.near = float((_NEAR * margin).clamp(1e-30, 1e30))
        if attack.inner == "deepfool":
            margins = torch.cat([part.class_margins for part in evaluations])
            ways = 1 if attack.targeted else min(margins.shape[1] - 1, _WAYS)
            self.classes = margins.topk(ways, largest=False).indices  # [N, M]

    @property
    def due(self) -> bool:
        """It is time to measure: an epoch has passed, or a quarter of one and the last mini-batch promises much."""
        quarter = 4 * self.since >= len(self.rows)
        return self.since >= len(self.rows) or (quarter and self.promise >= self.attack.fooling_rate)

    def batches(self) -> Iterator[tuple[Tensor, float]]:
        """Deal the samples into mini-batches of nearly one size, anew in each epoch.

        Yields:
            The rows of the mini-batch, and the share of the work that is left.
        """
        count = -(-len(self.rows) // self.attack.batch_size)
        for epoch in range(self.attack.epochs):
            order = draws.uniform(self.attack.seed, self.rows, (1,), epoch)[:, 0].argsort(stable=True)
            for number, rows in enumerate(order.tensor_split(count)):
                self.since += len(rows)
                yield rows, 1 - (epoch + number / count) / self.attack.epochs

    def pull(self, delta: Tensor, rows: Tensor) -> Tensor:
        """Sum up which way the samples at these rows want the perturbation to go, ``[1, ...]``."""
        self._spend(rows)
        self.passes[rows] += 1
        search = self._search(rows)
        point = search.ball.project(search.ball.x + delta)
        if self.attack.inner == "deepfool":
            return self._shortest_ways(search, point).sum(0, keepdim=True)
        look = search.look(point, lambda evaluation, _: self._influence(evaluation.margin.detach()) * evaluation.loss)
        self.promise = float(look.success.double().mean())
        return look.gradient.sum(0, keepdim=True)

    def measure(self, delta: Tensor, *, counted: bool = True) -> None:
        """Count whom a perturbation fools, and keep it if the goal is reached for as many as by the best so far."""
        evaluations = []
        for rows in self.rows.split(self.attack.batch_size):
            if counted:
                self._spend(rows)
            evaluations.append(self._see(rows, delta))
        self.measured, self.since = delta, 0
        won = torch.cat([part.success for part in evaluations]).double().mean()
        if won >= self.error_rate:
            answers = torch.cat([self._answers(part) for part in evaluations])
            answers = answers != self.clean if self.bare else answers
            self.delta, self.error_rate, self.fooling_rate = delta, float(won), float(answers.double().mean())

    def _influence(self, margin: Tensor) -> Tensor:
        """Weigh samples by their margin ``[B]``: full at the boundary, less beyond reach, next to none once fooled."""
        z = margin.double().clamp(-1e30, 1e30) / self.near
        return torch.where(z < 0, z.exp(), 1 / (1 + z.clamp_min(0)))

    def _shortest_ways(self, search: Search, point: Tensor) -> Tensor:
        """Find each sample's shortest way over the boundary if that were flat ``[B, ...]`` (DeepFool, Eq. 8)."""
        margins, gradients = search.jacobian(point, self.classes[search.samples])  # [B, M], [B, M, ...]
        self.promise = float((margins <= 0).any(1).double().mean())
        flat = gradients.flatten(2)
        slope = flat.abs().sum(2) if self.attack.norm == "linf" else flat.norm(dim=2)
        tiny = torch.finfo(flat.dtype).tiny
        distance = torch.where(slope > tiny, margins / slope.clamp_min(tiny), torch.inf)  # [B, M]
        nearest = distance.argmin(1, keepdim=True)
        every = torch.arange(len(nearest), device=nearest.device)
        away = search.ball.steepest(gradients[every, nearest[:, 0]])
        weight = self._influence(margins.gather(1, nearest)).to(away.dtype)  # [B, 1]
        return -away * weight.reshape(-1, *[1] * (point.ndim - 1))

    def _see(self, rows: Tensor, delta: Tensor) -> Evaluation:
        search = self._search(rows)
        point = search.ball.land(search.ball.project(search.ball.x + delta))
        with torch.no_grad():
            return search.answer(point, search.rows)

    def _answers(self, evaluation: Evaluation) -> Tensor:
        return evaluation.logits.argmax(1) if self.bare else evaluation.success

    def _search(self, rows: Tensor) -> Search:
        # Made for each mini-batch: x may be bytes on disk, of which all floats would not fit into memory.
        region = ball(self.attack.norm, self.x[rows], self.attack.eps, self.attack.bounds, *self.constraints)
        return Search(self.objective, region, self.y[rows], rows)

    def _spend(self, rows: Tensor) -> None:
        late = self.deadline is not None and time.monotonic() > self.deadline
        budget = self.attack.queries
        if late or (budget is not None and bool((self.queries[rows] >= budget).any())):
            raise BudgetSpent
        self.queries[rows] += 1
