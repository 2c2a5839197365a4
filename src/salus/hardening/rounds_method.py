"""Adversarial retraining as a method of hardening: a trained classifier goes on training on attacked copies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from salus.classifier import Classifier
from salus.data.base import Splits
from salus.errors import OptionError
from salus.hardening.base import WORKING, HardeningTask, Method
from salus.hardening.rounds import Rounds, retrain
from salus.options import Option, build, options_of
from salus.training import Log


@dataclass(frozen=True, kw_only=True)
class InRounds(Method):
    """Retrains a classifier on attacked copies, made anew in rounds: ``adversarial-retraining:rounds=5``.

    Its options are the fields of :class:`salus.hardening.Rounds`.

    Attributes:
        options: how often and how to retrain.
    """

    name: ClassVar[str] = "adversarial-retraining"
    copies: ClassVar[bool] = True

    options: Rounds

    @classmethod
    def declared_options(cls) -> tuple[Option, ...]:
        """List the fields of ``Rounds``."""
        return options_of(Rounds)

    @classmethod
    def of(cls, options: Mapping[str, Any], what: str) -> InRounds:
        """Read the options of the command line; ``what`` is whose they are, in an error message.

        Raises:
            OptionError: a value makes no sense.
        """
        return cls(options=build(Rounds, options, what))

    def __post_init__(self) -> None:
        """Leave it to the options, which have checked themselves."""

    def settings(self) -> dict[str, Any]:
        """Return all options as plain values."""
        return asdict(self.options)

    def check(self, splits: Splits, task: HardeningTask) -> None:
        """Any data will do."""

    def train(self, splits: Splits, task: HardeningTask, folder: Path, log: Log) -> tuple[Classifier, dict[str, Any]]:
        """Retrain the plain classifier on its samples and on attacked copies of them."""
        if task.victim is None or task.attack is None:
            raise OptionError("Adversarial retraining needs an attack, and a trained classifier.")
        place = folder / WORKING / "rounds"
        classifier, rounds = retrain(
            task.victim, splits, task.attack, self.options, folder=place, device=task.device, log=log
        )
        return classifier, {"training": self.settings(), "history": {"rounds": rounds}}
