"""How to train: the options, and the phases that they lay a training out in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from salus.errors import OptionError

#: Epochs when none are asked for, and epochs without improvement after which training stops.
EPOCHS = {"table": 60, "signal": 12, "image": 20}
PATIENCE = {"table": 12, "signal": 4, "image": 6}
#: Heartbeats are trained on balanced classes, as in ECG-ATK-GAN: nine of ten are normal.
BALANCE: dict[str, Literal["none", "weights", "sampling"]] = {"table": "none", "signal": "sampling", "image": "none"}


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How to train.

    Attributes:
        epochs: passes over the training data at most; None: what suits the kind of data.
        batch_size: samples a step.
        learning_rate: the highest of the one-cycle schedule.
        weight_decay: of AdamW.
        balance: ``none``; ``weights`` counts each class the same in the loss; ``sampling`` draws it as often;
            None: what suits the kind of data (``sampling`` for signals).
        patience: stop after so many epochs without a lower validation loss; None: what suits the data.
        prior_shift: add this share of the classes' log prior to the logits while training, so that the model
            itself answers as if rare classes were less rare (logit adjustment, Menon et al., 2021); 1 answers as
            if all were alike, 0 as they are.
        averaging: decay, a step, of the running average of all weights; the average is what is validated and
            kept. 0 for none.
        keep: the epoch whose weights are kept: that of the lowest validation ``loss``, or the ``last``, which suits
            hardened models: their validation loss rises while their accuracy under attack still does too.
        precision: ``bfloat16`` computes convolutions and products in mixed precision: less exact, twice to three
            times as fast where the processor has instructions for it.
        seed: decides initial weights, the order of samples and dropout.
    """

    epochs: int | None = None
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    balance: Literal["none", "weights", "sampling"] | None = None
    patience: int | None = None
    prior_shift: float = 0.0
    averaging: float = 0.0
    keep: Literal["loss", "last"] = "loss"
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise OptionError(f"Training: {name}={value} will not do; it must be 1 or more.")
        if not 0 < self.learning_rate < math.inf:
            raise OptionError(f"Training: learning_rate={self.learning_rate} will not do; it must be above 0.")
        if not 0 <= self.weight_decay < math.inf:
            raise OptionError(f"Training: weight_decay={self.weight_decay} will not do; it must be 0 or more.")
        if self.balance not in (None, "none", "weights", "sampling"):
            raise OptionError(f"Training: balance={self.balance!r} is not none, weights or sampling.")
        if not 0 <= self.prior_shift <= 2:
            raise OptionError(f"Training: prior_shift={self.prior_shift} will not do; it must be from 0 to 2.")
        if not 0 <= self.averaging < 1:
            raise OptionError(f"Training: averaging={self.averaging} will not do; it must be from 0 to below 1.")
        if self.keep not in ("loss", "last"):
            raise OptionError(f"Training: keep={self.keep!r} is not loss or last.")
        if self.precision not in ("float32", "bfloat16"):
            raise OptionError(f"Training: precision={self.precision!r} is not float32 or bfloat16.")
        if self.seed < 0:
            raise OptionError(f"Training: seed={self.seed} will not do; it must be 0 or more.")

    def phases(self, epochs: int) -> tuple[Phase, ...]:
        """Lay out a training of so many epochs."""
        return (Phase(epochs, self.learning_rate),)


@dataclass(frozen=True, kw_only=True)
class TransferOptions(TrainingOptions):
    """How to train in two phases, for networks that begin with pretrained weights.

    In the first phase only the last layer learns; all else is frozen, and in eval mode, so that the statistics of
    batch normalisation stay. In the second all layers learn, as :class:`TrainingOptions` say. Patience counts the
    epochs of the second phase alone.

    Attributes:
        head_epochs: passes over the training data in the first phase, before ``epochs``; 0 for none.
        head_learning_rate: the highest of the first phase's one-cycle schedule.
    """

    head_epochs: int = 0
    head_learning_rate: float = 2e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head_epochs < 0:
            raise OptionError(f"Training: head_epochs={self.head_epochs} will not do; it must be 0 or more.")
        if not 0 < self.head_learning_rate < math.inf:
            raise OptionError(
                f"Training: head_learning_rate={self.head_learning_rate} will not do; it must be above 0."
            )

    def phases(self, epochs: int) -> tuple[Phase, ...]:
        """Lay out a training of so many epochs after those of the last layer."""
        first = Phase(self.head_epochs, self.head_learning_rate, head_alone=True)
        return (first, *super().phases(epochs))


@dataclass(frozen=True)
class Phase:
    """Epochs with a one-cycle rate of their own.

    Attributes:
        epochs: how many; there may be none.
        learning_rate: the highest.
        head_alone: whether the last layer alone learns.
    """

    epochs: int
    learning_rate: float
    head_alone: bool = False
