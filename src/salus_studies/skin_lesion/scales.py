"""How much of the thesis's effort is spent: the scales smoke, small and full."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from salus.hardening import AdversarialTraining, Rounds, madry
from salus.training import Augmentation, FlipsAndShifts, GrowingImages, TrainingOptions, TransferOptions
from salus_studies.frame.scales import Scale
from salus_studies.skin_lesion import published


@dataclass(frozen=True, kw_only=True)
class NetworkScale:
    """One of the two networks as a scale has it.

    Attributes:
        architecture: the network that stands in the published one's place, a key of ``salus.models.MODELS``.
        size: pixels of a side, or rows x columns.
        options: of the network.
        training: of the plain and the poisoned classifiers.
    """

    architecture: str
    size: str
    options: Mapping[str, Any] = field(default_factory=dict)
    training: TrainingOptions = field(default_factory=TrainingOptions)


@dataclass(frozen=True, kw_only=True)
class HardenedModel:
    """The hardened model: adversarial training from the first step on.

    Attributes:
        recipe: what each step lowers.
        training: how it is trained.
    """

    recipe: AdversarialTraining
    training: TrainingOptions


@dataclass(frozen=True, kw_only=True)
class OtherDefences:
    """The defences that the thesis's related work names and does not test.

    Attributes:
        temperature: of defensive distillation.
        weight: of the squared gradient in gradient regularisation.
        training: of all of these networks; a step with gradient regularisation costs three.
        generator: options of the online alternate generator.
        images: test images behind that generator, which takes seconds for each.
        steps: of the attack through it.
    """

    temperature: float = 20.0
    weight: float = 0.01
    training: TrainingOptions
    generator: Mapping[str, Any] = field(default_factory=dict)
    images: int = 100
    steps: int = 20


@dataclass(frozen=True, kw_only=True)
class LesionScale(Scale):
    """What one scale trains and attacks.

    Attributes:
        networks: by their names in ``published.NETWORKS``.
        main: the one of them on which all is done that the thesis did not do.
        recipe: of the plain trainings.
        images: of each part; None for all.
        poisoned: shares of NV that are labelled BKL, for last layers over frozen features.
        poison_seeds: how often flips are drawn.
        poisoned_whole: shares at which the main network learns as a whole.
        folds: last layers that look for wrong labels.
        rounds: of adversarial retraining, and of its control on clean images.
        uap_eps: of the curve; the smallest that fools enough is used in tables.
        uap_images: training images that a universal perturbation is fitted to.
        uap_epochs: passes over them.
        uap_round_epochs: passes over the drawn images that one makes in a round of retraining.
        art_images: training images of the published algorithm, sample by sample; 0 for none of it.
        strong: test images through purifiers, for attackers who search every class and ask without gradients.
        even: test images of each class under AutoAttack.
        steps: of PGD.
        restarts: of PGD on the hardened model.
        copies: jittered copies over which an attacker averages gradients behind WebP.
        qualities: of WebP.
        hardened: the model that is to hold, on the main network.
        others: defences from the thesis's related work, on the main network.
        resolutions: further sizes of the main network -> how they are trained.
    """

    networks: Mapping[str, NetworkScale]
    main: str = "resnet50"
    recipe: Augmentation = field(default_factory=FlipsAndShifts)
    images: int | None = None
    poisoned: tuple[float, ...] = published.POISONED
    poison_seeds: int = 3
    poisoned_whole: tuple[float, ...] = (0.2, 0.45)
    folds: int = 5
    rounds: Rounds = field(default_factory=lambda: Rounds(balance="weights"))
    uap_eps: tuple[float, ...] = tuple(level / 255 for level in (2, 4, 6, 8, 10, 12, 16, 20, 24, 32))
    uap_images: int | None = None
    uap_epochs: int = 10
    uap_round_epochs: int = 10
    art_images: int = 500
    strong: int | None = None
    even: int = 60
    steps: int = 40
    restarts: int = 5
    copies: int = 4
    qualities: tuple[int, ...] = (20, 50, 80)
    hardened: HardenedModel
    others: OtherDefences
    resolutions: Mapping[str, TrainingOptions] = field(default_factory=dict)


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

#: What two cores can do: an epoch of the last layer, twelve of all, the average of the weights kept.
_FINE = TransferOptions(
    head_epochs=1,
    head_learning_rate=5e-3,
    epochs=12,
    patience=99,
    batch_size=published.BATCH_SIZE,
    learning_rate=1e-3,
    weight_decay=0.02,
    balance="none",
    prior_shift=0.5,
    averaging=0.998,
    keep="last",
    precision="auto",
)


def _hardened(
    training: TrainingOptions, *, steps: int, augmentation: Augmentation | None = None, eps: float = 3 / 255
) -> HardenedModel:
    recipe = madry(eps, steps=steps, augmentation=augmentation or FlipsAndShifts())
    return HardenedModel(recipe=recipe, training=training)


_TINY = _training(1, batch_size=32)

SCALES: dict[str, LesionScale] = {
    "smoke": LesionScale(
        networks={
            "inception-v3": NetworkScale(
                architecture="inception-v3", size="64", options={"width": 0.0625, "stem_stride": 1}, training=_TINY
            ),
            "resnet50": NetworkScale(architecture="resnet50", size="64", options={"width": 0.0625}, training=_TINY),
        },
        images=35,
        poisoned=(0.2, 0.6),
        poison_seeds=2,
        poisoned_whole=(0.6,),
        folds=2,
        rounds=Rounds(rounds=1, epochs=1, balance="weights"),
        uap_eps=(8 / 255, 64 / 255),
        uap_images=14,
        uap_epochs=2,
        uap_round_epochs=1,
        art_images=4,
        strong=4,
        even=1,
        steps=3,
        restarts=1,
        copies=2,
        qualities=(50,),
        hardened=_hardened(_TINY, steps=1),
        others=OtherDefences(training=_TINY, generator={"steps": 2, "width": 2}, images=4, steps=2),
        resolutions={"48": _TINY},
    ),
    "small": LesionScale(
        networks={
            "inception-v3": NetworkScale(
                architecture="efficientnet-lite1", size="96x128", options={"pretrained": "imagenet"}, training=_FINE
            ),
            "resnet50": NetworkScale(
                architecture="efficientnet-lite0", size="96x128", options={"pretrained": "imagenet"}, training=_FINE
            ),
        },
        recipe=GrowingImages(smallest=0.5, grown=0.5),
        rounds=Rounds(rounds=2, epochs=1, balance="none", prior_shift=0.5, learning_rate=3e-4, precision="auto"),
        uap_eps=tuple(level / 255 for level in (2, 4, 8, 12, 20, 32)),
        uap_images=300,
        uap_epochs=4,
        uap_round_epochs=1,
        art_images=300,
        strong=300,
        even=20,
        hardened=_hardened(
            replace(_FINE, epochs=5, prior_shift=1.0), steps=2, augmentation=GrowingImages(smallest=0.5, grown=0.5)
        ),
        others=OtherDefences(
            training=replace(_FINE, epochs=6), generator={"steps": 50, "width": 8}, images=32, steps=10
        ),
        resolutions={"64x85": replace(_FINE, epochs=8), "120x160": replace(_FINE, epochs=6)},
    ),
    "full": LesionScale(
        networks={
            "inception-v3": NetworkScale(
                architecture="inception-v3", size="299", options={"pretrained": "imagenet"}, training=_TRANSFER
            ),
            "resnet50": NetworkScale(
                architecture="resnet50", size="224", options={"pretrained": "imagenet"}, training=_TRANSFER
            ),
        },
        rounds=Rounds(balance="weights", precision="bfloat16"),
        strong=1000,
        hardened=_hardened(replace(_TRANSFER, keep="last", averaging=0.999), steps=7),
        others=OtherDefences(training=_TRANSFER, images=200),
        resolutions={"64": _TRANSFER, "128": _TRANSFER},
    ),
}
