"""The two networks of ECG-ATK-GAN: a generator of heartbeats, and a discriminator with three heads.

Both papers describe them (sections 2.1 and 2.2); where they are silent the released code decides, and is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from salus.errors import ModelError
from salus.models.ecg_cnn import Trunk
from salus.models.options import Count, Dropout, Widths
from salus.models.signal import conv, conv_block, spread, together
from salus.options import checked

#: The generator's skip blocks: ``sdc`` of the four-attack paper; ``sda`` of the six-attack paper, which as released,
#: and as its Fig. 2b draws it, is the same block; and ``gated``, our own reading of the word attention.
SkipBlock = Literal["sdc", "sda", "gated"]

#: How the noise enters the generator: as a ``channel`` (the texts), or through a ``dense`` layer (the released code).
Noise = Literal["channel", "dense"]

Stages = Annotated[
    tuple[Count, ...], Field(description="stages, from 1, after which values are dropped too, joined by +")
]

#: Stages after which the released discriminator drops values, the last one beside them.
RELEASED_DROPOUTS = (1, 3)

#: Channels that the released generator makes of the noise.
_NOISE_CHANNELS = 32


class HeadLogits(NamedTuple):
    """What the discriminator's heads say of N beats."""

    real: Tensor  # [N] logits: a recorded beat, not a synthesized one
    attacked: Tensor  # [N, 2] logits: clean, attacked
    classes: Tensor  # [N, K] logits


class Discriminator(nn.Module):
    """A trunk under three heads; as a classifier it answers with the class head.

    The equations write ``D(x, E_y)``, but the discriminator never receives the label. The four-attack paper's
    sigmoid for attacked beats is the softmax of two logits here: the same function of their difference.

    Args:
        classes: number of classes K.
        channels: leads of a beat.
        length: samples of a beat.
        widths: channels of each stage: (16, 32, 128) in the four-attack paper; three stages without widths in the
            six-attack paper; (32, 64, 128, 256) in the released code.
        dropout: share of the trunk's values that training drops before the heads (the released code's 0.2; neither
            text names any).
        dropout_after: stages after which the same share is dropped too; the released code's are
            :data:`RELEASED_DROPOUTS`.

    Raises:
        ModelError: there is no such stage, or it is the last, after which values are dropped anyway.
    """

    @checked
    def __init__(
        self,
        classes: int,
        channels: int = 1,
        length: int = 280,
        *,
        widths: Widths = (32, 64, 128, 256),
        dropout: Dropout = 0.2,
        dropout_after: Stages = (),
    ) -> None:
        super().__init__()
        self.trunk = Trunk(channels, length, widths, kernels=(3, 3))
        for number in dropout_after:
            if number >= len(widths):
                raise ModelError(
                    f"Model 'ecg-atk-gan' has {len(widths)} stages; dropout_after names stage {number}, and may name "
                    f"those before the last."
                )
            stage = self.trunk[number - 1]
            if isinstance(stage, nn.Sequential):
                stage.append(nn.Dropout(dropout))
        self.dropout = nn.Dropout(dropout)
        self.real = nn.Linear(self.trunk.size, 1)
        self.attacked = nn.Linear(self.trunk.size, 2)
        self.classes = nn.Linear(self.trunk.size, classes)

    def judge(self, x: Tensor) -> HeadLogits:
        """Let all heads judge ``x [N, C, L]``."""
        states = self.dropout(self.trunk(x))
        return HeadLogits(self.real(states)[:, 0], self.attacked(states), self.classes(states))

    def forward(self, x: Tensor) -> Tensor:
        """Compute class logits ``[N, K]``; the other heads run too, so that detectors can read them."""
        return self.judge(x).classes


class Generator(nn.Module):
    """Makes beats of a class that resemble given ones: ``G(E'_x, E_y, z)`` of both papers.

    Signal, label (one channel a class) and noise enter as channels. Each of the encoder's stages is a residual
    and a downsampling block; each upsampling block of the decoder is joined, by addition, by what a skip-dilated
    block makes of the encoder's stage of the same length.

    Args:
        classes: number of classes K.
        channels: leads of a beat.
        widths: channels of each stage, both papers' (32, 64, 128).
        skip: ``sdc``, the four-attack paper's skip-dilated convolution, or ``sda``, the six-attack paper's
            skip-dilated attention: the same block, as that paper gives no formula for the attention, and its figure and
            the released code have none. ``gated`` is our own reading of the word: the block's values are weighted by
            a gate between 0 and 1, computed from the same states.
        noise: ``channel``, as the texts have it, or ``dense``: through a linear layer and leaky ReLU into 32 channels,
            as in the released code.
        length: samples of a beat; decides the size of that layer alone.
    """

    def __init__(
        self,
        classes: int,
        channels: int = 1,
        widths: Sequence[int] = (32, 64, 128),
        skip: SkipBlock = "sdc",
        noise: Noise = "channel",
        length: int = 280,
    ) -> None:
        super().__init__()
        self.n_classes = classes
        self.noise = None
        if noise == "dense":
            self.noise = nn.Sequential(nn.Linear(length, length * _NOISE_CHANNELS), nn.LeakyReLU(0.2))
        inner = (widths[0], *widths[:-1])
        self.residual = nn.ModuleList()
        self.down = nn.ModuleList()
        self.skip = nn.ModuleList()
        self.up = nn.ModuleList()
        entering = channels + classes + (1 if self.noise is None else _NOISE_CHANNELS)
        for before, after in zip((entering, *widths[:-1]), widths, strict=True):
            self.residual.append(_Residual(before, after))
            self.down.append(conv_block(after, after, kernel=3, stride=2))
            self.skip.append(_GatedSkip(after) if skip == "gated" else _SkipDilated(after))
        for after, before in zip(reversed(widths), (widths[-1], *reversed(widths[1:])), strict=True):
            self.up.append(_upsampling(before, after))
        self.out = conv(inner[0], channels, kernel=3, bias=True)
        together(self)

    def forward(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Generate beats ``[N, C, L]``, values in (0, 1).

        Args:
            x: recorded beats, clean or attacked, ``[N, C, L]``.
            y: their classes ``[N]``.
            z: noise ``[N, 1, L]``, see :func:`smooth_noise`.
        """
        label = nn.functional.one_hot(y, self.n_classes).to(x.dtype)[:, :, None].expand(-1, -1, x.shape[2])
        if self.noise is not None:
            z = self.noise(z).unflatten(2, (_NOISE_CHANNELS, -1))[:, 0]  # [N, 32, L]
        states = spread(torch.cat([x, label, z], dim=1))  # [N, C + K + 1, 1, L]
        stages = []
        for residual, down, skip in zip(self.residual, self.down, self.skip, strict=True):
            states = residual(states)
            stages.append(skip(states))
            states = down(states)  # [N, width, 1, L / 2]
        for up in self.up:
            beside = stages.pop()
            states = up(states)[..., : beside.shape[-1]] + beside
        beats: Tensor = self.out(states).sigmoid().squeeze(2)
        return beats


def smooth_noise(n: int, length: int, rng: torch.Generator, sigma: float = 3.0) -> Tensor:
    """Draw the generator's noise: values in [0, 1], smoothed by a Gaussian filter, ``[N, 1, L]``.

    Sigma is both papers' 3 samples. The released code draws whole numbers below 1, which are all 0, and so has no
    noise at all; that is not followed.
    """
    reach = int(4 * sigma + 0.5)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    noise = torch.rand(n, 1, length + 2 * reach, generator=rng)
    return nn.functional.conv1d(noise, (kernel / kernel.sum())[None, None])


class _Residual(nn.Module):
    """A convolution, and beside it what normalisation and activation make of it (Fig. 2a)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = conv(before, after, kernel=3)
        self.rest = nn.Sequential(nn.BatchNorm2d(after), nn.LeakyReLU(0.2))

    def forward(self, states: Tensor) -> Tensor:
        fine = self.conv(states)
        joined: Tensor = fine + self.rest(fine)
        return joined


class _SkipDilated(nn.Module):
    """A convolution of kernel 2 and dilation 2, normalised and activated.

    Four-attack paper, section 2.2; Fig. 2b of the six-attack paper; the released code.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.block = conv_block(width, width, kernel=2, dilation=2)

    def forward(self, states: Tensor) -> Tensor:
        dilated: Tensor = self.block(states)
        return dilated


class _GatedSkip(nn.Module):
    """The same, weighted at each position by a gate: ours, in neither paper."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.block = conv_block(width, width, kernel=2, dilation=2)
        self.gate = conv(width, width, kernel=1, bias=True)

    def forward(self, states: Tensor) -> Tensor:
        dilated: Tensor = self.block(states)
        weighted: Tensor = dilated * self.gate(dilated).sigmoid()
        return weighted


def _upsampling(before: int, after: int) -> nn.Sequential:
    """Double the length (a sample more where the encoder's was odd: the caller cuts it off)."""
    up = nn.ConvTranspose2d(
        before, after, (1, 3), stride=(1, 2), padding=(0, 1), output_padding=(0, 1), bias=False
    )  # [N, after, 1, 2 L]
    return nn.Sequential(up, nn.BatchNorm2d(after), nn.LeakyReLU(0.2))
