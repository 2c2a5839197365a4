"""Defensive distillation (Papernot et al., 2016): a network learns another one's answers at a high temperature."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from salus.classifier import Classifier
from salus.conduct.modules import evaluating
from salus.data.base import Splits
from salus.hardening.base import WORKING, HardeningTask, Method
from salus.hardening.gradient_regularisation import trained
from salus.options import check_fields
from salus.training import Augmentation, Log, LossOf, Recipe

Temperature = Annotated[float, Field(gt=0, description="by which logits are divided while both networks learn")]


@dataclass(frozen=True, kw_only=True, eq=False)
class AtTemperature(Recipe):
    """Train on logits that are divided by a temperature, with labels or with a teacher's answers at the same one.

    A network that learnt so answers at temperature 1, and its logits are as many times as far apart: the loss that
    an attacker raises is flat wherever it is sure, which hides its gradient and does not take it away (Carlini and
    Wagner, 2017).

    Attributes:
        temperature: T of the paper.
        teacher: gives the answers to learn; None for labels. It sees each sample as it was augmented.
        augmentation: changes samples at random first.

    Raises:
        OptionError: the temperature is not above 0.
    """

    temperature: Temperature = 20.0
    teacher: Classifier | None = None
    augmentation: Augmentation | None = None

    def __post_init__(self) -> None:
        check_fields(self, "Defensive distillation")

    def step_loss(self, model: nn.Module, x: Tensor, y: Tensor, loss_of: LossOf, progress: float, step: int) -> Tensor:
        """Compute the loss at the temperature; see :class:`salus.training.Recipe`."""
        x = x if self.augmentation is None else self.augmentation.augment(x)
        softened = model(x) / self.temperature
        if self.teacher is None:
            return loss_of(softened, y)
        teacher = self.teacher.to(x.device)
        with evaluating(teacher), torch.no_grad():
            answers = (teacher(x) / self.temperature).softmax(1)
        return cross_entropy(softened, answers)

    def statistics_inputs(self, x: Tensor) -> Tensor:
        """Return samples as the steps see them; see :class:`salus.training.Recipe`."""
        return x if self.augmentation is None else self.augmentation.augment(x)

    def describe(self) -> str:
        """Say what decides the steps."""
        taught = "labels" if self.teacher is None else f"answers of {self.teacher.fingerprint()}"
        return f"at temperature {self.temperature:g}, {taught}, {self.augmentation!r}"


@dataclass(frozen=True, kw_only=True)
class DefensiveDistillation(Method):
    """Trains a teacher, then a network of the same kind on its answers: ``defensive-distillation:temperature=20``.

    Attributes:
        temperature: of both trainings; the paper takes 20 for MNIST and CIFAR-10.
    """

    name: ClassVar[str] = "defensive-distillation"

    temperature: Temperature = 20.0

    def check(self, splits: Splits, task: HardeningTask) -> None:
        """Any data will do."""

    def train(self, splits: Splits, task: HardeningTask, folder: Path, log: Log) -> tuple[Classifier, dict[str, Any]]:
        """Train teacher and student."""
        place = folder / WORKING
        log("the teacher")
        teacher, first = trained(AtTemperature(temperature=self.temperature), splits, task, place / "teacher", log)
        log("the student")
        recipe = AtTemperature(temperature=self.temperature, teacher=teacher)
        student, facts = trained(recipe, splits, task, place / "student", log)
        return student, {**facts, "teacher": first["history"]}
