"""How much of MultiMagNet's experiments is done at each scale, and what is trained for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from salus.data import Dataset, Splits
from salus.detectors.multimagnet_grid import Grid
from salus.generative import RepositoryOptions
from salus.training import FlipsAndShifts, GrowingImages, Recipe, TrainingOptions
from salus_studies.frame.scales import Scale
from salus_studies.multimagnet import published


def _training(epochs: int, **more: Any) -> TrainingOptions:
    return TrainingOptions(epochs=epochs, keep="last", **more)


@dataclass(frozen=True, kw_only=True)
class DataSetting:
    """What is done on one of the two sets of data.

    Attributes:
        network: the classifier.
        network_options: what it takes.
        training: of the classifier. Its last epoch is kept, so that no image decides but those it is trained on.
        recipe: of the classifier.
        surrogate: training of the network that attacks start from where they are not handed the classifier; its shape
            is the released code's.
        repository: of the ten autoencoders.
        held_out: training images that the autoencoders do not learn from: where their error on these stops falling,
            training ends.
        images: that are trained on.
        attacked: legitimate images of the calibration stage that are attacked, the paper's V_atk.
        iterations: of BIM; None: as many as in Table 1.
    """

    network: str
    network_options: Mapping[str, Any] = field(default_factory=dict)
    training: TrainingOptions
    recipe: Recipe = field(default_factory=Recipe)
    surrogate: TrainingOptions = field(default_factory=lambda: _training(published.SURROGATE_EPOCHS))
    repository: RepositoryOptions = field(default_factory=RepositoryOptions)
    held_out: int = 2000
    images: int = published.TRAINING_IMAGES
    attacked: int = published.ATTACKED
    iterations: int | None = None


@dataclass(frozen=True, kw_only=True)
class MagNetScale(Scale):
    """How much of the experiments is done.

    Attributes:
        settings: by set of data.
        legitimate: images that give the thresholds, the paper's V_leg.
        tested: legitimate images of the test, as many as are attacked.
        experiments: draws of ensembles for all tested images.
        tried: images on which the strength of BIM and FGSM is fitted to Table 6.
        adaptive: test images that an attacker who knows the defence is set on.
        adaptive_steps: of that attacker.
        grid: of the calibration stage.
    """

    settings: Mapping[str, DataSetting]
    legitimate: int = published.LEGITIMATE
    tested: int = published.TESTED
    experiments: int = published.EXPERIMENTS
    tried: int = 700
    adaptive: int = 200
    adaptive_steps: int = 40
    grid: Grid = field(default_factory=Grid)


_MNIST = DataSetting(
    network="multimagnet-mnist",
    training=_training(10),
    repository=RepositoryOptions(family="multimagnet-mnist", patience=3),
)
_CIFAR10 = DataSetting(
    network="all-cnn",
    network_options={"batch_norm": True},
    training=_training(120, precision="bfloat16", weight_decay=0.01),
    recipe=FlipsAndShifts(),
    repository=RepositoryOptions(family="multimagnet-cifar10", patience=3, learning_rate=3e-3),
)

SCALES: dict[str, MagNetScale] = {
    "smoke": MagNetScale(
        settings={
            "mnist": DataSetting(
                network="small-cnn",
                network_options={"widths": [4, 8], "hidden": 16},
                training=_training(4, batch_size=16, learning_rate=1e-2),
                surrogate=_training(2, batch_size=16, learning_rate=1e-2),
                repository=RepositoryOptions(family="multimagnet-mnist", size=4, epochs=1, batch_size=64),
                held_out=50,
                images=500,
                attacked=40,
                iterations=5,
            ),
            "cifar10": DataSetting(
                network="small-cnn",
                network_options={"widths": [8, 16], "hidden": 32},
                training=_training(2, batch_size=32, learning_rate=1e-2),
                surrogate=_training(1, batch_size=32, learning_rate=1e-2),
                repository=RepositoryOptions(family="multimagnet-cifar10", size=4, epochs=1, batch_size=64),
                held_out=50,
                images=1000,
                attacked=40,
                iterations=5,
            ),
        },
        legitimate=120,
        tested=60,
        experiments=4,
        tried=40,
        adaptive=4,
        adaptive_steps=2,
        grid=Grid(sizes=(3,), temperatures=(1.0, 10.0), drop_rates=(0.01, 0.1)),
    ),
    "small": MagNetScale(
        settings={
            "mnist": _MNIST,
            "cifar10": replace(
                _CIFAR10,
                # As wide, and as many epochs, as two processor cores train in an hour and a half; without dropout,
                # which would ask for more.
                network_options={"batch_norm": True, "dropout": 0.0, "widths": [80, 160]},
                training=_training(22, batch_size=64, learning_rate=3e-3, weight_decay=0.02, averaging=0.999),
                recipe=GrowingImages(grown=0.8),
                attacked=500,
            ),
        },
        adaptive=30,
        adaptive_steps=20,
    ),
    "full": MagNetScale(settings={"mnist": replace(_MNIST, training=_training(20)), "cifar10": _CIFAR10}),
}


@dataclass(frozen=True, eq=False)
class Dealt:
    """The images of one set of data as the paper deals them.

    Attributes:
        train: of the classifier and the autoencoders.
        legitimate: seen by neither; V_leg.
        test: of the classifier.
        drawn: the legitimate half of D, out of the test images.
    """

    train: Dataset
    legitimate: Dataset
    test: Dataset
    drawn: Dataset


def deal(splits: Splits, scale: MagNetScale, setting: DataSetting, seed: int) -> Dealt:
    """Deal 5,000 images to V_leg and 45,000 to training, and draw 2,000 of the test images; fewer if there are fewer.

    Validation images decide nothing here, so they fill V_leg up, and the training part after it. Each part is in
    random order.
    """
    rng = torch.Generator().manual_seed(seed)
    calibration, validation, train, test = (
        part.subset(torch.randperm(len(part), generator=rng))
        for part in (splits.calibration, splits.validation, splits.train, splits.test)
    )
    reserve = _joined(calibration, validation)
    legitimate = _between(reserve, 0, scale.legitimate)
    if len(reserve) > scale.legitimate and len(train) < setting.images:
        train = _joined(train, _between(reserve, scale.legitimate, len(reserve)))
    return Dealt(_between(train, 0, setting.images), legitimate, test, _between(test, 0, scale.tested))


def _between(data: Dataset, first: int, end: int) -> Dataset:
    return data.subset(torch.arange(first, min(end, len(data))))


def _joined(one: Dataset, other: Dataset) -> Dataset:
    return replace(one, x=torch.cat([one.x, other.x]), y=torch.cat([one.y, other.y]))
