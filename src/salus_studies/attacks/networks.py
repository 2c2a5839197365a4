"""The networks that are judged: small enough that thousands of passes of some hundred samples take seconds."""

from __future__ import annotations

import math

from torch import Tensor, nn


class PatchNet(nn.Module):
    """A convolution over patches that do not overlap, and a perceptron on what it gives; for signals or images.

    Args:
        shape: of a sample, ``(C, L)`` or ``(C, H, W)``, its sides multiples of the patch's.
        classes: number of classes.
        patch: side of a patch.
        channels: that the convolution makes of each patch.
        hidden: width of the hidden layer.
    """

    def __init__(
        self, shape: tuple[int, ...], classes: int, *, patch: int, channels: int = 16, hidden: int = 64
    ) -> None:
        super().__init__()
        self.patch = patch
        sides = shape[1:]
        inside = shape[0] * patch ** len(sides)
        count = math.prod(side // patch for side in sides)
        self.convolution = nn.Sequential(nn.Linear(inside, channels), nn.ReLU())
        self.trunk = nn.Sequential(nn.Linear(count * channels, hidden), nn.ReLU())
        self.head = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``[N, K]`` of ``x [N, C, ...]``."""
        states = self.convolution(self.cut(x)).flatten(1)
        logits: Tensor = self.head(self.trunk(states))
        return logits

    def cut(self, x: Tensor) -> Tensor:
        """Cut samples into patches ``[N, P, C * patch^D]``."""
        count, channels, *sides = x.shape
        pieces = [size for side in sides for size in (side // self.patch, self.patch)]
        cut = x.reshape(count, channels, *pieces)
        places, inside = range(2, cut.ndim, 2), range(3, cut.ndim, 2)
        return cut.permute(0, *places, 1, *inside).flatten(1, len(sides)).flatten(2)
