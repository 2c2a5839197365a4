"""Networks that libraries of networks build by name, with weights that lie on this disk: timm, torchvision, MONAI."""

from __future__ import annotations

import inspect
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from salus.errors import ModelError, nearest
from salus.models.foreign.form import library
from salus.models.reading import Inputs
from salus.models.torchvision_ops import load_torchvision
from salus.preprocessing.framing import INTERPOLATIONS, MODES, Framing


@dataclass(frozen=True)
class ImageTreatment:
    """What a network's configuration says of how images are made.

    Attributes:
        mean: taken from levels of 0 to 1, by channel.
        std: by which they are then divided.
        size: height and width in pixels; None for any.
        crop: share of the scaled image's sides that is kept in the middle.
        interpolation: by which images are scaled.
        mode: what is done with those of another form; see :class:`salus.preprocessing.framing.Framing`.
        scaled: height and width before they are cropped, where that is said in pixels, and not as a share.
        floor: how an odd number of rows is cropped; see the same.
        unframed: why images cannot be made as it says, as words that follow "the configuration"; "" where they can.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    size: tuple[int, int] | None = None
    crop: float = 1.0
    interpolation: str = "bilinear"
    mode: str = "centre"
    scaled: tuple[int, int] | None = None
    floor: bool = False
    unframed: str = ""

    def framing(self, size: tuple[int, int]) -> Framing:
        """Say how images are brought to a size."""
        if self.mode == "cover":
            return Framing(self.interpolation)
        scaled = self.scaled if size == self.size else None
        if scaled is None:
            height, width = (math.floor(side / self.crop) for side in size)
            scaled = (height, width)
        fill = tuple(round(255 * level) for level in self.mean) if self.mode == "border" else ()
        return Framing(self.interpolation, self.mode, scaled, self.floor, fill)

    @property
    def words(self) -> str:
        """Say it in a line."""
        size = "" if self.size is None else f"{self.size[0]}x{self.size[1]} pixels, "
        mean, std = (", ".join(f"{value:g}" for value in values) for values in (self.mean, self.std))
        return f"{size}levels of 0 to 1 less {mean or '0'}, divided by {std or '1'}"


#: Share of a scaled image that timm keeps where a configuration does not say.
_CROP = 0.875


class Library(ABC):
    """A library of networks.

    Attributes:
        name: what stands before the colon.
        extra: of Salus's package, that brings it.
    """

    name: ClassVar[str]
    extra: ClassVar[str]

    @abstractmethod
    def build(self, network: str, outputs: int, inputs: Inputs, options: Mapping[str, Any]) -> nn.Module:
        """Build a network with random weights.

        Args:
            network: its name in the library.
            outputs: numbers that it answers with.
            inputs: what it will be given.
            options: what else its constructor takes.

        Raises:
            ModelError: there is none of that name, or it cannot be built so.
        """

    def treatment(self, network: str, options: Mapping[str, Any]) -> ImageTreatment | None:
        """Say how images are made for it; None where nobody knows."""
        return None


class Timm(Library):
    """PyTorch image models."""

    name: ClassVar[str] = "timm"
    extra: ClassVar[str] = "timm"

    def build(self, network: str, outputs: int, inputs: Inputs, options: Mapping[str, Any]) -> nn.Module:
        """Build it without fetching anything."""
        timm = self._timm()
        if not timm.is_model(network):
            raise ModelError(f"timm has no network {network!r}; {nearest(network, timm.list_models())}")
        return _built(
            self.name,
            network,
            lambda: timm.create_model(
                network, pretrained=False, num_classes=outputs, in_chans=inputs.shape[0], **options
            ),
        )

    def treatment(self, network: str, options: Mapping[str, Any]) -> ImageTreatment | None:
        """Read it from the network's published configuration."""
        timm = self._timm()
        config = timm.get_pretrained_cfg(network) if timm.is_model(network) else None
        if config is None:
            return None
        size = options.get("img_size") or config.input_size[1:]
        size = (size, size) if isinstance(size, int) else tuple(size)
        mode = (config.crop_mode or "center").replace("center", "centre")
        said = config.interpolation or "bicubic"
        known = said in INTERPOLATIONS and mode in MODES
        return ImageTreatment(
            tuple(config.mean),
            tuple(config.std),
            (size[0], size[1]),
            float(config.crop_pct or _CROP),
            said if known else "bicubic",
            mode if known else "centre",
            unframed="" if known else f"scales images {said!r} and crops them {mode!r}, which Salus does not know",
        )

    @staticmethod
    def _timm() -> Any:
        load_torchvision()
        return library("timm", Timm.extra, "A network of timm's")


class Torchvision(Library):
    """torchvision's classifiers."""

    name: ClassVar[str] = "torchvision"
    extra: ClassVar[str] = "images"

    def build(self, network: str, outputs: int, inputs: Inputs, options: Mapping[str, Any]) -> nn.Module:
        """Build it without fetching anything."""
        models = load_torchvision().models
        if network not in models.list_models(module=models):
            raise ModelError(
                f"torchvision has no classifier {network!r}; {nearest(network, models.list_models(module=models))}"
            )
        quiet = {"init_weights": False} if network in ("inception_v3", "googlenet") else {}
        return _built(
            self.name,
            network,
            lambda: models.get_model(network, weights=None, num_classes=outputs, **{**quiet, **options}),
        )

    def treatment(self, network: str, options: Mapping[str, Any]) -> ImageTreatment | None:
        """Read it from what torchvision published with the network's weights."""
        models = load_torchvision().models
        if network not in models.list_models(module=models):
            return None
        made = models.get_model_weights(network).DEFAULT.transforms()
        crop, resize = made.crop_size[0], made.resize_size[0]
        return ImageTreatment(
            tuple(made.mean),
            tuple(made.std),
            (crop, crop),
            min(crop / resize, 1.0),
            made.interpolation.value,
            scaled=(resize, resize),
        )


class Monai(Library):
    """MONAI's networks for medical images, in two dimensions and in three."""

    name: ClassVar[str] = "monai"
    extra: ClassVar[str] = "monai"

    def build(self, network: str, outputs: int, inputs: Inputs, options: Mapping[str, Any]) -> nn.Module:
        """Build it for the number of dimensions that the inputs have."""
        load_torchvision()
        nets = library("monai.networks.nets", self.extra, "A network of MONAI's")
        known = {
            name: each
            for name, each in vars(nets).items()
            if inspect.isclass(each) and issubclass(each, nn.Module) and not name.startswith("_")
        }
        if network not in known:
            raise ModelError(f"MONAI has no network {network!r}; {nearest(network, known)}")
        wants = inspect.signature(known[network]).parameters
        here = {
            "spatial_dims": len(inputs.shape) - 1,
            "dimensions": len(inputs.shape) - 1,
            "in_channels": inputs.shape[0],
            "n_input_channels": inputs.shape[0],
            "out_channels": outputs,
            "num_classes": outputs,
            "in_shape": inputs.shape,
            "img_size": inputs.shape[1:],
            "classes": outputs,
            "pretrained": False,
        }
        fills = {name: value for name, value in here.items() if name in wants}
        if "kwargs" in wants:  # hands on what the class above takes
            fills |= {name: here[name] for name in ("spatial_dims", "in_channels", "out_channels")}
        if network.startswith(("ResNet", "resnet", "SENet", "SEResNet", "SEResNext")):
            fills.pop("out_channels", None)
        return _built(self.name, network, lambda: known[network](**{**fills, **options}))


LIBRARIES: dict[str, Library] = {each.name: each for each in (Timm(), Torchvision(), Monai())}


def _built(name: str, network: str, build: Any) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = build()
    except ModelError:
        raise
    except Exception as error:  # a constructor fails in many ways
        reason = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        raise ModelError(f"{name}:{network} cannot be built for these data: {reason}.") from error
    if not isinstance(module, nn.Module):
        raise ModelError(f"{name}:{network} is a {type(module).__name__}, no network.")
    return module
