"""How to train: the options, and the phases that they lay a training out in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from salus.options import check_fields
from salus.training.precision import PrecisionOption

Balance = Literal["none", "weights", "sampling"]

#: Epochs when none are asked for, and epochs without improvement after which training stops.
EPOCHS = {"table": 60, "signal": 12, "image": 20}
PATIENCE = {"table": 12, "signal": 4, "image": 6}
#: Heartbeats are trained on balanced classes, as in ECG-ATK-GAN: nine of ten are normal.
BALANCE: dict[str, Balance] = {"table": "none", "signal": "sampling", "image": "none"}
#: Training samples from which batch normalisation takes its statistics anew before each validation; for other kinds of
#: data it keeps those of the steps, with which their stored networks were made.
STATISTICS = {"image": 1024}


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
            times as fast where the device has instructions for it, slower elsewhere. ``auto`` takes it
            where there are such instructions; what came of that is in the log.
        seed: decides initial weights, the order of samples and dropout.
    """

    title: ClassVar[str] = "Training"

    epochs: Annotated[int | None, Field(ge=1, description="passes over the training data at most")] = None
    batch_size: Annotated[int, Field(ge=1, description="samples a step")] = 128
    learning_rate: Annotated[float, Field(gt=0, description="the highest of the one-cycle schedule")] = 2e-3
    weight_decay: Annotated[float, Field(ge=0, description="of AdamW")] = 1e-4
    balance: Annotated[Balance | None, Field(description="how rare classes are made up for")] = None
    patience: Annotated[int | None, Field(ge=1, description="epochs without improvement that end it")] = None
    prior_shift: Annotated[float, Field(ge=0, le=2, description="share of the log prior added to the logits")] = 0.0
    averaging: Annotated[float, Field(ge=0, lt=1, description="decay of the running average of all weights")] = 0.0
    keep: Annotated[Literal["loss", "last"], Field(description="the epoch whose weights are kept")] = "loss"
    precision: PrecisionOption = "float32"
    seed: Annotated[int, Field(ge=0, description="of initial weights, the order of samples and dropout")] = 0

    def __post_init__(self) -> None:
        check_fields(self, self.title)

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

    head_epochs: Annotated[int, Field(ge=0, description="passes in which the last layer alone learns")] = 0
    head_learning_rate: Annotated[float, Field(gt=0, description="the highest learning rate of these")] = 2e-3

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
