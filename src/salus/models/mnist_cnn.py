"""The MNIST network of Carlini and Wagner (2017), which MagNet and MultiMagNet defend: about 99.4% right."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from salus.errors import ModelError
from salus.models.options import Dropout
from salus.models.signal import together
from salus.options import checked

SMALLEST = 16  # pixels: one is left after the second pooling
WIDTHS = (32, 64)
HIDDEN = 200


class MNISTCNN(nn.Module):
    """Twice two unpadded 3x3 convolutions and a pooling, then two linear layers of 200 and one to the classes.

    28x28 pixels become 12x12, then 4x4.

    Args:
        channels: channels of an image.
        height: of an image, 16 or more.
        width: of an image, 16 or more.
        classes: number of classes.
        dropout: share of the values that training drops after the first hidden layer.

    References:
        Carlini and Wagner, "Towards evaluating the robustness of neural networks", IEEE S&P 2017, Table 1;
        Meng and Chen, "MagNet", ACM CCS 2017, Table 1.
    """

    @checked
    def __init__(self, channels: int, height: int, width: int, classes: int, *, dropout: Dropout = 0.5) -> None:
        super().__init__()
        if min(height, width) < SMALLEST:
            raise ModelError(f"Model 'mnist-cnn' takes images of {SMALLEST}x{SMALLEST} or more, not {height}x{width}.")
        self.trunk = nn.Sequential(*_stage(channels, WIDTHS[0]), *_stage(*WIDTHS))
        for _ in WIDTHS:
            height, width = (height - 4) // 2, (width - 4) // 2
        self.hidden = nn.Sequential(
            nn.Linear(WIDTHS[-1] * height * width, HIDDEN),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
        )
        self.head = nn.Linear(HIDDEN, classes)
        together(self)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``[N, K]`` of ``x [N, C, H, W]``."""
        states = self.trunk(x.contiguous(memory_format=torch.channels_last))  # [N, 64, 4, 4] for 28x28
        logits: Tensor = self.head(self.hidden(states.flatten(1)))
        return logits


def _stage(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3), nn.ReLU(), nn.Conv2d(after, after, 3), nn.ReLU(), nn.MaxPool2d(2)]
