"""The order of the thesis's experiments: both networks one after the other, within a budget of time."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from salus.data import Dataset, Splits
from salus.data import load as load_data
from salus.progress import console
from salus.storage import find_device
from salus_studies.frame.folder import Folder
from salus_studies.frame.results import Results
from salus_studies.skin_lesion.experiments import LesionExperiments
from salus_studies.skin_lesion.published import NETWORKS
from salus_studies.skin_lesion.scales import SCALES, LesionScale
from salus_studies.skin_lesion.study import SkinLesionOptions


def run(options: SkinLesionOptions, folder: Folder) -> Results:
    """Train, poison, attack, defend and count what the thesis did, and what it did not.

    Raises:
        SalusError: an option or the folder cannot be used, or the images are not on this machine.
    """
    find_device(options.device)
    scale, (split,) = SCALES[options.scale], options.split
    dealt = {size: _load(options, scale, size, split) for size in _sizes(scale)}
    identity = {"scale": options.scale, "seed": options.seed, "split": split}
    steps = folder.claim(identity, {"device": options.device}, options.time)
    console.print(f"Reproducing the skin-lesion thesis, scale {options.scale}. What does not fit is listed as not run.")
    records: dict[str, list[dict[str, Any]]] = {}
    arrays: dict[str, Any] = {}
    for network in NETWORKS:
        size = scale.networks[network].size
        by_image = _load(options, scale, size, "images") if split == "lesions" else None
        experiments = LesionExperiments(network, dealt[size], scale, steps, seed=options.seed, device=options.device)
        for kind, rows in experiments.run(by_image).items():
            records.setdefault(kind, []).extend(rows)
        arrays |= {name: value.numpy() for name, value in experiments.arrays.items()}
    example = next(iter(dealt.values()))
    meta = {
        **steps.meta(scale=options.scale, seed=options.seed, device=options.device),
        "data": {str(size): each.describe() for size, each in dealt.items()},
        "classes": list(example.test.classes),
        "split": split,
        "settings": _settings(scale),
    }
    return Results({"meta": meta, **records}, arrays)


def _sizes(scale: LesionScale) -> list[int]:
    return sorted({network.size for network in scale.networks.values()})


def _load(options: SkinLesionOptions, scale: LesionScale, size: int, split: str) -> Splits:
    """Load the images at one size, a few of each part where the scale says so."""
    splits = load_data(options.data, seed=options.seed, size=str(size), split=split, **options.place)
    if scale.images is None:
        return splits
    return Splits(**{name: _few(part, scale.images) for name, part in splits})


def _few(part: Dataset, most: int) -> Dataset:
    """Take some images of a part, as many of each class as can be, so that none is without."""
    order = torch.cat([(part.y == label).nonzero()[: -(-most // len(part.classes)), 0] for label in part.y.unique()])
    return part.subset(order.sort().values)


def _settings(scale: LesionScale) -> dict[str, Any]:
    """What of a scale the page speaks of, as plain values."""
    return {
        "networks": {
            name: {"size": network.size, "options": dict(network.options), "training": asdict(network.training)}
            for name, network in scale.networks.items()
        },
        "recipe": scale.recipe.describe(),
        "rounds": asdict(scale.rounds),
        "folds": scale.folds,
        "uap_images": scale.uap_images,
        "strong": scale.strong,
        "ensemble": scale.ensemble,
        "steps": scale.steps,
        "restarts": scale.restarts,
        "hardened": {
            "network": scale.hardened.network,
            "recipe": scale.hardened.recipe.describe(),
            "training": asdict(scale.hardened.training),
        },
    }
