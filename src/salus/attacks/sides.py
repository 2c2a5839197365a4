"""An attacker who wants harm: answers on the other side of a line through the classes, the ill called healthy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from salus.attacks.objective import Evaluation, LogitObjective, Model, checked_logits
from salus.errors import OptionError


class SideObjective(LogitObjective):
    """Make a model answer with any class of the other side than the label's.

    Classes are of two sides, such as malignant and benign. A wrong answer of the same side is no success: it sends
    nobody home who is ill, and nobody to surgery who is not. The attacker raises the log-odds of the other side,
    ``logsumexp(other side) - logsumexp(own side)``, whose gradient confidence cannot quench, and has won once the
    highest logit is of the other side.

    Args:
        model: any callable from a batch to logits ``[N, K]``.
        positive: indices of the classes of one side; all others are of the other.
        modules: what the model is made of, where a callable does not show it.

    Raises:
        OptionError: there are no positive classes.
    """

    def __init__(self, model: Model, positive: Sequence[int], modules: Sequence[nn.Module] = ()) -> None:
        if not positive:
            raise OptionError(
                "An attacker who wants the other side needs positive classes; name those that mean disease."
            )
        super().__init__(model)
        self.positive = list(positive)
        self._modules = tuple(modules)

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """What the model is made of: as given, or what can be found."""
        return self._modules or super().modules

    def evaluate(self, x: Tensor, y: Tensor) -> Evaluation:
        """Compute the logits, and from them loss, margin and success of the other side."""
        logits = checked_logits(self.model(x), y)
        ill = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device)
        ill[self.positive] = True
        own = ill[None] == ill[y][:, None]  # [N, K], the classes of the label's side
        finite = logits.double().clamp(-1e300, 1e300)
        mine, other = finite.masked_fill(~own, -torch.inf), finite.masked_fill(own, -torch.inf)
        margin = (mine.amax(1) - other.amax(1)).clamp(-1e30, 1e30)
        won = ~own.gather(1, logits.argmax(1, keepdim=True))[:, 0]
        return Evaluation(
            logits,
            y,
            loss=other.logsumexp(1) - mine.logsumexp(1),
            margin=margin,
            success=won,
            class_margins=(mine.amax(1, keepdim=True) - finite).masked_fill(own, torch.inf),
        )
