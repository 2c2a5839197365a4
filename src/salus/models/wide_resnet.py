"""Wide residual networks (Zagoruyko and Komodakis, 2016), the CIFAR-10 classifiers of I-defender."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from salus.models.options import Dropout
from salus.models.signal import together
from salus.options import Words, checked

NARROW = (16, 32, 64)  # channels of the three groups, before they are widened


def _six_n_plus_four(depth: int) -> int:
    if depth < 10 or (depth - 4) % 6:
        raise ValueError("it must be 6n + 4")
    return depth


Depth = Annotated[
    int,
    Field(description="layers with weights"),
    AfterValidator(_six_n_plus_four),
    Words("6n + 4: 10, 16, 22, 28, 34, 40, 46, ..."),
]


class WideResNet(nn.Module):
    """A convolution, three groups of residual blocks at the full, the half and a quarter of the size, and one linear.

    WRN-34-8 is ``depth=34, width=8``, WRN-46-8 ``depth=46, width=8``.

    Args:
        channels: channels of an image.
        classes: number of classes.
        depth: layers with weights, 6n + 4: 10, 16, 22, 28, 34, 40, 46, ...
        width: k, how many times as wide as the narrow network.
        dropout: share of the values that training drops between the two convolutions of a block.

    References:
        Zagoruyko and Komodakis, "Wide residual networks", BMVC 2016, arXiv:1605.07146.
    """

    @checked
    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        depth: Depth = 34,
        width: Annotated[int, Field(ge=1, description="how many times as wide as the narrow network")] = 8,
        dropout: Dropout = 0.0,
    ) -> None:
        super().__init__()
        blocks = (depth - 4) // 6
        widths = [size * width for size in NARROW]
        self.stem = nn.Conv2d(channels, NARROW[0], 3, padding=1, bias=False)
        groups = []
        for before, after, stride in zip((NARROW[0], *widths[:-1]), widths, (1, 2, 2), strict=True):
            first = _Block(before, after, stride, dropout)
            groups.append(nn.Sequential(first, *(_Block(after, after, 1, dropout) for _ in range(blocks - 1))))
        self.groups = nn.Sequential(*groups)
        self.last = nn.Sequential(nn.BatchNorm2d(widths[-1]), nn.ReLU())
        self.head = nn.Linear(widths[-1], classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        together(self)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``[N, K]`` of ``x [N, C, H, W]``."""
        states = self.stem(x.contiguous(memory_format=torch.channels_last))
        states = self.last(self.groups(states))  # [N, 64 width, H / 4, W / 4]
        logits: Tensor = self.head(states.mean(dim=(2, 3)))
        return logits


class _Block(nn.Module):
    """Normalisation, ReLU and convolution, twice, added to the input; widened or halved where these change."""

    def __init__(self, before: int, after: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.BatchNorm2d(before), nn.ReLU())
        self.residual = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
        )
        self.shortcut = None if before == after and stride == 1 else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        states = self.first(x)
        skip = x if self.shortcut is None else self.shortcut(states)
        summed: Tensor = skip + self.residual(states)
        return summed
