"""``salus reproduce skin-lesion``: both networks one after the other, within a budget of time."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from salus import atomic
from salus.data import Dataset, Splits
from salus.data import load as load_data
from salus.errors import OptionError, nearest
from salus.progress import console
from salus.storage import Store, find_device
from salus_studies.frame.steps import Outcome, Steps
from salus_studies.skin_lesion.protocol import Protocol
from salus_studies.skin_lesion.published import NETWORKS
from salus_studies.skin_lesion.scales import SCALES, Scale

#: Changes whenever a step's content would: stored steps of older versions are then done again.
VERSION = 1

#: The sets that are taken where none is named, the first that is on this machine.
DATA = ("ham10000", "isic2018")


def reproduce(
    out: Path,
    *,
    scale: str = "small",
    splits: tuple[str, ...] = ("lesions",),
    minutes: float | None = None,
    page: Path | None = None,
    seed: int = 0,
    device: str = "cpu",
    data: str = "ham10000",
    data_dir: Path | None = None,
    command: str = "",
) -> Outcome:
    """Train, poison, attack, defend and count what the thesis did, and what it did not, and write the page.

    Every step is stored; run again, with more time, it goes on where it was.

    Args:
        out: folder of this reproduction, new, empty, or of the same one.
        scale: ``smoke``, ``small`` (two cores) or ``full`` (a GPU).
        splits: ``lesions``, two pictures of one lesion on one side; or ``images``, at random as in the thesis.
        minutes: begin no step that is not likely to end within so many; what is left is listed as not run.
        page: the Markdown page; ``skin-lesion.md`` in the folder when not given.
        seed: of every draw.
        device: where to train and attack.
        data: ``ham10000`` or ``isic2018``, the same images.
        data_dir: the first place where downloaded data are looked for.
        command: how to repeat it, for the page.

    Raises:
        SalusError: an option or the folder cannot be used, or the images are not on this machine.
    """
    if scale not in SCALES:
        raise OptionError(f"There is no {scale!r} here; {nearest(scale, SCALES)}")
    if len(splits) != 1:
        raise OptionError("The reproduction of skin-lesion takes one split: lesions, or images as in the thesis.")
    if data not in DATA:
        raise OptionError(f"The reproduction of skin-lesion takes {' or '.join(DATA)}, not {data!r}.")
    find_device(device)
    store = Store(out, "reproduction")
    store.check_free()
    amount = SCALES[scale]
    place = {} if data_dir is None else {"data_dir": data_dir}
    dealt = {size: _load(data, size, splits[0], amount, seed, place) for size in _sizes(amount)}
    with store.locked():
        identity = {"paper": "skin-lesion", "scale": scale, "seed": seed, "split": splits[0]}
        store.claim(identity, {"device": device})
        steps = Steps(store.folder, VERSION, minutes)
        console.print(f"Reproducing the skin-lesion thesis, scale {scale}. What does not fit is listed as not run.")
        found: dict[str, list[dict[str, Any]]] = {}
        arrays: dict[str, Any] = {}
        for network in NETWORKS:
            size = amount.networks[network].size
            by_image = _load(data, size, "images", amount, seed, place) if splits[0] == "lesions" else None
            protocol = Protocol(network, dealt[size], amount, steps, seed=seed, device=device)
            for kind, records in protocol.run(by_image).items():
                found.setdefault(kind, []).extend(records)
            arrays |= {name: value.numpy() for name, value in protocol.arrays.items()}
        example = next(iter(dealt.values()))
        results: dict[str, Any] = {
            "meta": {
                **steps.meta(command=command, scale=scale, seed=seed, device=device),
                "data": {str(size): each.describe() for size, each in dealt.items()},
                "classes": list(example.test.classes),
                "split": splits[0],
                "settings": _settings(amount),
            },
            **found,
        }
        atomic.write_json(out / "results.json", results)
        page = page or out / "skin-lesion.md"
        from salus_studies.skin_lesion.page import write_page

        write_page(results, arrays, page)
    return steps.outcome(page)


def _sizes(scale: Scale) -> list[int]:
    return sorted({network.size for network in scale.networks.values()})


def _load(data: str, size: int, split: str, scale: Scale, seed: int, place: dict[str, Path]) -> Splits:
    """Load the images at one size, a few of each part where the scale says so."""
    splits = load_data(data, seed=seed, size=str(size), split=split, **place)
    if scale.images is None:
        return splits
    return Splits(**{name: _few(part, scale.images) for name, part in splits})


def _few(part: Dataset, most: int) -> Dataset:
    """Take some images of a part, as many of each class as can be, so that none is without."""
    order = torch.cat([(part.y == label).nonzero()[: -(-most // len(part.classes)), 0] for label in part.y.unique()])
    return part.subset(order.sort().values)


def _settings(scale: Scale) -> dict[str, Any]:
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
