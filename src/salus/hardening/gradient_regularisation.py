"""Input-gradient regularisation (Ross and Doshi-Velez, 2018): a price on how fast the loss changes with the input."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from salus.classifier import Classifier
from salus.data.base import Splits
from salus.hardening.base import WORKING, HardeningTask, Method
from salus.options import check_fields
from salus.training import Augmentation, Log, LossOf, Recipe, fit_classifier

Price = Annotated[float, Field(ge=0, description="weight of the squared gradient of the loss in the input")]


@dataclass(frozen=True, kw_only=True)
class GradientRegularisation(Recipe):
    """Lower the loss and ``weight`` times the squared length of its gradient in the input.

    The gradient is that of the cross-entropy with the true label, summed over all values of a sample (Eq. 7 there,
    double backpropagation); classes are balanced in the loss alone.

    Attributes:
        weight: of the squared gradient.
        augmentation: changes samples at random first.
    """

    weight: Price = 0.01
    augmentation: Augmentation | None = None

    def __post_init__(self) -> None:
        check_fields(self, "Gradient regularisation")

    def step_loss(self, model: nn.Module, x: Tensor, y: Tensor, loss_of: LossOf, progress: float, step: int) -> Tensor:
        """Compute loss and price; see :class:`salus.training.Recipe`."""
        x = x if self.augmentation is None else self.augmentation.augment(x)
        x = x.detach().requires_grad_()
        logits = model(x)
        (slope,) = torch.autograd.grad(cross_entropy(logits, y, reduction="sum"), [x], create_graph=True)
        return loss_of(logits, y) + self.weight * slope.flatten(1).square().sum(1).mean()

    def statistics_inputs(self, x: Tensor) -> Tensor:
        """Return samples as the steps see them; see :class:`salus.training.Recipe`."""
        return x if self.augmentation is None else self.augmentation.augment(x)

    def describe(self) -> str:
        """Say what decides the steps."""
        return repr(self)


@dataclass(frozen=True, kw_only=True)
class GradientRegularisationMethod(Method):
    """Trains with a price on the loss's gradient: ``gradient-regularisation:weight=0.01``.

    Attributes:
        weight: of the squared gradient beside the loss.
    """

    name: ClassVar[str] = "gradient-regularisation"

    weight: Price = 0.01

    def check(self, splits: Splits, task: HardeningTask) -> None:
        """Any data will do."""

    def train(self, splits: Splits, task: HardeningTask, folder: Path, log: Log) -> tuple[Classifier, dict[str, Any]]:
        """Train the network with the price."""
        return trained(GradientRegularisation(weight=self.weight), splits, task, folder / WORKING / "training", log)


def trained(
    recipe: Recipe, splits: Splits, task: HardeningTask, checkpoint: Path, log: Log
) -> tuple[Classifier, dict[str, Any]]:
    """Train a network by a recipe that needs no attack.

    Args:
        recipe: what each step lowers.
        splits: ``train`` is learnt from, ``validation`` decides when to stop.
        task: what to train.
        checkpoint: what it goes on from, without the ending.
        log: receives remarks, and one line an epoch.
    """
    classifier, history = fit_classifier(
        task.network,
        splits.train,
        splits.validation,
        task.training,
        model_options=dict(task.sizes),
        recipe=recipe,
        checkpoint=checkpoint.with_suffix(".checkpoint"),
        device=task.device,
        log=log,
    )
    best = history.epochs[history.best - 1]
    return classifier, {
        "training": {**asdict(task.training), "recipe": recipe.describe()},
        "history": {
            "epochs": len(history.epochs),
            "best": history.best,
            "seconds": round(sum(epoch.seconds for epoch in history.epochs), 1),
            "validation": {"loss": best.loss, "accuracy": best.accuracy, "macro_recall": best.macro_recall},
            "remarks": history.remarks,
        },
    }
