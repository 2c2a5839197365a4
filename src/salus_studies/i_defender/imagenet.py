"""Table 9: Eq. 6 from one VGG19 to another on a folder in ImageNet's layout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from salus.classifier import Classifier
from salus.data import Splits
from salus.data import load as load_data
from salus.models.registry import build_model
from salus.models.weights import load_weights
from salus.training import FlipsAndShifts
from salus_studies.i_defender.bench import Bench, Material, NetworkPlan, drawn
from salus_studies.i_defender.choice import StateModel
from salus_studies.i_defender.layers import Layer
from salus_studies.i_defender.published import IMAGENET, IMAGENET_LINES
from salus_studies.i_defender.twins import Twins, pair_of

#: VGG19 has fully connected hidden layers; the last of them is the one meant by the paper's words.
SETTING = StateModel(Layer("penultimate", "last hidden fully connected layer"), 1, "full", None, "as the text has it")

_WEIGHTS = (".safetensors", ".pth")


def no_imagenet(bench: Bench, reason: str) -> None:
    """List Table 9 as not run."""
    for column in IMAGENET:
        for alpha in IMAGENET_LINES:
            bench.leave_out("imagenet", reason, {"pair": "imagenet", "column": column.key, "alpha": alpha})


def judge_imagenet(bench: Bench, data: str | None) -> None:
    """Run Table 9, or list it as not run.

    Detectors and attacks take the images to the device whole; a part of ImageNet is what most devices can hold.

    Args:
        bench: where the steps are stored.
        data: the folder: ``train/CLASS/*`` and ``val/CLASS/*``. Weights of the two networks may lie in it, trained
            apart elsewhere: ``source.pth`` and ``target.pth`` (or ``.safetensors``), state dicts under torchvision's
            names; what is not there is trained. None: there is none.

    Raises:
        DataError: it holds no images by class.
        ModelError: weights in it do not fit.
    """
    if data is None:
        no_imagenet(bench, "no data: give a folder in ImageNet's layout by --data")
        return
    splits = load_data(data, seed=bench.seed, size=bench.scale.imagenet["size"])
    splits = replace(splits, train=drawn(splits.train, bench.scale.train_images, bench.seed))
    networks = [_network(bench, Path(data), splits, role, apart) for apart, role in ((1, "source"), (0, "target"))]
    twins = Twins(bench, Material(splits, bench.device), "imagenet", pair_of(networks, SETTING))
    twins.judge("imagenet", IMAGENET, tuple(IMAGENET_LINES), bench.scale.gray_images)


def _network(bench: Bench, folder: Path, splits: Splits, role: str, apart: int) -> Classifier | None:
    """Take the weights that lie in the folder, or train."""
    chosen = bench.scale.imagenet
    name, options = str(chosen["network"]), dict(chosen["options"])
    weights = next((folder / f"{role}{suffix}" for suffix in _WEIGHTS if (folder / f"{role}{suffix}").is_file()), None)
    if weights is None:
        plan = NetworkPlan(
            role=f"imagenet-{role}",
            network=name,
            options=options,
            training=chosen["training"],
            apart=apart,
            recipe=FlipsAndShifts(),
        )
        return bench.network(plan, splits)
    classes, shape = splits.test.classes, tuple(splits.test.x.shape[1:])
    module = build_model(name, shape, len(classes), options)
    load_weights(module, weights)
    architecture = {"name": name, "options": options}
    classifier = Classifier(
        module, classes, shape=shape, bounds=splits.test.bounds, name=name, architecture=architecture
    )
    return classifier.to(bench.device)
