"""What every way of hardening shares: what it takes, and what it leaves behind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from salus.attacks import Attack
from salus.classifier import Classifier
from salus.data.base import Splits
from salus.options import check_fields
from salus.training import Log, TrainingOptions

#: Holds, in the folder of a hardening, what lets it go on after a kill.
WORKING = "training"


@dataclass(frozen=True, kw_only=True, eq=False)
class HardeningTask:
    """What a method is told beside its own options.

    Attributes:
        network: the network to train, as in ``salus.models.MODELS``; not for methods that bring their own.
        sizes: its options.
        training: how to train it.
        attack: makes the attacked copies, for methods that train on them.
        victim: the plain classifier that the copies are computed on.
        limits: what every attack keeps to in these data, such as a mask.
        device: where to train.
    """

    network: str = ""
    sizes: Mapping[str, Any] = field(default_factory=dict)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    attack: Attack | None = None
    victim: Classifier | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A way of hardening, with its options as fields.

    Raises:
        OptionError: a value makes no sense.
    """

    name: ClassVar[str]
    #: What it is among the mitigations of MITRE ATLAS.
    mitigations: ClassVar[tuple[str, ...]] = ("AML.M0003",)
    #: It takes a plain classifier, and an attack that makes copies of samples on it.
    copies: ClassVar[bool] = False
    #: The defence that its classifier brings along.
    defence: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        check_fields(self, f"Hardening {self.name!r}")

    @abstractmethod
    def check(self, splits: Splits, task: HardeningTask) -> None:
        """Refuse data that the method cannot be used on, before anything is trained.

        Raises:
            SalusError: saying what does not go together.
        """

    @abstractmethod
    def train(self, splits: Splits, task: HardeningTask, folder: Path, log: Log) -> tuple[Classifier, dict[str, Any]]:
        """Train on these data; killed and started again, it ends with the weights it would have had.

        Args:
            splits: ``train`` is learnt from, ``validation`` decides when to stop.
            task: what to train.
            folder: where results go that are not the classifier; what serves to go on lies in its ``training``.
            log: receives remarks, and one line an epoch.

        Returns:
            The classifier, and facts for JSON: ``training``, the options it was trained with, and ``history``.
        """

    def settings(self) -> dict[str, Any]:
        """Return all options as plain values."""
        return asdict(self)

    @property
    def victim(self) -> str | None:
        """The network of the plain classifier where none is named; None for what suits the data."""
        return None
