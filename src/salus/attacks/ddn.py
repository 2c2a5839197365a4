"""DDN: the direction of the change and its length, taken apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks.ball import NormName
from salus.attacks.minimal import Iterate, MinimalNorm, State, each, unit


@dataclass(frozen=True, kw_only=True)
class DDN(MinimalNorm):
    """The decoupled direction and norm attack (Rony et al., 2019, Algorithm 1).

    Each step adds the gradient, of one length whatever the loss, and brings the change to a length that shrinks by a
    share after a success and grows by it after a failure. The gradient's length falls along a cosine.

    Attributes:
        eps: the largest change that counts; None for any.
        steps: forward and backward passes.
        gamma: by which share the length changes.
        init_norm: the length before the first step, in units of the range of values; the paper has 1.
        first_step: its length, in units of the range of values; the paper has 1.

    Example:
        >>> x_adv = DDN()(model, x, y)  # doctest: +SKIP
    """

    name: ClassVar[str] = "ddn"
    paper: ClassVar[str] = "Rony et al., 2019"
    norms: ClassVar[tuple[NormName, ...]] = ("l2",)

    gamma: Annotated[float, Field(gt=0, lt=1, description="by which share the length changes")] = 0.05
    init_norm: Annotated[float, Field(gt=0, description="first length, in units of the range of values")] = 1.0
    first_step: Annotated[float, Field(gt=0, description="first step, in units of the range of values")] = 1.0

    @property
    def reads_loss(self) -> bool:
        """True: it raises the objective's loss, for a bare model the cross-entropy."""
        return True

    def begin(self, point: Tensor) -> State:
        """Remember the length."""
        return (torch.full_like(point.flatten(1)[:, 0], self.init_norm * self.width),)

    def move(self, here: Iterate, state: State, step: int) -> tuple[Tensor, State]:
        """Add the gradient, and bring the change to its length."""
        stride = self.first_step * self.width * (0.01 + 0.99 * (1 + math.cos(math.pi * step / self.steps)) / 2)
        change = here.change + stride * unit(here.slope)
        reach = torch.where(here.won, 1 - self.gamma, 1 + self.gamma) * state[0]
        return change * each(reach / change.flatten(1).norm(dim=1).clamp_min(1e-30), change), (reach,)
