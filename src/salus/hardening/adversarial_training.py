"""Adversarial training: every step learns from samples attacked as the model then is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax

from salus.attacks import PGD, Attack
from salus.errors import OptionError
from salus.options import check_fields
from salus.training import Augmentation, LossOf, Recipe

#: Steps of the attack that validation looks at; the same whatever training attacks with.
VALIDATION_STEPS = 5

#: Options of adversarial training that its methods have as well.
Beta = Annotated[float, Field(ge=0, description="weighs equal answers against right ones")]
CleanShare = Annotated[float, Field(ge=0, lt=1, description="weight of clean samples beside attacked ones")]
Warmup = Annotated[float, Field(ge=0, le=1, description="share of the training over which eps grows from 0")]


@dataclass(frozen=True, kw_only=True)
class AdversarialTraining(Recipe):
    """Train on attacked samples (Madry et al., 2018), alone or beside the clean ones.

    The attack sees the model in eval mode. Classes are balanced as in ordinary training, by
    :class:`salus.training.TrainingOptions`; the loss that the attack raises is the plain cross-entropy.

    Attributes:
        attack: makes the attacked samples; any attack with an eps. One that does not stop early is best: a point
            on the boundary teaches less than one beyond it.
        loss: ``madry``: the loss on attacked samples. ``trades``: the loss on clean ones and ``beta`` times the
            divergence between the answers to both (Zhang et al., 2019, Eq. 5).
        beta: of TRADES.
        clean_share: weight of the loss on clean samples beside that on attacked ones, with ``madry``.
        warmup: share of the training over which eps grows from 0 to the attack's, evenly.
        augmentation: changes samples at random before they are attacked; validation sees them as they are.

    Raises:
        OptionError: the attack has no eps or is targeted, or a number makes no sense.
    """

    attack: Attack
    loss: Literal["madry", "trades"] = "madry"
    beta: Beta = 6.0
    clean_share: CleanShare = 0.0
    warmup: Warmup = 0.0
    augmentation: Augmentation | None = None

    def __post_init__(self) -> None:
        check_fields(self, "Adversarial training")
        if self.attack.eps is None or self.attack.eps <= 0:
            raise OptionError("Adversarial training needs an attack with an eps above 0.")
        if self.attack.targeted:
            raise OptionError("Adversarial training takes attacks without a target.")

    def step_loss(self, model: nn.Module, x: Tensor, y: Tensor, loss_of: LossOf, progress: float, step: int) -> Tensor:
        """Attack the samples and compute the loss; see :class:`salus.training.Recipe`."""
        x = x if self.augmentation is None else self.augmentation.at(x, progress)
        x_adv = self._now(progress, step)(model, x, y)
        if self.loss == "madry" and not self.clean_share:
            return loss_of(model(x_adv), y)
        attacked, clean = model(torch.cat([x_adv, x])).chunk(2)
        if self.loss == "trades":
            apart = kl_div(log_softmax(attacked, 1), log_softmax(clean, 1), log_target=True, reduction="batchmean")
            return loss_of(clean, y) + self.beta * apart
        return (1 - self.clean_share) * loss_of(attacked, y) + self.clean_share * loss_of(clean, y)

    def validation_inputs(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Attack validation samples by a short PGD at the full eps, whatever training attacks with."""
        judge = PGD(
            eps=self.attack.radius,
            norm=self.attack.norm,
            bounds=self.attack.bounds,
            mask=self.attack.mask,
            units=self.attack.units,
            ranges=self.attack.ranges,
            steps=VALIDATION_STEPS,
            schedule="madry",
            early_stop=False,
        )
        return judge(model, x, y)

    def statistics_inputs(self, x: Tensor) -> None:
        """Keep the statistics of the attacked samples that the steps saw; see :class:`salus.training.Recipe`."""

    def describe(self) -> str:
        """Say what decides the steps."""
        return f"adversarial training {self.facts()}"

    def facts(self) -> Mapping[str, Any]:
        """Give all settings as plain values."""
        settings = {**asdict(self), "attack": {"name": self.attack.name, **asdict(self.attack)}}
        if self.augmentation is None:  # as trainings were described before it could be
            del settings["augmentation"]
        return settings

    def _now(self, progress: float, step: int) -> Attack:
        """Return the attack of this step: its own random draws, and its eps so far."""
        grown = min(1.0, progress / self.warmup) if self.warmup else 1.0
        eps = max(grown, 1e-3) * (self.attack.eps or 0.0)
        stride = getattr(self.attack, "step_size", None)
        scaled = {"step_size": stride * max(grown, 1e-3)} if stride and self.warmup else {}
        return replace(self.attack, seed=self.attack.seed + step, eps=eps, **scaled)


def single_step(eps: float, bounds: tuple[float, float] = (0.0, 1.0), **more: Any) -> AdversarialTraining:
    """Train against one step from a random start, a quarter longer than eps (Wong et al., 2020)."""
    attack = PGD(eps=eps, bounds=bounds, steps=1, step_size=1.25 * eps, early_stop=False)
    return AdversarialTraining(attack=attack, **more)


def madry(eps: float, bounds: tuple[float, float] = (0.0, 1.0), *, steps: int = 10, **more: Any) -> AdversarialTraining:
    """Train against projected gradient descent (Madry et al., 2018)."""
    return AdversarialTraining(
        attack=PGD(eps=eps, bounds=bounds, steps=steps, schedule="madry", early_stop=False), **more
    )


def trades(
    eps: float, bounds: tuple[float, float] = (0.0, 1.0), *, steps: int = 10, beta: float = 6.0, **more: Any
) -> AdversarialTraining:
    """Train for equal answers to clean and attacked samples (TRADES; Zhang et al., 2019).

    The attack raises the cross-entropy with the true label where the paper's raises the divergence itself.
    """
    return AdversarialTraining(
        attack=PGD(eps=eps, bounds=bounds, steps=steps, schedule="madry", early_stop=False),
        loss="trades",
        beta=beta,
        **more,
    )
