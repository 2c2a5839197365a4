"""The order of the thesis's experiments: both networks one after the other, within a budget of time."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any

import torch

from salus.data import Dataset, Splits
from salus.data import load as load_data
from salus.models.pretrained import pretrained_digest
from salus.progress import console
from salus.storage import find_device
from salus_studies.frame.folder import Folder
from salus_studies.frame.results import Results
from salus_studies.frame.rounding import rounded
from salus_studies.skin_lesion.experiments import LesionExperiments
from salus_studies.skin_lesion.published import NETWORKS
from salus_studies.skin_lesion.scales import SCALES, LesionScale
from salus_studies.skin_lesion.study import PARTS, SkinLesionOptions


def run(options: SkinLesionOptions, folder: Folder) -> Results:
    """Train, poison, attack, defend and count what the thesis did, and what it did not.

    Raises:
        SalusError: an option or the folder cannot be used, or the images or first weights are not on this machine.
    """
    find_device(options.device)
    scale, (split,) = SCALES[options.scale], options.split

    @lru_cache(maxsize=2)  # of a size and a way to deal, images take gigabytes
    def load(size: str, dealt: str) -> Splits:
        return _load(options, scale, size, dealt)

    example = load(scale.networks[scale.main].size, split)
    for network in scale.networks.values():  # a package that is missing is told now, not hours later
        pretrained_digest(network.architecture, network.options)
    identity = {"scale": options.scale, "seed": options.seed, "split": split}
    steps = folder.claim(identity, {"device": options.device}, options.time)
    steps.parts = frozenset() if set(options.part) == set(PARTS) else frozenset(options.part)
    console.print(f"Reproducing the skin-lesion thesis, scale {options.scale}. What does not fit is listed as not run.")
    records: dict[str, list[dict[str, Any]]] = {}
    arrays: dict[str, Any] = {}
    for name in sorted(NETWORKS, key=lambda name: name != scale.main):  # more is done on the main one
        splits = load(scale.networks[name].size, split)
        experiments = LesionExperiments(name, splits, scale, steps, seed=options.seed, device=options.device)
        for kind, rows in experiments.run(load, by_image=split == "lesions").items():
            records.setdefault(kind, []).extend(rows)
        arrays |= {key: value.numpy() for key, value in experiments.arrays.items()}
    meta = {
        **steps.meta(scale=options.scale, seed=options.seed, device=options.device),
        "data": example.describe(),
        "classes": list(example.test.classes),
        "counts": {name: part.counts for name, part in example},
        "truth": "".join(str(label) for label in example.test.y.tolist()),
        "lesions": None if example.test.groups is None else _numbered(example.test.groups),
        "split": split,
        "settings": _settings(scale),
    }
    return Results(rounded({"meta": meta, **records}), arrays)


def _load(options: SkinLesionOptions, scale: LesionScale, size: str, split: str) -> Splits:
    """Load the images at one size, a few of each part where the scale says so.

    Nothing here is fitted to calibration images: they join the validation part, which is the thesis's 17.5% then.
    """
    splits = load_data(options.data, seed=options.seed, size=size, split=split, **options.place)
    splits = replace(splits, validation=_joined(splits.validation, splits.calibration))
    if scale.images is None:
        return splits
    return Splits(**{name: _few(part, scale.images) for name, part in splits})


def _joined(one: Dataset, other: Dataset) -> Dataset:
    groups = None
    if one.groups is not None and other.groups is not None:
        groups = torch.cat([one.groups, other.groups])
    return replace(one, x=torch.cat([one.x, other.x]), y=torch.cat([one.y, other.y]), groups=groups)


def _numbered(groups: torch.Tensor) -> list[int]:
    """Number lesions from 0, so that nobody is named."""
    numbers: list[int] = groups.unique(return_inverse=True)[1].tolist()
    return numbers


def _few(part: Dataset, most: int) -> Dataset:
    """Take some images of a part, as many of each class as can be, so that none is without."""
    order = torch.cat([(part.y == label).nonzero()[: -(-most // len(part.classes)), 0] for label in part.y.unique()])
    return part.subset(order.sort().values)


def _settings(scale: LesionScale) -> dict[str, Any]:
    """What of a scale the page speaks of, as plain values."""
    return {
        "networks": {
            name: {
                "architecture": network.architecture,
                "size": network.size,
                "options": dict(network.options),
                "training": asdict(network.training),
            }
            for name, network in scale.networks.items()
        },
        "main": scale.main,
        "recipe": scale.recipe.describe(),
        "rounds": asdict(scale.rounds),
        "folds": scale.folds,
        "poison_seeds": scale.poison_seeds,
        "uap_images": scale.uap_images,
        "uap_epochs": scale.uap_epochs,
        "art_images": scale.art_images,
        "strong": scale.strong,
        "even": scale.even,
        "steps": scale.steps,
        "restarts": scale.restarts,
        "copies": scale.copies,
        "others": asdict(scale.others),
        "hardened": {
            "network": scale.main,
            "recipe": scale.hardened.recipe.describe(),
            "training": asdict(scale.hardened.training),
        },
    }
