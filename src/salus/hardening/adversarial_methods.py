"""Adversarial training as methods of hardening: one of Salus's networks, trained from the start."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from salus.classifier import Classifier
from salus.data.base import Splits
from salus.errors import OptionError
from salus.hardening.adversarial_training import (
    AdversarialTraining,
    Beta,
    CleanShare,
    Warmup,
    madry,
    single_step,
    trades,
)
from salus.hardening.base import WORKING, HardeningTask, Method
from salus.preprocessing import RecordingPreprocessor
from salus.preprocessing.context import DEPARTURES, TIMINGS
from salus.training import Log, RandomGains, fit_classifier

_Steps = Annotated[int, Field(ge=1, description="steps of the attack")]


@dataclass(frozen=True, kw_only=True)
class AdversarialTrainingMethod(Method):
    """Adversarial training of one of Salus's networks.

    Attributes:
        eps: radius of the attack, in the units of x.
        warmup: share of the training over which eps grows from 0.
        gains: stretch, turn over and leave out the waves of heartbeats at random before they are attacked; see
            :class:`salus.training.RandomGains`.
    """

    eps: Annotated[float, Field(gt=0, description="radius of the attack, in the units of x")]
    warmup: Warmup = 0.0
    gains: Annotated[bool, Field(description="stretch waves at random, for channels departure and timing")] = False

    @abstractmethod
    def recipe(self, bounds: tuple[float, float]) -> AdversarialTraining:
        """Return what each step of the training lowers."""

    def check(self, splits: Splits, task: HardeningTask) -> None:
        """Refuse an attack that makes no sense in these data's bounds, and gains of channels that are no departures."""
        self._recipe(splits, task)
        preprocessor = splits.train.preprocessor
        inputs = preprocessor.inputs if isinstance(preprocessor, RecordingPreprocessor) else ()
        if self.gains and (
            not TIMINGS.issuperset(inputs[-1:]) or not DEPARTURES.issuperset(inputs[:-1]) or len(inputs) < 2
        ):
            raise OptionError(
                f"Method {self.name!r}: gains stretches waves around 0.5 and leaves figures behind them alone, so the "
                "data option inputs must name departures and then timing, for example departure,timing; it names "
                f"{','.join(inputs) or 'none'}."
            )

    def train(self, splits: Splits, task: HardeningTask, folder: Path, log: Log) -> tuple[Classifier, dict[str, Any]]:
        """Train the network on samples attacked as it then is."""
        recipe = self._recipe(splits, task)
        classifier, history = fit_classifier(
            task.network,
            splits.train,
            splits.validation,
            task.training,
            model_options=dict(task.sizes),
            recipe=recipe,
            checkpoint=folder / WORKING / "training.checkpoint",
            device=task.device,
            log=log,
        )
        best = history.epochs[history.best - 1]
        return classifier, {
            "training": {**asdict(task.training), "recipe": recipe.facts()},
            "history": {
                "epochs": len(history.epochs),
                "best": history.best,
                "seconds": round(sum(epoch.seconds for epoch in history.epochs), 1),
                "validation_under_attack": {
                    "loss": best.loss,
                    "accuracy": best.accuracy,
                    "macro_recall": best.macro_recall,
                },
                "remarks": history.remarks,
            },
        }

    def _recipe(self, splits: Splits, task: HardeningTask) -> AdversarialTraining:
        recipe = self.recipe(splits.train.bounds)
        attack = replace(recipe.attack, seed=task.training.seed, **task.limits)
        return replace(recipe, attack=attack, augmentation=RandomGains() if self.gains else None)


@dataclass(frozen=True, kw_only=True)
class SingleStep(AdversarialTrainingMethod):
    """Trains against one step from a random start: ``single-step:eps=0.01`` (Wong et al., 2020).

    Attributes:
        clean_share: weight of clean samples beside attacked ones.
    """

    name: ClassVar[str] = "single-step"

    clean_share: CleanShare = 0.0

    def recipe(self, bounds: tuple[float, float]) -> AdversarialTraining:
        """Train against one step from a random start."""
        return single_step(self.eps, bounds, clean_share=self.clean_share, warmup=self.warmup)


@dataclass(frozen=True, kw_only=True)
class Madry(AdversarialTrainingMethod):
    """Trains against projected gradient descent: ``madry:eps=0.01,steps=10`` (Madry et al., 2018).

    Attributes:
        steps: of the attack.
        clean_share: weight of clean samples beside attacked ones.
    """

    name: ClassVar[str] = "madry"

    steps: _Steps = 10
    clean_share: CleanShare = 0.0

    def recipe(self, bounds: tuple[float, float]) -> AdversarialTraining:
        """Train against projected gradient descent."""
        return madry(self.eps, bounds, steps=self.steps, clean_share=self.clean_share, warmup=self.warmup)


@dataclass(frozen=True, kw_only=True)
class Trades(AdversarialTrainingMethod):
    """Trains for equal answers to clean and attacked samples: ``trades:eps=0.01,beta=6`` (Zhang et al., 2019).

    Attributes:
        steps: of the attack.
        beta: weighs equal answers against right ones.
    """

    name: ClassVar[str] = "trades"

    steps: _Steps = 10
    beta: Beta = 6.0

    def recipe(self, bounds: tuple[float, float]) -> AdversarialTraining:
        """Train for equal answers to clean and attacked samples."""
        return trades(self.eps, bounds, steps=self.steps, beta=self.beta, warmup=self.warmup)
