"""How much of the thesis's effort is spent: the scales smoke, small and full."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from salus.hardening import AdversarialTraining, Rounds, madry
from salus.training import FlipsAndShifts, Recipe, TrainingOptions, TransferOptions
from salus_studies.frame.scales import Scale
from salus_studies.skin_lesion import published


@dataclass(frozen=True, kw_only=True)
class NetworkScale:
    """One of the two networks as a scale has it.

    Attributes:
        size: pixels of a side.
        options: of the network.
        training: of the plain and the poisoned classifiers.
    """

    size: int
    options: Mapping[str, Any] = field(default_factory=dict)
    training: TrainingOptions = field(default_factory=TrainingOptions)


@dataclass(frozen=True, kw_only=True)
class HardenedModel:
    """The hardened model: adversarial training from the start.

    Attributes:
        network: its name, a key of ``published.NETWORKS``; its size and options are the scale's.
        recipe: what each step lowers.
        training: how it is trained.
    """

    network: str
    recipe: AdversarialTraining
    training: TrainingOptions


@dataclass(frozen=True, kw_only=True)
class LesionScale(Scale):
    """What one scale trains and attacks.

    Attributes:
        networks: by their names in ``published.NETWORKS``.
        recipe: of all trainings but retraining.
        images: of each part; None for all.
        poisoned: shares of NV that are labelled BKL.
        cleaned: those of them at which wrong labels are looked for, on ResNet 50.
        folds: classifiers that look for them.
        rounds: of adversarial retraining.
        uap_eps: that are tried; the smallest that fools enough is used.
        uap_images: training images that a universal perturbation is fitted to.
        uap_epochs: passes over the drawn images that one makes in a round of retraining.
        strong: test images under PGD, and under attackers who search every class.
        ensemble: test images under AutoAttack.
        steps: of PGD.
        restarts: of PGD on the hardened model.
        hardened: the model that is to hold.
    """

    networks: Mapping[str, NetworkScale]
    recipe: Recipe = field(default_factory=lambda: FlipsAndShifts())
    images: int | None = None
    poisoned: tuple[float, ...] = published.POISONED
    cleaned: tuple[float, ...] = published.POISONED
    folds: int = 5
    rounds: Rounds = field(default_factory=lambda: Rounds(balance="weights"))
    uap_eps: tuple[float, ...] = tuple(level / 255 for level in (2, 4, 6, 8, 10, 12, 16, 20, 24, 32))
    uap_images: int | None = None
    uap_epochs: int = 10
    strong: int | None = None
    ensemble: int | None = None
    steps: int = 40
    restarts: int = 5
    hardened: HardenedModel


def _training(epochs: int, **more: Any) -> TrainingOptions:
    return TrainingOptions(epochs=epochs, patience=epochs, balance="weights", **more)


#: Five of the thesis's epochs go to the last layer, before all of the pretrained weights learn.
_TRANSFER = TransferOptions(
    head_epochs=5,
    epochs=published.EPOCHS - 5,
    patience=published.EPOCHS,
    batch_size=published.BATCH_SIZE,
    learning_rate=3e-4,
    balance="weights",
    precision="bfloat16",
)


def _hardened(network: str, training: TrainingOptions, *, steps: int, eps: float = 3 / 255) -> HardenedModel:
    return HardenedModel(
        network=network, recipe=madry(eps, steps=steps, augmentation=FlipsAndShifts()), training=training
    )


SCALES: dict[str, LesionScale] = {
    "smoke": LesionScale(
        networks={
            "inception-v3": NetworkScale(
                size=64, options={"width": 0.0625, "stem_stride": 1}, training=_training(1, batch_size=32)
            ),
            "resnet50": NetworkScale(size=64, options={"width": 0.0625}, training=_training(1, batch_size=32)),
        },
        images=35,
        poisoned=(0.2, 0.6),
        cleaned=(0.6,),
        folds=2,
        rounds=Rounds(rounds=1, epochs=1, balance="weights"),
        uap_eps=(8 / 255, 64 / 255),
        uap_images=14,
        strong=4,
        ensemble=2,
        steps=3,
        restarts=1,
        hardened=_hardened("resnet50", _training(1, batch_size=32), steps=1),
    ),
    "small": LesionScale(
        networks={
            "inception-v3": NetworkScale(
                size=64,
                options={"width": 0.25, "stem_stride": 1},
                training=_training(12, batch_size=64, precision="bfloat16"),
            ),
            "resnet50": NetworkScale(
                size=64, options={"width": 0.25}, training=_training(24, batch_size=64, precision="bfloat16")
            ),
        },
        cleaned=(0.2, 0.45),
        folds=3,
        rounds=Rounds(balance="weights", batch_size=64, precision="bfloat16"),
        uap_images=500,
        uap_epochs=2,
        strong=100,
        ensemble=100,
        restarts=2,
        hardened=_hardened(
            "resnet50", _training(30, batch_size=64, precision="bfloat16", averaging=0.99), steps=2, eps=2 / 255
        ),
    ),
    "full": LesionScale(
        networks={
            "inception-v3": NetworkScale(size=299, options={"pretrained": "imagenet"}, training=_TRANSFER),
            "resnet50": NetworkScale(size=224, options={"pretrained": "imagenet"}, training=_TRANSFER),
        },
        rounds=Rounds(balance="weights", precision="bfloat16"),
        strong=1000,
        ensemble=500,
        hardened=_hardened("resnet50", _training(published.EPOCHS, batch_size=64, precision="bfloat16"), steps=7),
    ),
}
