"""The state of one batch under attack: who is still to be fooled, the best point of each, what it cost."""

from __future__ import annotations

import torch
from torch import Tensor

from salus.attacks.ball import Ball
from salus.attacks.objective import Evaluation, NaNLogitsError, Objective
from salus.errors import ModelError


class Search:
    """Evaluates an objective on the samples that are still active and keeps the best point of each.

    An attack moves points of the *active* samples; with ``early_stop`` a sample leaves as soon as it has
    fallen. ``ball``, ``y``, ``samples`` and ``rows`` (places in the batch) always describe the active ones,
    in the order of their points.

    Args:
        objective: the attacker's goal.
        ball: where the attacker may go, for the whole batch.
        y: labels or targets ``[N]``.
        samples: indices of the samples in the whole data ``[N]``; random draws depend on them.
        early_stop: let fallen samples go.
    """

    def __init__(self, objective: Objective, ball: Ball, y: Tensor, samples: Tensor, *, early_stop: bool) -> None:
        self.objective = objective
        self.ball = ball
        self.y = y
        self.samples = samples
        self.early_stop = early_stop
        self.x_adv = ball.x.clone()  # [N, ...], the best point of each sample
        self.success = torch.zeros_like(y, dtype=torch.bool)
        self.judged = torch.zeros_like(self.success)  # success is known at x_adv
        self.queries = torch.zeros_like(y)
        self.passes = torch.zeros_like(y)
        self._margin = torch.full(y.shape, torch.inf, dtype=torch.float64, device=y.device)
        self.rows = torch.arange(len(y), device=y.device)  # the active samples' places in the batch

    def __len__(self) -> int:
        return len(self.rows)

    def gradient(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """Differentiate the loss at each active sample's point ``[A, ...]``.

        Returns:
            The points of the samples that stay active and the gradients there: with ``early_stop``, those
            that have fallen at this point are kept and leave.

        Raises:
            ModelError: the model returned NaN, or nothing that depends on its input by torch operations.
        """
        landed = self.ball.land(point).detach().requires_grad_()
        with torch.enable_grad():
            evaluation = self._evaluate(landed)
        self.passes[self.rows] += 1
        gradient = _differentiate(evaluation.loss, landed)
        # A model with infinite slopes must not turn a point into NaN.
        gradient.nan_to_num_(nan=0.0, posinf=1e30, neginf=-1e30)
        if self.early_stop and bool(evaluation.success.any()):
            won = evaluation.success
            self._keep(won, landed.detach(), evaluation.margin.detach(), won)
            point, gradient = point[~won], gradient[~won]
            self._select(~won)
        return point, gradient

    def record(self, point: Tensor) -> None:
        """Judge the active samples' points and keep each that is better than what its sample has so far."""
        if len(self) == 0:
            return
        landed = self.ball.land(point).detach()
        with torch.no_grad():
            evaluation = self._evaluate(landed)
        won, rows = evaluation.success, self.rows
        better = ~self.judged[rows] | (won & ~self.success[rows])
        better |= (won == self.success[rows]) & (evaluation.margin < self._margin[rows])
        self._keep(better, landed, evaluation.margin, won)
        if self.early_stop and bool(won.any()):
            self._select(~won)

    def settle(self, point: Tensor) -> None:
        """Keep the active samples' points unjudged: the attack has nothing to choose between."""
        self.x_adv[self.rows] = self.ball.land(point).detach()
        self.judged[self.rows] = False

    def judge(self) -> None:
        """Find out whether the points that were settled reach the goal; the last thing that a search does."""
        self._select(~self.judged[self.rows])  # only active samples are ever settled
        if len(self) > 0:
            with torch.no_grad():
                self.success[self.rows] = self._evaluate(self.x_adv[self.rows]).success
            self.judged[self.rows] = True

    def _evaluate(self, point: Tensor) -> Evaluation:
        self.queries[self.rows] += 1
        try:
            # A copy, because a model may write to its input, and a point may be the caller's x itself.
            return self.objective.evaluate(point.clone(), self.y)
        except NaNLogitsError as error:
            raise ModelError(
                f"The model returned NaN near sample {int(self.samples[error.row])}; "
                "check the model's weights and the scaling of its input."
            ) from error

    def _keep(self, which: Tensor, point: Tensor, margin: Tensor, won: Tensor) -> None:
        rows = self.rows[which]
        self.x_adv[rows] = point[which]
        self._margin[rows] = margin[which].double()
        self.success[rows] = won[which]
        self.judged[rows] = True

    def _select(self, stay: Tensor) -> None:
        self.rows, self.y, self.samples = self.rows[stay], self.y[stay], self.samples[stay]
        self.ball = self.ball.select(stay)


def _differentiate(loss: Tensor, point: Tensor) -> Tensor:
    gradient = None
    if loss.requires_grad:
        (gradient,) = torch.autograd.grad(loss.sum(), point, allow_unused=True)
    if gradient is None:
        raise ModelError(
            "The model's logits do not depend on its input by torch operations (a detach, a no_grad or numpy "
            "inside?), so there is no gradient to follow."
        )
    return gradient
