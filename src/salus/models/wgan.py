"""The generator and the critic that Defense-GAN stands on, for images, signals and tables.

Images: the WGAN-GP network for MNIST as Defense-GAN's released code has it: a linear layer, three transposed
convolutions of 5x5 that double the size, cut to a quarter of the image after the first, ReLU between, sigmoid at the
end; in the critic three convolutions of stride 2, leaky ReLU and one linear layer. No normalisation, as in the released
settings.

Signals have the same network in one dimension. (ECG-ATK-GAN's generator is no replacement: each stage of its decoder is
joined by what the encoder made of a recorded beat, so that a latent alone makes nothing.) Tables have a perceptron.

References:
    Samangouei, Kabkab and Chellappa, "Defense-GAN", ICLR 2018; released code: kabkabm/defensegan.
    Gulrajani, Ahmed, Arjovsky, Dumoulin and Courville, "Improved training of Wasserstein GANs", NeurIPS 2017.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, leaky_relu, pad

from salus.models.signal import together

_PARITIES = ((0, 0), (0, 1), (1, 0), (1, 1))
_MANY = 128  # samples


class WGANGenerator(nn.Module):
    """Makes samples with values in (0, 1) from latents.

    Args:
        shape: of a sample: ``(C, H, W)``, ``(C, L)`` or ``(F,)``.
        latent: size of a latent.
        width: channels before the last layer; 2 and 4 times as many before.
    """

    def __init__(self, shape: Sequence[int], latent: int = 128, width: int = 64) -> None:
        super().__init__()
        self.shape, self.latent = tuple(shape), latent
        channels, *self.size = _as_image(shape)
        self.seed_shape = (4 * width, *_halve(self.size, 3))
        self.seed = nn.Linear(latent, math.prod(self.seed_shape))
        widths = (4 * width, 2 * width, width)
        kernel, stride, padding = _form(self.size)
        if len(self.shape) == 1:
            self.doublings = nn.ModuleList(nn.Conv2d(*pair, 1) for pair in pairwise((*widths, channels)))
        else:
            spare = (stride[0] - 1, stride[1] - 1)
            cut = [all(side > 1 and side % 2 for side in _halve(self.size, times)) for times in (2, 1)]
            self.doublings = nn.ModuleList(
                (_Cut if odd else nn.ConvTranspose2d)(*pair, kernel, stride, padding, spare)
                for pair, odd in zip(pairwise(widths), cut, strict=True)
            )
            self.doublings.append(_ToFewChannels(width, channels, kernel, stride, padding, spare))
        _draw_weights(self)
        together(self)

    def forward(self, z: Tensor) -> Tensor:
        """Make samples ``[M, *shape]`` from ``z [M, latent]``."""
        states = self.seed(z).unflatten(1, self.seed_shape).contiguous(memory_format=torch.channels_last)
        for number, doubling in enumerate(self.doublings):
            height, width = _halve(self.size, 2 - number)
            states = doubling(states.relu())[..., :height, :width]  # [M, width, H / 4, W / 4], then / 2, then / 1
        made: Tensor = states.sigmoid().reshape(len(z), *self.shape)
        return made


class WGANCritic(nn.Module):
    """Scores samples, higher for what looks recorded (Gulrajani et al., 2017); no sigmoid at the end.

    Args:
        shape: of a sample: ``(C, H, W)``, ``(C, L)`` or ``(F,)``.
        width: channels after the first layer; 2 and 4 times as many after the next two.
    """

    def __init__(self, shape: Sequence[int], width: int = 64) -> None:
        super().__init__()
        channels, *size = self.image_shape = _as_image(shape)
        kernel, stride, padding = _form(size)
        widths = (channels, width, 2 * width, 4 * width)
        self.halvings = nn.ModuleList(nn.Conv2d(*pair, kernel, stride, padding) for pair in pairwise(widths))
        self.head = nn.Linear(widths[-1] * math.prod(_halve(size, 3)), 1)
        _draw_weights(self)
        together(self)

    def forward(self, x: Tensor) -> Tensor:
        """Score ``x [N, *shape]`` with values in [0, 1]; ``[N]``."""
        states = x.reshape(len(x), *self.image_shape).contiguous(memory_format=torch.channels_last)
        for halving in self.halvings:
            states = leaky_relu(halving(states), 0.2)
        scores: Tensor = self.head(states.flatten(1)).squeeze(1)
        return scores


class _Cut(nn.ConvTranspose2d):
    """A transposed convolution that doubles the size, without the last row and column.

    Many samples take four convolutions, one for each parity of rows and columns, and what is cut off is never computed:
    on CPUs up to an eighth of a whole generator's time. Kernel 5, stride 2, padding 2.
    """

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if len(x) < _MANY:
            return super().forward(x)[..., :-1, :-1]
        places = []
        for row, column in _PARITIES:
            taps = self.weight[:, :, row::2, column::2].flip(2, 3).transpose(0, 1)  # [after, before, 3 or 2, 3 or 2]
            places.append(conv2d(x, taps, self.bias, padding=(1 - row, 1 - column)))
        image: Tensor = _Interleave.apply(*places)  # type: ignore[no-untyped-call]
        return image


class _Interleave(torch.autograd.Function):
    """Lays pixels of each parity in their places. Autograd's own way back would copy all of them four times."""

    @staticmethod
    def forward(ctx: Any, *places: Tensor) -> Tensor:
        rows, columns = (places[0].shape[axis] + places[3].shape[axis] for axis in (2, 3))
        image = places[0].new_empty(*places[0].shape[:2], rows, columns).contiguous(memory_format=torch.channels_last)
        for (row, column), pixels in zip(_PARITIES, places, strict=True):
            image[:, :, row::2, column::2] = pixels
        return image

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return tuple(
            gradients[0][:, :, row::2, column::2].contiguous(memory_format=torch.channels_last)
            for row, column in _PARITIES
        )


class _ToFewChannels(nn.ConvTranspose2d):
    """A transposed convolution that doubles the size, computed as a convolution followed by a shuffle of pixels.

    Where few channels leave, CPUs are four to eight times as fast with it: the outputs' places, even and odd, are
    channels of one convolution on the small grid. Kernel 2 k + 1, stride 2, padding k, k even; or 1, 1 and 0.
    """

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        rows, columns = self.stride
        taps = pad(self.weight, (0, columns - 1, 0, rows - 1))
        taps = taps.unflatten(3, (-1, columns)).unflatten(2, (-1, rows)).flip(2, 4)  # [before, after, 3, 2, 3, 2]
        kernel = taps.permute(1, 3, 5, 0, 2, 4).flatten(0, 2)  # [after 2 2, before, 3, 3]
        places = conv2d(x, kernel, padding=(kernel.shape[2] // 2, kernel.shape[3] // 2))
        places = places.unflatten(1, (-1, rows, columns)).permute(0, 1, 4, 2, 5, 3)  # [M, after, H, 2, W, 2]
        image: Tensor = places.flatten(4, 5).flatten(2, 3)
        return image if self.bias is None else image + self.bias[:, None, None]


def _as_image(shape: Sequence[int]) -> tuple[int, ...]:
    """See a signal as an image one pixel high, and a table as one pixel."""
    return (shape[0], *(1,) * (3 - len(shape)), *shape[1:])


def _form(size: Sequence[int]) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Return kernel, stride and padding of every convolution: 5, 2 and 2 along each axis that is one."""
    axes = [(5, 2, 2) if length > 1 else (1, 1, 0) for length in size]
    kernel, stride, padding = ((one, other) for one, other in zip(*axes, strict=True))
    return kernel, stride, padding


def _halve(size: Sequence[int], times: int) -> list[int]:
    """Halve lengths so many times, rounding up."""
    return [-(-length // 2**times) for length in size]


@torch.no_grad()
def _draw_weights(module: nn.Module) -> None:
    """Draw weights as Gulrajani et al. released it: uniform, of He's variance over both directions; biases 0."""
    for part in module.modules():
        if not isinstance(part, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            continue
        weight, ins, outs = part.weight, part.weight[0].numel(), part.weight[:, 0].numel()
        if isinstance(part, nn.Linear):
            variance = 2 / (ins + outs)
        elif isinstance(part, nn.ConvTranspose2d):
            variance = 4 / (outs / math.prod(part.stride) + ins)  # its weight has the input's channels first
        else:
            variance = 4 / (ins + outs / math.prod(part.stride))
        weight.uniform_(-math.sqrt(3 * variance), math.sqrt(3 * variance))
        if part.bias is not None:
            part.bias.zero_()
