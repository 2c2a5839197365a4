"""A small convolutional network for images of any size from 8x8 up."""

from __future__ import annotations

from torch import Tensor, nn

from salus.models.options import Width, Widths
from salus.options import checked


class SmallCNN(nn.Module):
    """Stages of convolution, batch normalisation and ReLU with pooling between, then two linear layers.

    Args:
        channels: channels of an image.
        classes: number of classes.
        widths: channels of each stage.
        hidden: width of the hidden linear layer.
    """

    @checked
    def __init__(self, channels: int, classes: int, *, widths: Widths = (32, 64, 128), hidden: Width = 64) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for i, (before, after) in enumerate(zip((channels, *widths[:-1]), widths, strict=True)):
            conv = nn.Conv2d(before, after, kernel_size=3, padding=1, bias=False)
            stages.append(nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU()))
            if i < len(widths) - 1:
                stages.append(nn.MaxPool2d(2, ceil_mode=True))
        self.trunk = nn.Sequential(*stages)
        self.hidden = nn.Sequential(nn.Linear(widths[-1], hidden), nn.ReLU())
        self.head = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``[N, K]`` of ``x [N, C, H, W]``."""
        pooled = self.trunk(x).mean(dim=(2, 3))  # [N, widths[-1]]
        logits: Tensor = self.head(self.hidden(pooled))
        return logits
