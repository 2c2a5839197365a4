"""Autoencoders of images, signals and tables: ten of each kind, for MagNet and MultiMagNet to draw from.

References:
    Meng and Chen, "MagNet: a two-pronged defense against adversarial examples", CCS 2017, Table 2.
    Machado, Goldschmidt and Silva, "MultiMagNet", ICEIS 2019, Section 5.2 and the code released with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from salus.errors import ModelError
from salus.models.registry import KINDS
from salus.models.signal import conv, together

Step = int | float | str
Activation = Literal["sigmoid", "relu", "elu", "tanh"]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "tanh": nn.Tanh,
}


@dataclass(frozen=True, kw_only=True)
class AutoencoderSpec:
    """One autoencoder: its form, and how it is trained.

    Attributes:
        name: of the member in a repository.
        structure: the encoder in MagNet's notation, which the decoder mirrors. For images and signals a number is a
            convolution of so many filters, ``average`` and ``max`` halve every side; for tables a number is a layer
            whose width is this multiple of the number of features.
        activation: after every layer but the last, which ends in a sigmoid.
        noise: standard deviation of the Gaussian noise on what it sees while training, as a share of the range of
            values.
        loss: ``mse`` or ``mae`` between the reconstruction and the sample without noise.
        kernel: pixels, or points in time, on each side of a convolution.
        batch_norm: batch normalisation before every activation but the last. For images and signals.
        ending: what stands behind the last convolution: a ``sigmoid``, or ``twice`` one with batch normalisation
            between the two, as in MultiMagNet's released decoders for CIFAR-10. For images and signals.
    """

    name: str
    structure: tuple[Step, ...]
    activation: Activation = "relu"
    noise: float = 0.1
    loss: Literal["mse", "mae"] = "mse"
    kernel: int = 3
    batch_norm: bool = False
    ending: Literal["sigmoid", "twice"] = "sigmoid"

    def decisive(self) -> dict[str, Any]:
        """Return all that decides its form and training, as plain values; newer fields only where they are used."""
        fields = asdict(self)
        for name, unused in (("batch_norm", False), ("ending", "sigmoid")):
            if fields[name] == unused:
                del fields[name]
        return fields


#: The first two are MagNet's for MNIST, relu and max are MultiMagNet's; noisy, two-pools, wide and deep are its larger
#: ones at half their width.
IMAGES = (
    AutoencoderSpec(name="magnet-1", structure=(3, "average", 3), activation="sigmoid"),
    AutoencoderSpec(name="magnet-2", structure=(3,), activation="sigmoid"),
    AutoencoderSpec(name="relu", structure=(3,), noise=0.2),
    AutoencoderSpec(name="max", structure=(5, "max", 5), activation="sigmoid", noise=0.3),
    AutoencoderSpec(name="tanh", structure=(8, "average", 8), activation="tanh", loss="mae"),
    AutoencoderSpec(name="elu", structure=(8, 8), activation="elu", noise=0.05, loss="mae", kernel=5),
    AutoencoderSpec(name="noisy", structure=(16, "average", 16, "average"), noise=0.5),
    AutoencoderSpec(name="two-pools", structure=(16, "average", 32, "average")),
    AutoencoderSpec(name="wide", structure=(16, "average", 32, "average", 64), noise=0.0),
    AutoencoderSpec(name="deep", structure=(16, "max", 32, "average", 64, "average"), activation="elu", noise=0.0),
)

#: Their counterparts over time: longer kernels, fewer filters, so that five cost less than three passes of ``ecg-cnn``.
SIGNALS = (
    AutoencoderSpec(name="magnet-1", structure=(3, "average", 3), activation="sigmoid", noise=0.05, kernel=7),
    AutoencoderSpec(name="magnet-2", structure=(3,), activation="sigmoid", noise=0.05, kernel=7),
    AutoencoderSpec(name="relu", structure=(4,), noise=0.1, kernel=9),
    AutoencoderSpec(name="max", structure=(8, "max", 8), activation="sigmoid", noise=0.1, kernel=5),
    AutoencoderSpec(name="tanh", structure=(4, "average", 8), activation="tanh", noise=0.02, loss="mae", kernel=9),
    AutoencoderSpec(name="elu", structure=(4, 4), activation="elu", noise=0.02, loss="mae", kernel=5),
    AutoencoderSpec(name="noisy", structure=(8, "average", 16, "average"), noise=0.2, kernel=5),
    AutoencoderSpec(name="two-pools", structure=(8, "average", 16, "average"), noise=0.05, kernel=5),
    AutoencoderSpec(name="wide", structure=(8, "average", 16, "average", 32), noise=0.0, kernel=5),
    AutoencoderSpec(
        name="deep", structure=(8, "max", 16, "average", 16, "average", 32), activation="elu", noise=0.0, kernel=5
    ),
)

#: Tables have no neighbourhoods: layers instead of convolutions.
TABLES = (
    AutoencoderSpec(name="narrow", structure=(0.5,), activation="sigmoid"),
    AutoencoderSpec(name="even", structure=(1.0,), activation="sigmoid"),
    AutoencoderSpec(name="relu", structure=(2.0,), noise=0.05),
    AutoencoderSpec(name="broad", structure=(4.0,), activation="sigmoid", noise=0.2),
    AutoencoderSpec(name="tanh", structure=(2.0, 0.5), activation="tanh", noise=0.05, loss="mae"),
    AutoencoderSpec(name="elu", structure=(2.0, 2.0), activation="elu", noise=0.05, loss="mae"),
    AutoencoderSpec(name="noisy", structure=(4.0, 1.0), noise=0.3),
    AutoencoderSpec(name="two-layers", structure=(4.0, 1.0), noise=0.02),
    AutoencoderSpec(name="wide", structure=(8.0, 0.75), noise=0.0),
    AutoencoderSpec(name="deep", structure=(4.0, 2.0, 0.75), activation="elu", noise=0.0),
)

#: Ten of each kind of data.
SPECS = {"table": TABLES, "signal": SIGNALS, "image": IMAGES}


class ConvolutionalAutoencoder(nn.Module):
    """An encoder of convolutions and pooling, and its mirror image.

    Takes images ``[N, C, H, W]`` or signals ``[N, C, L]``, which run through as images one pixel high.
    Sides of any size are kept: where one is odd, pooling rounds up and the decoder crops.

    Args:
        shape: of one sample.
        spec: its form.
    """

    def __init__(self, shape: Sequence[int], spec: AutoencoderSpec) -> None:
        super().__init__()
        self.over_time = len(shape) == 2
        self.structure = spec.structure
        self.activation = ACTIVATIONS[spec.activation]()
        filters = [step for step in spec.structure if isinstance(step, int)]
        widths = [shape[0], *filters, *reversed(filters)]
        self.layers = nn.ModuleList(
            self._convolution(before, after, spec.kernel)
            for before, after in zip(widths, [*widths[1:], shape[0]], strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:]) if spec.batch_norm else None
        self.ending = nn.Sequential(nn.BatchNorm2d(shape[0]), nn.Sigmoid()) if spec.ending == "twice" else None
        together(self)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct ``x``, values in [0, 1], in the same shape; values in [0, 1]."""
        states = (x.unsqueeze(2) if self.over_time else x).contiguous(memory_format=torch.channels_last)
        layers, norms, sizes = iter(self.layers), iter(self.norms or ()), []
        for step in self.structure:
            if isinstance(step, str):
                sizes.append(states.shape[2:])
                states = self._pool(states, step)
            else:
                states = self._layer(layers, norms, states)
        for step in reversed(self.structure):
            pooled = isinstance(step, str)
            states = self._unpool(states, sizes.pop()) if pooled else self._layer(layers, norms, states)
        made = torch.sigmoid(next(layers)(states)).contiguous()
        made = made if self.ending is None else self.ending(made)
        return made.squeeze(2) if self.over_time else made

    def _layer(self, layers: Iterator[nn.Module], norms: Iterator[nn.Module], states: Tensor) -> Tensor:
        """Convolve, normalise where it is asked for, and activate."""
        states = next(layers)(states)
        activated: Tensor = self.activation(states if self.norms is None else next(norms)(states))
        return activated

    def _convolution(self, before: int, after: int, kernel: int) -> nn.Conv2d:
        if self.over_time:
            return conv(before, after, kernel, bias=True)
        return nn.Conv2d(before, after, kernel, padding=kernel // 2)

    def _pool(self, states: Tensor, how: str) -> Tensor:
        """Halve every side; by slices, which on CPUs are several times as fast as PyTorch's pooling."""
        for axis in (3,) if self.over_time else (2, 3):
            if states.shape[axis] % 2:  # the last one is its own partner
                states = torch.cat([states, states.narrow(axis, -1, 1)], axis)
            even, odd = states.unflatten(axis, (-1, 2)).unbind(axis + 1)
            states = torch.lerp(even, odd, 0.5) if how == "average" else torch.maximum(even, odd)
        return states

    def _unpool(self, states: Tensor, size: torch.Size) -> Tensor:
        """Double every side by repetition, and crop; by copies of whole runs of memory, for the same reason."""
        pixels = states.permute(0, 2, 3, 1)  # [N, H, W, C]
        count, height, width, channels = pixels.shape
        rows = torch.cat([pixels, pixels], 3).reshape(count, height, 2 * width * channels)
        rows = rows if self.over_time else torch.cat([rows, rows], 2)
        doubled = rows.reshape(count, -1, 2 * width, channels).permute(0, 3, 1, 2)
        return doubled[..., : size[0], : size[1]]


class DenseAutoencoder(nn.Module):
    """An encoder of linear layers and its mirror image, for tables ``[N, F]``.

    Args:
        features: of a sample.
        spec: its form.
    """

    def __init__(self, features: int, spec: AutoencoderSpec) -> None:
        super().__init__()
        encoder = [max(1, round(share * features)) for share in spec.structure if not isinstance(share, str)]
        widths = [features, *encoder, *reversed(encoder[:-1]), features]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), ACTIVATIONS[spec.activation]()]
        self.layers = nn.Sequential(*layers[:-1], nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct ``x [N, F]``, values in [0, 1]; values in [0, 1]."""
        made: Tensor = self.layers(x)
        return made


def build_autoencoder(shape: Sequence[int], spec: AutoencoderSpec) -> nn.Module:
    """Build an autoencoder for samples of a shape; without batch normalisation it starts near the identity.

    Raises:
        ModelError: the spec does not suit the shape.
    """
    kind = KINDS.get(len(shape))
    if kind not in ("table", "signal", "image") or min(shape) < 1:
        raise ModelError(
            f"There are no autoencoders for samples of shape {list(shape)}: give tables, signals or images."
        )
    _check(spec, table=kind == "table")
    module = DenseAutoencoder(shape[0], spec) if kind == "table" else ConvolutionalAutoencoder(shape, spec)
    if spec.batch_norm or spec.ending != "sigmoid":
        _start_plainly(module)  # normalisation would undo the identity
    else:
        _start_near_identity(module, spec.activation)
    return module


def _check(spec: AutoencoderSpec, *, table: bool) -> None:
    """Refuse a spec, read from a file perhaps, that cannot be built."""
    numbers = [step for step in spec.structure if not isinstance(step, str)]
    words = {step for step in spec.structure if isinstance(step, str)}
    fits = bool(numbers) and all(step > 0 for step in numbers)
    fits = fits and (not words if table else words <= {"average", "max"} and all(type(n) is int for n in numbers))
    fits = fits and spec.activation in ACTIVATIONS and spec.kernel > 0 and spec.kernel % 2 == 1
    fits = fits and spec.ending in ("sigmoid", "twice") and not (table and (spec.batch_norm or spec.ending == "twice"))
    if not (fits and spec.loss in ("mse", "mae") and spec.noise >= 0):
        raise ModelError(f"The autoencoder {spec.name!r} cannot be built: its spec {spec} will not do.")


def _start_plainly(module: nn.Module) -> None:
    """Draw the weights as Keras does, which the released ones were trained by (Glorot and Bengio, 2010)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _start_near_identity(module: nn.Module, activation: str) -> None:
    """Draw the weights around those that hand the first channels on as they are.

    From purely random weights an autoencoder of mostly black images answers black for its first epochs, and one
    trained by absolute errors for ever.
    """
    layers = [part for part in module.modules() if isinstance(part, (nn.Linear, nn.Conv2d))]
    for layer in layers:
        # A sigmoid of slope s at 1/2 maps [0, 1] onto most of itself.
        slope = 8.0 if layer is layers[-1] else 4.0 if activation == "sigmoid" else 1.0
        weight = layer.weight.data
        identity = (nn.init.dirac_ if weight.ndim == 4 else nn.init.eye_)(torch.empty_like(weight))
        nn.init.xavier_uniform_(weight, gain=slope / 2).add_(slope * identity)
        nn.init.constant_(layer.bias, -slope / 2 if slope > 1 else 0.0)  # type: ignore[arg-type]
