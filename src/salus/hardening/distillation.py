"""Adversarial distillation (Goldblum et al., 2020): a student learns to answer attacked samples as a robust teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax

from salus.attacks import PGD
from salus.classifier import Classifier
from salus.conduct.modules import evaluating
from salus.data.base import Splits
from salus.errors import OptionError
from salus.hardening.adversarial_methods import AdversarialTrainingMethod
from salus.hardening.adversarial_training import AdversarialTraining
from salus.hardening.base import HardeningTask
from salus.training import LossOf

Share = Annotated[float, Field(gt=0, le=1, description="weight of the teacher's answers, the rest being the labels'")]
Temperature = Annotated[float, Field(gt=0, description="logits of both are divided by it")]


@dataclass(frozen=True, kw_only=True)
class Distillation(AdversarialTraining):
    """Lower alpha t^2 KL(T(x) || S(x_adv)) + (1 - alpha) L(S(x), y), both softened by the temperature t (ARD, Eq. 3).

    The attack raises the student's own cross-entropy, and the teacher sees clean samples alone. Robustness comes down
    from a teacher that is robust itself; from one that is not, little does.

    Attributes:
        teacher: answers clean samples; its parameters stay as they are.
        alpha: weight of the teacher's answers; the paper's best is 1 on CIFAR-10.
        temperature: the paper's is 30.
    """

    teacher: Classifier = field(kw_only=True)
    alpha: Share = 1.0
    temperature: Temperature = 30.0

    def step_loss(self, model: nn.Module, x: Tensor, y: Tensor, loss_of: LossOf, progress: float, step: int) -> Tensor:
        """Attack the samples and compute the loss; see :class:`salus.training.Recipe`."""
        x = x if self.augmentation is None else self.augmentation.augment(x)
        x_adv = self._now(progress, step)(model, x, y)
        module = self.teacher.module.to(x.device)
        with evaluating(module), torch.no_grad():
            wanted = log_softmax(module(x).float() / self.temperature, 1)
        attacked, clean = model(torch.cat([x_adv, x])).chunk(2) if self.alpha < 1 else (model(x_adv), None)
        answered = log_softmax(attacked / self.temperature, 1)
        apart = self.temperature**2 * kl_div(answered, wanted, log_target=True, reduction="batchmean")
        return apart if clean is None else self.alpha * apart + (1 - self.alpha) * loss_of(clean, y)

    def facts(self) -> Mapping[str, Any]:
        """Give all settings as plain values; of the teacher which it is."""
        settings = {each.name: getattr(self, each.name) for each in fields(self)}
        settings |= {"attack": {"name": self.attack.name, **asdict(self.attack)}, "loss": "distillation"}
        settings["teacher"] = {"name": self.teacher.name, "fingerprint": self.teacher.fingerprint()}
        settings["augmentation"] = self.augmentation and asdict(self.augmentation)  # type: ignore[call-overload]
        return settings


def distillation(
    eps: float, teacher: Classifier, bounds: tuple[float, float] = (0.0, 1.0), *, steps: int = 10, **more: Any
) -> Distillation:
    """Learn from a robust teacher under projected gradient descent (ARD; Goldblum et al., 2020)."""
    attack = PGD(eps=eps, bounds=bounds, steps=steps, schedule="madry", early_stop=False)
    return Distillation(attack=attack, teacher=teacher, **more)


@dataclass(frozen=True, kw_only=True)
class AdversarialDistillation(AdversarialTrainingMethod):
    """Learns from a robust teacher: ``adversarial-distillation:eps=0.01,teacher=runs/robust`` (Goldblum et al., 2020).

    Attributes:
        teacher: folder of a hardened classifier on the same inputs.
        steps: of the attack.
        alpha: weight of the teacher's answers beside the labels.
        temperature: logits of both are divided by it.
    """

    name: ClassVar[str] = "adversarial-distillation"

    teacher: Annotated[str, Field(min_length=1, description="folder of a hardened classifier on the same inputs")]
    steps: Annotated[int, Field(ge=1, description="steps of the attack")] = 10
    alpha: Share = 1.0
    temperature: Temperature = 30.0

    def check(self, splits: Splits, task: HardeningTask) -> None:
        """Refuse a teacher of other inputs or classes too."""
        super().check(splits, task)
        teacher, data = self._teacher(), splits.train
        ours = (tuple(data.classes), tuple(data.x.shape[1:]), data.bounds)
        theirs = (tuple(teacher.classes), tuple(teacher.shape), teacher.bounds)
        if ours != theirs:
            what = ("classes", "shape", "bounds")[[a == b for a, b in zip(ours, theirs, strict=True)].index(False)]
            raise OptionError(
                f"Method {self.name!r}: the teacher in {self.teacher} has other {what} than these data; name one that "
                "was hardened on the same."
            )
        prepared = None if data.preprocessor is None else data.preprocessor.fingerprint()
        if teacher.preprocessor is not None and prepared not in (None, teacher.preprocessor.fingerprint()):
            raise OptionError(
                f"Method {self.name!r}: inputs of the teacher in {self.teacher} are prepared otherwise than these data "
                f"({teacher.preprocessor.describe()}); name one that was hardened on the same."
            )

    def recipe(self, bounds: tuple[float, float]) -> Distillation:
        """Learn from the teacher."""
        more = {"alpha": self.alpha, "temperature": self.temperature, "warmup": self.warmup}
        return distillation(self.eps, self._teacher(), bounds, steps=self.steps, **more)

    def _teacher(self) -> Classifier:
        return Classifier.load(Path(self.teacher))
