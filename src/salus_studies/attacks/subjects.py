"""The models that are judged, each trained once into the study's folder, and the test samples that all attack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors.torch import load_file
from torch import Tensor, nn

from salus import atomic
from salus.attacks import PGD
from salus.data import Dataset, load
from salus.data.base import Splits
from salus.hardening.adversarial_training import AdversarialTraining
from salus.models import MLP
from salus.progress import console
from salus.storage import digest
from salus.training import TrainingOptions, seeded_module, train
from salus_studies.attacks.networks import PatchNet

#: Test samples that are attacked on each model.
SAMPLES = 256

#: Sizes of change at which attacks with a fixed eps are run, by norm.
Grid = Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a judged model comes about.

    Attributes:
        title: what pages call it.
        data: the source of its data, as ``salus.data.load`` knows it.
        load: options of the source.
        patch: side of a patch of the network, see :class:`PatchNet`; 0 for a table, which gets a perceptron.
        epochs: passes over the training data.
        balance: how rare classes are made up for.
        eps: radius of the attack that it is trained against, in L-infinity; None for a plain model.
        grid: sizes of change for attacks with a fixed eps: about where a fifth, two fifths, three and four fifths of
            *validation* samples had fallen to adv-lib's FMN, in L1 to ALMA too, in L2 to DDN (300 to 500 steps).
    """

    title: str
    data: str
    load: Mapping[str, Any] = field(default_factory=dict)
    patch: int = 0
    epochs: int
    balance: str = "none"
    eps: float | None = None
    grid: Grid = field(default_factory=dict)


_BEATS = partial(Recipe, data="mitdb", patch=8, epochs=4, balance="sampling")
_FASHION = partial(Recipe, data="fashion-mnist", patch=4, epochs=6)

RECIPES: Mapping[str, Recipe] = {
    "table": Recipe(
        title="breast cancer, a table",
        data="breast-cancer",
        epochs=150,
        grid={
            "l0": (1, 2, 3),
            "l1": (0.5, 0.78, 1.1, 1.4),
            "l2": (0.17, 0.27, 0.37, 0.48),
            "linf": (0.036, 0.053, 0.073, 0.093),
        },
    ),
    "beats": _BEATS(
        title="heartbeats",
        grid={
            "l0": (1, 2, 3, 4),
            "l1": (0.41, 0.77, 1.4, 2.4),
            "l2": (0.1, 0.17, 0.26, 0.44),
            "linf": (0.0067, 0.01, 0.017, 0.022),
        },
    ),
    "beats-hardened": _BEATS(
        title="heartbeats, hardened",
        eps=0.01,
        grid={
            "l0": (2, 3, 4, 5),
            "l1": (0.77, 1.7, 2.3, 4.1),
            "l2": (0.18, 0.34, 0.44, 0.65),
            "linf": (0.014, 0.025, 0.035, 0.046),
        },
    ),
    "fashion": _FASHION(
        title="Fashion-MNIST",
        grid={
            "l0": (3, 5, 8, 11),
            "l1": (1.7, 3.6, 6.1, 8.5),
            "l2": (0.29, 0.55, 0.8, 1.1),
            "linf": (0.016, 0.032, 0.046, 0.072),
        },
    ),
    "fashion-hardened": _FASHION(
        title="Fashion-MNIST, hardened",
        eps=0.05,
        grid={
            "l0": (3, 8, 12, 22),
            "l1": (2.5, 5.0, 8.0, 13.0),
            "l2": (0.64, 1.2, 1.7, 2.3),
            "linf": (0.061, 0.11, 0.14, 0.19),
        },
    ),
    "lesions": Recipe(
        title="skin lesions, 32 px",
        data="ham10000",
        load={"size": 32},
        patch=4,
        epochs=10,
        balance="sampling",
        grid={
            "l0": (3, 6, 11, 20),
            "l1": (1.6, 3.1, 5.5, 9.9),
            "l2": (0.17, 0.33, 0.48, 0.65),
            "linf": (0.0041, 0.0094, 0.015, 0.03),
        },
    ),
}


@dataclass(frozen=True, eq=False)
class Subject:
    """A model and the samples on which attacks are judged.

    Attributes:
        name: of the recipe.
        model: in eval mode, its parameters out of the graph.
        x: test samples ``[N, ...]`` in [0, 1], as they come, those that the model gets wrong among them.
        y: their labels.
        classes: number of classes.
        others: for each sample one of another class that the model gets right, for attacks that start from there.
    """

    name: str
    model: nn.Module
    x: Tensor
    y: Tensor
    classes: int
    others: Tensor

    @property
    def grid(self) -> Grid:
        """Sizes of change for attacks with a fixed eps."""
        return RECIPES[self.name].grid

    @property
    def key(self) -> str:
        """All that decides how it was trained, hashed."""
        return _key(RECIPES[self.name])


def open_subject(name: str, folder: Path, data_dir: Path | None, samples: int = SAMPLES) -> Subject:
    """Read a model from the study's folder, or train it there first; two processes train none twice."""
    recipe = RECIPES[name]
    parts = _parts(recipe.data, tuple(recipe.load.items()), data_dir)
    network = _network(recipe, parts.train)
    key = _key(recipe)
    place = folder / "models" / f"{name}-{key[:8]}.safetensors"
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_suffix(".lock")):
        if not place.exists():
            console.print(f"Training the model {name!r}, kept in {place}.")
            _train(network, recipe, parts)
            atomic.write_tensors(place, dict(network.state_dict()))
    network.load_state_dict(load_file(place))
    return _subject(name, network, parts.test, samples)


def _key(recipe: Recipe) -> str:
    return digest([recipe.data, dict(recipe.load), recipe.patch, recipe.epochs, recipe.balance, recipe.eps])


def _subject(name: str, network: nn.Module, test: Dataset, samples: int) -> Subject:
    network.eval().requires_grad_(False)
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))
    chosen, rest = order[:samples], order[-2000:]
    with torch.no_grad():
        right = rest[network(test.x[rest]).argmax(1) == test.y[rest]]
    y = test.y[chosen]
    others = [right[(test.y[right] != label).nonzero()[:, 0]] for label in y]
    starts = torch.stack([test.x[places[k % len(places)]] for k, places in enumerate(others)])
    return Subject(name, network, test.x[chosen].clone(), y.clone(), len(test.classes), starts)


@lru_cache(maxsize=2)
def _parts(data: str, options: tuple[tuple[str, Any], ...], data_dir: Path | None) -> Splits:
    place = {} if data_dir is None else {"data_dir": data_dir}
    splits = load(data, **dict(options), **place)
    if len(splits.test) >= SAMPLES:
        return splits
    # A table too small for that many test samples: its largest part is judged, the network learns from the others.
    return replace(splits, train=splits.test, test=splits.train)


def _network(recipe: Recipe, data: Dataset) -> nn.Module:
    shape, classes = tuple(data.x.shape[1:]), len(data.classes)
    if not recipe.patch:
        return seeded_module(lambda: MLP(shape[0], classes), 0)
    return seeded_module(lambda: PatchNet(shape, classes, patch=recipe.patch), 0)


def _train(network: nn.Module, recipe: Recipe, parts: Splits) -> None:
    options = TrainingOptions(epochs=recipe.epochs, balance=recipe.balance, patience=recipe.epochs, keep="last")  # type: ignore[arg-type]
    hardening = None
    if recipe.eps is not None:  # the step is given, so that the model does not change with the attack's default
        attack = PGD(eps=recipe.eps, steps=5, step_size=recipe.eps / 2, early_stop=False)
        hardening = AdversarialTraining(attack=attack)
    train(network, parts.train, parts.validation, options, recipe=hardening)
