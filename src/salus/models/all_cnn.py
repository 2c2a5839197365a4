"""The All Convolutional Net (Springenberg et al., 2015), the CIFAR-10 classifier of MagNet and MultiMagNet."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from salus.models.options import Count, Dropout
from salus.models.signal import together
from salus.options import checked

INPUT_DROPOUT = 0.2


class AllCNN(nn.Module):
    """All-CNN-C: nine convolutions, two of them halving the image in the place of pooling, then the mean of each map.

    The paper trains 350 epochs without batch normalisation; with it a few dozen come as far.

    Args:
        channels: channels of an image.
        classes: number of classes.
        widths: channels of the first three convolutions, and of the five that follow.
        dropout: share of the values that training drops after each halving; the image itself loses a fifth, as in
            the paper, unless this is 0.
        batch_norm: whether each convolution but the last is followed by batch normalisation; the paper has none.

    References:
        Springenberg, Dosovitskiy, Brox and Riedmiller, "Striving for simplicity: the all convolutional net", ICLR
        workshop 2015, arXiv:1412.6806, Tables 1 and 2.
    """

    @checked
    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        widths: Annotated[
            tuple[Count, Count], Field(description="channels of the first three convolutions, and of those after them")
        ] = (96, 192),
        dropout: Dropout = 0.5,
        batch_norm: Annotated[
            bool, Field(description="batch normalisation after all convolutions but the last")
        ] = False,
    ) -> None:
        super().__init__()
        narrow, wide = widths

        def conv(before: int, after: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
            layer = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=not batch_norm)
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            return nn.Sequential(layer, *([nn.BatchNorm2d(after)] if batch_norm else []), nn.ReLU())

        self.trunk = nn.Sequential(
            nn.Dropout(INPUT_DROPOUT if dropout else 0.0),
            conv(channels, narrow),
            conv(narrow, narrow),
            conv(narrow, narrow, stride=2),
            nn.Dropout(dropout),
            conv(narrow, wide),
            conv(wide, wide),
            conv(wide, wide, stride=2),
            nn.Dropout(dropout),
            conv(wide, wide),
            conv(wide, wide, kernel=1),
        )
        self.head = nn.Conv2d(wide, classes, 1)
        together(self)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``[N, K]`` of ``x [N, C, H, W]``."""
        states = self.trunk(x.contiguous(memory_format=torch.channels_last))  # [N, 192, H / 4, W / 4]
        logits: Tensor = self.head(states).mean(dim=(2, 3))
        return logits
