"""Salus's own networks by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from salus.errors import ModelError, OptionError
from salus.models.acharya import Acharya
from salus.models.all_cnn import AllCNN
from salus.models.defense_gan_ef import ModelE, ModelF
from salus.models.ecg_atk_gan import Discriminator
from salus.models.ecg_cnn import ECGCNN
from salus.models.ecg_context import ECGContext
from salus.models.ecg_hierarchical import ECGHierarchical
from salus.models.efficientnet_lite import EfficientNetLite0, EfficientNetLite1, EfficientNetLite2
from salus.models.inception_v3 import InceptionV3
from salus.models.kachuee import Kachuee
from salus.models.mlp import MLP
from salus.models.mnist_cnn import MNISTCNN
from salus.models.multimagnet import MultiMagNetMNIST, MultiMagNetSurrogate
from salus.models.resnet50 import ResNet50
from salus.models.shaker import Shaker
from salus.models.small_cnn import SmallCNN
from salus.models.vgg19 import VGG19
from salus.models.wide_resnet import WideResNet
from salus.options import Option, named, options_of
from salus.registry import Registry, summary

KINDS = {1: "table", 2: "signal", 3: "image", 4: "volume"}  # by the dimensions of one sample


@dataclass(frozen=True)
class Architecture:
    """A network, and the kind of data it takes.

    Attributes:
        module: its class, or a function that builds it; keyword-only arguments are its options.
        kind: of the data: ``table``, ``signal`` or ``image``.
        shape: the arguments that the sample's shape fills; "" for a size that it does not need.
    """

    module: Callable[..., nn.Module]
    kind: str
    shape: tuple[str, ...]

    def __call__(self, shape: Sequence[int], classes: int, **options: Any) -> nn.Module:
        """Build the network for samples of this shape."""
        sizes = {name: size for name, size in zip(self.shape, shape, strict=True) if name}
        return self.module(**sizes, classes=classes, **options)

    def declared_options(self) -> tuple[Option, ...]:
        """List the network's options; see ``salus.options.options_of``."""
        return options_of(self.module)

    @property
    def summary(self) -> str:
        """What it is, in a line."""
        return summary(self.module)


SIGNAL = ("channels", "length")
IMAGE = ("channels", "height", "width")
ANY_SIZE = ("channels", "", "")
WIDENED_IMAGE = ("channels", "rows", "columns")  # of networks whose width is a number of channels

_OWN = {
    "ecg-cnn": Architecture(ECGCNN, "signal", SIGNAL),
    "mlp": Architecture(MLP, "table", ("features",)),
    "small-cnn": Architecture(SmallCNN, "image", ANY_SIZE),
    "acharya": Architecture(Acharya, "signal", SIGNAL),
    "kachuee": Architecture(Kachuee, "signal", SIGNAL),
    "ecg-atk-gan": Architecture(Discriminator, "signal", SIGNAL),
    "ecg-context": Architecture(ECGContext, "signal", SIGNAL),
    "ecg-hierarchical": Architecture(ECGHierarchical, "signal", SIGNAL),
    "shaker": Architecture(Shaker, "signal", SIGNAL),
    "model-e": Architecture(ModelE, "image", IMAGE),
    "model-f": Architecture(ModelF, "image", IMAGE),
    "mnist-cnn": Architecture(MNISTCNN, "image", IMAGE),
    "multimagnet-mnist": Architecture(MultiMagNetMNIST, "image", IMAGE),
    "multimagnet-surrogate": Architecture(MultiMagNetSurrogate, "image", IMAGE),
    "all-cnn": Architecture(AllCNN, "image", ANY_SIZE),
    "wrn": Architecture(WideResNet, "image", ANY_SIZE),
    "vgg19": Architecture(VGG19, "image", IMAGE),
    "resnet50": Architecture(ResNet50, "image", WIDENED_IMAGE),
    "efficientnet-lite0": Architecture(EfficientNetLite0, "image", WIDENED_IMAGE),
    "efficientnet-lite1": Architecture(EfficientNetLite1, "image", WIDENED_IMAGE),
    "efficientnet-lite2": Architecture(EfficientNetLite2, "image", WIDENED_IMAGE),
    "inception-v3": Architecture(InceptionV3, "image", WIDENED_IMAGE),
}


def _suits(thing: Any) -> str | None:
    return None if isinstance(thing, Architecture) else "is no salus.models.Architecture"


#: The first of its kind is what :func:`default_model` names.
MODELS: Registry[Architecture] = Registry("model", "salus.models", _OWN, _suits)


def default_model(kind: str) -> str:
    """Name the network that suits tables, signals or images.

    Raises:
        ModelError: Salus has none for such data.
    """
    names = (name for name, architecture in MODELS.items() if architecture.kind == kind)
    if (name := next(names, None)) is None:
        raise ModelError(f"Salus has no network of its own for {kind}s; name a model by --model.")
    return name


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
    try:
        architecture = MODELS.find(name)
    except OptionError as error:
        raise ModelError(str(error)) from error
    kind = KINDS.get(len(shape), "unknown")
    if kind != architecture.kind:
        suited = next((name for name, each in MODELS.items() if each.kind == kind), None)
        remedy = f"use {suited!r}" if suited is not None else "give tables, signals or images"
        raise ModelError(
            f"Model {name!r} takes {architecture.kind}s, but the samples have shape {list(shape)} ({kind}); {remedy}."
        )
    if kind == "image" and min(shape[1:]) < 8:
        raise ModelError(f"Model {name!r} takes images from 8x8 up, not {shape[1]}x{shape[2]}.")
    if not isinstance(options or {}, Mapping):
        raise ModelError(f"Model {name!r}: the options must be an object of names and values, not {options!r}.")
    try:
        return architecture(shape, classes, **read_options(name, options or {}))
    except OptionError as error:
        raise ModelError(str(error)) from error


def read_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Read a network's options as its constructor takes them.

    Raises:
        OptionError: one is unknown, or will not do.
    """
    declared = {option.name: option for option in MODELS.options(name)}
    values = named(MODELS[name], options, f"model {name!r}")
    return {option: declared[option].check(value, f"Model {name!r}") for option, value in values.items()}
