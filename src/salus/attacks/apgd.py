"""Auto-PGD: projected gradient descent that finds its own step size, on the cross-entropy or on margins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks.base import Attack
from salus.attacks.objective import Evaluation
from salus.attacks.probability_margin import probability_margin
from salus.attacks.ranking import Ranking, ranked_classes
from salus.attacks.search import Goal, Observation, Search
from salus.attacks.settings import EarlyStop, Eps, Restarts, Steps, Targets
from salus.attacks.sparse_apgd import choose, climb_sparsely
from salus.errors import OptionError

Loss = Literal["ce", "dlr", "pma"]


@dataclass(frozen=True, kw_only=True)
class APGD(Attack):
    """Auto-PGD (Croce and Hein, 2020, Algorithm 1): momentum, and steps that each sample halves for itself.

    A sample's step is halved, and the sample goes back to its best point, at a checkpoint before which the loss
    seldom rose or the best loss did not. Checkpoints come after 22% of the steps, and then at shrinking distances.
    In L1 each sample finds for itself how many values its steps move, and the first steps are taken in balls three
    times and twice as wide (Croce and Hein, 2021).

    Attributes:
        loss: ``"ce"``, the objective's own loss, for a bare model the cross-entropy; ``"dlr"``, the difference
            of logits ratio (sec. 4), which a confident model cannot flatten; or ``"pma"``, the probability margin (Xie
            et al., 2024), which lets go of what is won or lost.
        steps: number of gradient steps.
        restarts: independent random starts, for each of the targets where there are any; each sample keeps a
            success, else the point of lowest margin.
        targets: climb towards this many other classes, one after the other and the nearest at x first (APGD-T);
            needs the loss ``"dlr"`` or ``"pma"``. None: away from the own class, or with ``targeted`` towards y.
        ranking: which targets come first: ``"margin"``, or ``"malt"``, nearest at x if the model were linear.
        rho: the step is halved where less than this share of the steps since the last checkpoint raised the loss.
        early_stop: let each sample go as soon as it has fallen; its first adversarial point is the result. Without
            it every sample takes every step, and the result is the point of lowest margin on the way.
    """

    name: ClassVar[str] = "apgd"
    paper: ClassVar[str] = "Croce and Hein, 2020"

    eps: Eps
    loss: Annotated[
        Loss,
        Field(description="cross-entropy, difference of logits ratio, or difference of probabilities"),
    ] = "ce"
    steps: Steps = 100
    restarts: Restarts = 1
    targets: Targets = None
    ranking: Ranking = "margin"
    rho: Annotated[
        float, Field(gt=0, le=1, description="the step is halved where less than this share of steps raised the loss")
    ] = 0.75
    early_stop: EarlyStop = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.targets is not None and (self.loss == "ce" or self.targeted):
            raise OptionError(
                f"{self.title}: targets are tried in turn by an untargeted attack with loss='dlr' or 'pma' alone."
            )

    @property
    def reads_loss(self) -> bool:
        """False with the losses "dlr" and "pma", which are made of margins."""
        return self.loss == "ce"

    def perturb(self, search: Search, start: Tensor | None) -> None:
        """Climb from each start, towards each target; ``start``, when given, takes the place of the first."""
        look = search.look(search.ball.x, gradient=False, keep=True)  # what is already fooled needs no change
        run = 0
        for goal in self._goals(search, look):
            for _ in range(self.restarts):
                if len(search) == 0:
                    return
                if run == 0 and start is not None:
                    x_adv = start[search.rows]
                else:
                    x_adv = search.ball.random(self.seed, search.samples, run)
                self.climb(search, x_adv, goal)
                run += 1

    def climb(self, search: Search, x_adv: Tensor, goal: Goal | None) -> None:
        """Take the steps from these points of the active samples; the search keeps the best of each."""
        if self.norm == "l1":
            climb_sparsely(search, x_adv, goal, self.steps)
            return
        checkpoints, keep = self._checkpoints(), not search.early_stop
        look = search.look(x_adv, goal, keep=keep)
        x_adv = before = best = look.of(x_adv)
        gradient = best_gradient = look.gradient
        loss = best_loss = checked_loss = look.loss
        stride = _each(torch.full_like(loss, 2 * self.eps, dtype=x_adv.dtype), x_adv)
        rises = torch.zeros_like(loss)  # since the last checkpoint
        halved = torch.ones_like(loss, dtype=torch.bool)  # at the last checkpoint
        for step in range(1, self.steps + 1):
            if len(search) == 0:
                return
            ball = search.ball
            ahead = ball.near(x_adv.addcmul(stride, ball.steepest(gradient)))
            if step > 1:  # momentum
                ahead = x_adv.lerp(ahead, 0.75).add(x_adv - before, alpha=0.25)
            before, x_adv = x_adv, ball.project(ahead)
            if step == self.steps:
                search.record(x_adv)  # nobody needs the gradient there
                return

            look = search.look(x_adv, goal, keep=keep)
            x_adv, before, best, best_gradient = map(look.of, (x_adv, before, best, best_gradient))
            best_loss, checked_loss, stride = map(look.of, (best_loss, checked_loss, stride))
            rises, halved = look.of(rises) + (look.loss > look.of(loss)), look.of(halved)
            gradient, loss = look.gradient, look.loss
            better = loss > best_loss
            best, best_gradient = choose(better, (x_adv, gradient), (best, best_gradient))
            best_loss = torch.where(better, loss, best_loss)

            if step in checkpoints:
                halve = (rises <= self.rho * checkpoints[step]) | (~halved & (best_loss <= checked_loss))
                x_adv, gradient = choose(halve, (best, best_gradient), (x_adv, gradient))
                stride = torch.where(_each(halve, stride), stride / 2, stride)
                halved, checked_loss, rises = halve, best_loss, torch.zeros_like(rises)

    def _checkpoints(self) -> dict[int, int]:
        """Give each step after which samples are checked, and how many steps lie before it since the last."""
        period = max(int(0.22 * self.steps), 1)
        checkpoints, step = {}, period
        while step < self.steps:
            checkpoints[step] = period
            period = max(period - max(int(0.03 * self.steps), 1), int(0.06 * self.steps), 1)
            step += period
        return checkpoints

    def _goals(self, search: Search, look: Observation) -> list[Goal | None]:
        """List what is climbed in turn; None for the objective's own loss."""
        if self.loss == "ce":
            return [None]
        if self.targets is None:
            return [_away(self.loss, self.targeted)]
        classes = ranked_classes(search, look, self.ranking, self.norm)[:, : self.targets]
        return [_towards(column, self.loss) for column in classes.unbind(1)]


def dlr(logits: Tensor, margin: Tensor, targeted: bool) -> Tensor:
    """Compute the difference of logits ratio ``[N]`` in float64.

    The margin is divided by the spread of the highest logits, so that their scale cancels out: by
    ``z1 - z3``, or ``z1 - (z3 + z4) / 2`` with a target. With too few classes for that, three or four, the margin
    would be divided by itself, so it stands alone.

    Args:
        logits: ``[N, K]``.
        margin: what is left to win, ``[N]``: the objective's own, which a guard has capped.
        targeted: the margin is that of one target class.
    """
    loss = -margin.double()
    if logits.shape[1] < 3 + targeted:
        return loss
    highest = logits.double().clamp(-1e30, 1e30).topk(3 + targeted).values  # [N, 3 or 4]
    return loss / (highest[:, 0] - highest[:, 2:].mean(1) + 1e-12)


def _away(loss: Loss, targeted: bool) -> Goal:
    """Climb away from the own class, or with ``targeted`` towards y."""

    def goal(evaluation: Evaluation, rows: Tensor) -> Tensor:
        if loss == "dlr":
            return dlr(evaluation.logits, evaluation.margin, targeted)
        others = evaluation.logits.scatter(1, evaluation.y[:, None], -torch.inf).argmax(1)
        one, other = (others, evaluation.y) if targeted else (evaluation.y, others)
        return probability_margin(evaluation.logits, evaluation.margin, one, other)

    return goal


def _towards(classes: Tensor, loss: Loss) -> Goal:
    """Climb towards one class a sample of the batch ``[N]``, and away from the own one where that is no win."""

    def goal(evaluation: Evaluation, rows: Tensor) -> Tensor:
        aims = classes[rows]
        margin = evaluation.class_margins.gather(1, aims[:, None])[:, 0]
        margin = torch.where(margin.isfinite(), margin, evaluation.margin)
        if loss == "dlr":
            return dlr(evaluation.logits, margin, targeted=True)
        return probability_margin(evaluation.logits, margin, evaluation.y, aims)

    return goal


def _each(values: Tensor, like: Tensor) -> Tensor:
    """Shape one value a sample ``[A]`` to broadcast over samples ``[A, ...]``."""
    return values.reshape(-1, *[1] * (like.ndim - 1))
