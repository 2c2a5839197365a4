"""Noise-to-signal regularisation (Ma and Liang, 2022): no attack in training, but a price on what one could do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from salus.attacks import PGD
from salus.hardening.adversarial_methods import AdversarialTrainingMethod
from salus.hardening.adversarial_training import AdversarialTraining
from salus.training import LossOf

Weight = Annotated[float, Field(ge=0, description="weight of the noise-to-signal ratio beside the loss")]


@dataclass(frozen=True, kw_only=True)
class NoiseToSignal(AdversarialTraining):
    """Lower the loss and ln(1 + R), where R is what the worst change of eps could add to the answer, over the answer.

    To first order a change within eps in L-infinity moves an output z by eps ||dz/dx||_1 at most. Ma and Liang take the
    logit of the right class for z, with a loss that pulls logits to 0 and 1. Logits of networks trained with
    cross-entropy have no zero of their own, so z is the margin here by which the right class leads the next, and beats
    that are answered wrongly, which have none, add nothing.

    Attributes:
        weight: of the ratio; the paper's best on MIT-BIH beats is 0.4.
        attack: gives eps, and is what validation looks at; it takes no part in the steps.
    """

    weight: Weight = 0.4

    def step_loss(self, model: nn.Module, x: Tensor, y: Tensor, loss_of: LossOf, progress: float, step: int) -> Tensor:
        """Compute loss and ratio; see :class:`salus.training.Recipe`."""
        x = x if self.augmentation is None else self.augmentation.augment(x)
        x = x.detach().requires_grad_()
        logits = model(x)
        right = logits.gather(1, y[:, None])[:, 0]
        margin = right - logits.scatter(1, y[:, None], -torch.inf).amax(1)  # [N]
        (slope,) = torch.autograd.grad(margin.sum(), [x], create_graph=True)
        grown = min(1.0, progress / self.warmup) if self.warmup else 1.0
        ratio = grown * self.attack.radius * slope.flatten(1).abs().sum(1) / margin.abs().clamp(min=1e-3)
        priced = torch.where(margin > 0, ratio.log1p(), 0.0).mean()
        return loss_of(logits, y) + self.weight * priced


def noise_to_signal(
    eps: float, bounds: tuple[float, float] = (0.0, 1.0), *, weight: float = 0.4, **more: object
) -> NoiseToSignal:
    """Train with the noise-to-signal ratio of changes within eps."""
    return NoiseToSignal(attack=PGD(eps=eps, bounds=bounds, steps=1, early_stop=False), weight=weight, **more)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class NoiseToSignalMethod(AdversarialTrainingMethod):
    """Trains with a price on the noise-to-signal ratio: ``noise-to-signal:eps=0.01`` (Ma and Liang, 2022).

    Attributes:
        weight: of the ratio.
    """

    name: ClassVar[str] = "noise-to-signal"

    weight: Weight = 0.4

    def recipe(self, bounds: tuple[float, float]) -> AdversarialTraining:
        """Lower the loss and the ratio."""
        return noise_to_signal(self.eps, bounds, weight=self.weight)
