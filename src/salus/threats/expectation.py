"""What an attacker optimises of a guard that draws at random: how likely it is to fall, over its draws."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from salus.attacks import Evaluation
from salus.attacks.objective import logit_margin
from salus.guard import Guard
from salus.threats.objectives import GuardObjective
from salus.verdict import View

#: How far past its boundary a draw is pushed, in logits: it is won then, and the others count.
_SURE = 0.5
#: What is left of a draw's margin beside the chance, which moves in steps.
_SLOPE = 0.1


class InExpectation(GuardObjective):
    """Raise the share of a guard's draws that are won.

    The loss is the mean over the draws of each one's margin, cut off once it is sure (EOT, Athalye et al., 2018): a
    draw that is won pulls no more, each goes to the wrong class that is nearest to it, and none is given up. To it is
    added how far the detectors accept. The margin is what is missing to the chance of falling, so that of two points
    the likelier is kept; success is, as ever, to have won whatever is drawn.

    Args:
        guard: the guard.
        weight: of the acceptance in the loss.
        targeted: ``y`` is the class to reach.
    """

    title = "in expectation"

    def __init__(self, guard: Guard, *, weight: float = 1.0, targeted: bool = False) -> None:
        super().__init__(guard, weight=weight, targeted=targeted)

    def evaluate(self, x: Tensor, y: Tensor) -> Evaluation:
        """Look at the guard once, and again for its chances where a margin is asked for."""
        return _Likely(self, x, super().evaluate(x, y), y)

    def goal(self, x: Tensor, view: View, y: Tensor) -> Tensor:
        """Return the mean over draws of what each has won."""
        own = torch.stack([logit_margin(logits, y) for logits in view.draws])  # [M, N]
        won = (own if self.targeted else -own).clamp_max(_SURE).mean(0)
        return won if view.acceptance is None else won + self.weight * view.acceptance.clamp_max(_SURE)

    def missing(self, x: Tensor, loss: Tensor, y: Tensor) -> Tensor:
        """Return what is missing to a certain win ``[N]``, and a little of what the loss says between the steps."""
        chances, own = self.guard.chances(x.detach()), y[:, None]
        fallen = chances.gather(1, own)[:, 0] if self.targeted else chances.scatter(1, own, 0).sum(1)
        return 1 - fallen - _SLOPE * (loss.detach().double() / (1 + loss.detach().double().abs()) - 1)


class _Likely(Evaluation):
    """An evaluation whose margin is what is missing to a certain win; computed where it is asked for."""

    def __init__(self, objective: InExpectation, x: Tensor, seen: Evaluation, y: Tensor) -> None:
        super().__init__(
            seen.logits,
            y,
            targeted=objective.targeted,
            loss=seen.loss,
            success=seen.success,
            class_margins=seen.class_margins,
        )
        self._objective, self._x, self._certain = objective, x, seen.margin

    @cached_property
    def margin(self) -> Tensor:
        """What is missing, above 0; below it how far every draw is won."""
        missing = self._objective.missing(self._x, self.loss, self.y)
        return torch.where(self.success, self._certain.double().clamp_max(-1e-12), missing)
