"""Salus's own networks by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from salus.errors import ModelError, nearest
from salus.models.acharya import Acharya
from salus.models.all_cnn import AllCNN
from salus.models.defense_gan_ef import ModelE, ModelF
from salus.models.ecg_atk_gan import Discriminator
from salus.models.ecg_cnn import ECGCNN
from salus.models.ecg_context import ECGContext
from salus.models.inception_v3 import InceptionV3
from salus.models.kachuee import Kachuee
from salus.models.mlp import MLP
from salus.models.mnist_cnn import MNISTCNN
from salus.models.resnet50 import ResNet50
from salus.models.shaker import Shaker
from salus.models.small_cnn import SmallCNN
from salus.models.vgg19 import VGG19
from salus.models.wide_resnet import WideResNet

KINDS = {1: "table", 2: "signal", 3: "image"}  # by the dimensions of one sample


@dataclass(frozen=True)
class Architecture:
    """A network, the kind of data it takes, and its options with what they are by default."""

    module: type[nn.Module]
    kind: str
    shape: tuple[str, ...]  # the arguments that the sample's shape fills; "" for one that it does not need
    options: Mapping[str, Any]

    def __call__(self, shape: Sequence[int], classes: int, **options: Any) -> nn.Module:
        """Build the network for samples of this shape."""
        sizes = {name: size for name, size in zip(self.shape, shape, strict=True) if name}
        return self.module(**sizes, classes=classes, **{**self.options, **options})


SIGNAL = ("channels", "length")
IMAGE = ("channels", "height", "width")
ANY_SIZE = ("channels", "", "")
WIDENED_IMAGE = ("channels", "rows", "columns")  # of networks whose width is a number of channels

#: The first of its kind is what :func:`default_model` names.
MODELS: dict[str, Architecture] = {
    "ecg-cnn": Architecture(ECGCNN, "signal", SIGNAL, {"widths": (16, 32, 128), "dropout": 0.2, "kernels": (3, 3)}),
    "mlp": Architecture(MLP, "table", ("features",), {"hidden": (64, 64)}),
    "small-cnn": Architecture(SmallCNN, "image", ANY_SIZE, {"widths": (32, 64, 128), "hidden": 64}),
    "acharya": Architecture(Acharya, "signal", SIGNAL, {}),
    "kachuee": Architecture(Kachuee, "signal", SIGNAL, {}),
    "ecg-atk-gan": Architecture(Discriminator, "signal", SIGNAL, {"widths": (32, 64, 128, 256), "dropout": 0.2}),
    "ecg-context": Architecture(
        ECGContext,
        "signal",
        SIGNAL,
        {"widths": (16, 32, 64, 128), "kernels": (7, 5), "positions": 18, "hidden": 128, "dropout": 0.2, "figures": 14},
    ),
    "shaker": Architecture(Shaker, "signal", SIGNAL, {"widths": (32, 64, 128, 256), "hidden": 128, "dropout": 0.5}),
    "model-e": Architecture(ModelE, "image", IMAGE, {"hidden": (200, 200)}),
    "model-f": Architecture(ModelF, "image", IMAGE, {"widths": (64, 128)}),
    "mnist-cnn": Architecture(MNISTCNN, "image", IMAGE, {"dropout": 0.5}),
    "all-cnn": Architecture(AllCNN, "image", ANY_SIZE, {"widths": (96, 192), "dropout": 0.5, "batch_norm": False}),
    "wrn": Architecture(WideResNet, "image", ANY_SIZE, {"depth": 34, "width": 8, "dropout": 0.0}),
    "vgg19": Architecture(VGG19, "image", IMAGE, {"dropout": 0.5}),
    "resnet50": Architecture(ResNet50, "image", WIDENED_IMAGE, {"width": 1.0, "stem_stride": 2}),
    "inception-v3": Architecture(InceptionV3, "image", WIDENED_IMAGE, {"width": 1.0, "stem_stride": 2, "dropout": 0.5}),
}


def default_model(kind: str) -> str:
    """Name the network that suits tables, signals or images."""
    return next(name for name, architecture in MODELS.items() if architecture.kind == kind)


def build_model(name: str, shape: Sequence[int], classes: int, options: Mapping[str, Any] | None = None) -> nn.Module:
    """Build one of Salus's networks for samples of a shape.

    Args:
        name: a key of ``MODELS``.
        shape: shape of one sample.
        classes: number of classes.
        options: what the network takes beyond these, ``{"hidden": [64, 64]}``.

    Raises:
        ModelError: there is no such network, it does not suit the data, or an option will not do.
    """
    if name not in MODELS:
        raise ModelError(f"There is no model {name!r}; {nearest(name, MODELS)}")
    architecture = MODELS[name]
    kind = KINDS.get(len(shape), "unknown")
    if kind != architecture.kind:
        remedy = f"use {default_model(kind)!r}" if kind != "unknown" else "give tables, signals or images"
        raise ModelError(
            f"Model {name!r} takes {architecture.kind}s, but the samples have shape {list(shape)} ({kind}); {remedy}."
        )
    if kind == "image" and min(shape[1:]) < 8:
        raise ModelError(f"Model {name!r} takes images from 8x8 up, not {shape[1]}x{shape[2]}.")
    if not isinstance(options or {}, Mapping):
        raise ModelError(f"Model {name!r}: the options must be an object of names and values, not {options!r}.")
    values = {}
    for key, value in (options or {}).items():
        if not architecture.options:
            raise ModelError(f"Model {name!r} takes no options; leave {key!r} out.")
        if key not in architecture.options:
            raise ModelError(f"Model {name!r} has no option {key!r}; {nearest(key, architecture.options)}")
        values[key] = _checked(name, key, value, architecture.options[key])
    return architecture(shape, classes, **values)


def _checked(name: str, key: str, value: Any, default: Any) -> Any:
    """Check an option against the type of its default."""
    if isinstance(default, tuple):
        widths = [value] if type(value) is int else value
        if isinstance(widths, (list, tuple)) and widths and all(type(w) is int and w > 0 for w in widths):
            return tuple(widths)
        wanted = "positive whole numbers, one a layer"
    elif isinstance(default, bool):
        if type(value) is bool:
            return value
        wanted = "true or false"
    elif isinstance(default, int):
        if type(value) is int and value > 0:
            return value
        wanted = "a positive whole number"
    elif default >= 1:  # how many times as much
        if type(value) in (int, float) and 0 < value < math.inf:
            return float(value)
        wanted = "a number above 0"
    else:
        if type(value) in (int, float) and 0 <= value < 1:
            return float(value)
        wanted = "a number from 0 to below 1"
    raise ModelError(f"Model {name!r}: {key}={value!r} will not do; it must be {wanted}.")
