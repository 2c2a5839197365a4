"""The heartbeat classifier: the trunk of the ECG-ATK-GAN papers' discriminator under one linear head."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class ECGCNN(nn.Module):
    """Stages of two convolutions, the second halving the length, then dropout and one linear layer.

    The text of the six-attack paper has three stages, the four-attack paper gives their widths (16, 32, 128);
    the released code has four (32, 64, 128, 256).

    Args:
        classes: number of classes.
        channels: leads of a beat.
        length: samples of a beat.
        widths: channels of each stage.
        dropout: share of the trunk's values that training drops before the head.
    """

    def __init__(
        self,
        classes: int,
        channels: int = 1,
        length: int = 280,
        widths: Sequence[int] = (16, 32, 128),
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for before, after in zip((channels, *widths[:-1]), widths, strict=True):
            stages.append(nn.Sequential(*_block(before, after, stride=1), *_block(after, after, stride=2)))
            length = (length + 1) // 2
        self.trunk = nn.Sequential(*stages)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1] * length, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``[N, K]`` of ``x [N, C, L]``."""
        states = self.trunk(x).flatten(1)  # [N, widths[-1] * L / 2^stages]
        logits: Tensor = self.head(self.dropout(states))
        return logits


def _block(before: int, after: int, stride: int) -> tuple[nn.Module, ...]:
    conv = nn.Conv1d(before, after, kernel_size=3, stride=stride, padding=1, bias=False)
    return conv, nn.BatchNorm1d(after), nn.LeakyReLU(0.2)
