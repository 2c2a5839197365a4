"""A generator and a discriminator of heartbeats: the DC-GAN that Shaker et al. (2020) balance classes with.

**A reading, not a copy.** Their table of layers was not to be found. This is the DC-GAN of Radford et al. (2016) in
one dimension: strides instead of pooling, batch normalisation except at both ends, ReLU in the generator and
leaky ReLU in the discriminator, weights drawn from N(0, 0.02). The generator ends in a sigmoid where Radford's ends
in tanh, because beats lie in [0, 1].

References:
    Shaker, Tantawi, Shedeed and Tolba, IEEE Access 8:35592-35605, 2020.
    Radford, Metz and Chintala, "Unsupervised representation learning with deep convolutional generative adversarial
    networks", ICLR 2016, Section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class DCGenerator(nn.Module):
    """One linear layer, then transposed convolutions that double the length, cropped to the length asked for.

    Args:
        channels: leads of a beat.
        length: samples of a beat.
        latent: size of the noise that a beat is made from.
        widths: channels before each doubling.
    """

    def __init__(
        self, channels: int = 1, length: int = 280, latent: int = 100, widths: Sequence[int] = (128, 64, 32)
    ) -> None:
        super().__init__()
        self.latent, self.length = latent, length
        self.seed_shape = (widths[0], -(-length // 2 ** len(widths)))
        self.seed = nn.Linear(latent, self.seed_shape[0] * self.seed_shape[1])
        layers: list[nn.Module] = []
        for before, after in pairwise((*widths, channels)):
            doubling = nn.ConvTranspose1d(before, after, kernel_size=4, stride=2, padding=1)
            layers += [nn.BatchNorm1d(before), nn.ReLU(), doubling]
        self.trunk = nn.Sequential(*layers, nn.Sigmoid())
        self.apply(_draw_weights)

    def forward(self, z: Tensor) -> Tensor:
        """Make beats ``[N, C, L]`` in [0, 1] from noise ``z [N, latent]``."""
        states = self.seed(z).unflatten(1, self.seed_shape)  # [N, widths[0], L / 2^doublings]
        beats: Tensor = self.trunk(states)[..., : self.length]  # [N, C, L]
        return beats


class DCDiscriminator(nn.Module):
    """Convolutions that halve the length, then one linear layer.

    Args:
        channels: leads of a beat.
        length: samples of a beat.
        widths: channels after each halving.
    """

    def __init__(self, channels: int = 1, length: int = 280, widths: Sequence[int] = (32, 64, 128)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise((channels, *widths)):
            layers.append(nn.Conv1d(before, after, kernel_size=5, stride=2, padding=2))
            if len(layers) > 1:  # what sees the beat itself is not normalised
                layers.append(nn.BatchNorm1d(after))
            layers.append(nn.LeakyReLU(0.2))
            length = (length + 1) // 2
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1] * length, 1)
        self.apply(_draw_weights)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``[N]`` of ``x [N, C, L]``, above 0 for what looks real."""
        logits: Tensor = self.head(self.trunk(x).flatten(1)).squeeze(1)
        return logits


@torch.no_grad()
def _draw_weights(part: nn.Module) -> None:
    if isinstance(part, (nn.Conv1d, nn.ConvTranspose1d, nn.Linear)):
        part.weight.normal_(0.0, 0.02)
        if part.bias is not None:
            part.bias.zero_()
    elif isinstance(part, nn.BatchNorm1d):
        part.weight.normal_(1.0, 0.02)
