"""The one training loop, its options, its checkpoints, and what may be done to samples on the way."""

from salus.training.augmentation import Augmentation, FlipsAndShifts, GaussianNoise, GrowingImages, RandomGains
from salus.training.loop import (
    Epoch,
    History,
    Log,
    LossOf,
    Mixed,
    Recipe,
    evaluate,
    fit_classifier,
    seeded,
    seeded_module,
    train,
)
from salus.training.options import BALANCE, EPOCHS, PATIENCE, Phase, TrainingOptions, TransferOptions

__all__ = [
    "BALANCE",
    "EPOCHS",
    "PATIENCE",
    "Augmentation",
    "Epoch",
    "FlipsAndShifts",
    "GaussianNoise",
    "GrowingImages",
    "History",
    "Log",
    "LossOf",
    "Mixed",
    "Phase",
    "RandomGains",
    "Recipe",
    "TrainingOptions",
    "TransferOptions",
    "evaluate",
    "fit_classifier",
    "seeded",
    "seeded_module",
    "train",
]
