"""Models E and F of the Defense-GAN and I-defender papers: the attacker's network, and the one attacked."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from salus.errors import ModelError
from salus.models.options import Count, Hidden
from salus.models.signal import together
from salus.options import Words, checked

KERNELS, STRIDES = (8, 6, 5), (2, 2, 1)  # of model F's convolutions


class ModelE(nn.Module):
    """Fully connected layers on the flattened image.

    Args:
        channels: channels of an image.
        height: of an image.
        width: of an image.
        classes: number of classes.
        hidden: width of each hidden layer.

    References:
        Zheng and Hong, "Robust detection of adversarial attacks by modeling the intrinsic properties of deep neural
        networks", NeurIPS 2018 (I-defender), Table 1; Samangouei, Kabkab and Chellappa,
        "Defense-GAN", ICLR 2018, arXiv:1805.06605.
    """

    @checked
    def __init__(self, channels: int, height: int, width: int, classes: int, *, hidden: Hidden = (200, 200)) -> None:
        super().__init__()
        sizes = (channels * height * width, *hidden)
        layers = [nn.Sequential(nn.Linear(before, after), nn.ReLU()) for before, after in pairwise(sizes)]
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(sizes[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``[N, K]`` of ``x [N, C, H, W]``."""
        logits: Tensor = self.head(self.hidden(x.flatten(1)))
        return logits


class ModelF(nn.Module):
    """Convolutions of 8x8 and 6x6 with stride 2 under one linear layer.

    I-defender's Table 1 has these two. The code released with Defense-GAN, from which I-defender takes its models,
    puts a third between, 128 of 5x5 with stride 1: ``widths=(64, 128, 128)``. As there, the first convolution is
    padded and the others are not; 28x28 pixels become 14x14, 5x5, and 1x1 after the third.

    Args:
        channels: channels of an image.
        height: of an image.
        width: of an image.
        classes: number of classes.
        widths: channels of each convolution, two or three.

    References:
        See :class:`ModelE`.
    """

    @checked
    def __init__(
        self,
        channels: int,
        height: int,
        width: int,
        classes: int,
        *,
        widths: Annotated[
            tuple[Count, ...],
            Field(min_length=2, max_length=3, description="channels of each convolution, joined by +"),
            Words("two or three whole numbers from 1 up, joined by +"),
        ] = (64, 128),
    ) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        sides = [height, width]
        for i, (before, after) in enumerate(zip((channels, *widths[:-1]), widths, strict=True)):
            kernel, stride, padding = KERNELS[i], STRIDES[i], 3 if i == 0 else 0
            stages.append(nn.Sequential(nn.Conv2d(before, after, kernel, stride, padding), nn.ReLU()))
            sides = [(side + 2 * padding - kernel) // stride + 1 for side in sides]
        if min(sides) < 1:
            least = {2: 12, 3: 28}[len(widths)]
            raise ModelError(f"Model 'model-f' takes images of {least}x{least} or more, not {height}x{width}.")
        self.trunk = nn.Sequential(*stages)
        self.head = nn.Linear(widths[-1] * sides[0] * sides[1], classes)
        together(self)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``[N, K]`` of ``x [N, C, H, W]``."""
        states = self.trunk(x.contiguous(memory_format=torch.channels_last))  # [N, 128, 5, 5] for 28x28
        logits: Tensor = self.head(states.flatten(1))
        return logits
