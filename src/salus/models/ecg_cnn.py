"""The heartbeat classifier: the trunk of the ECG-ATK-GAN papers' discriminator under one linear head."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from salus.models.options import Dropout, Kernels, Widths
from salus.models.signal import conv_block, spread, together
from salus.options import checked


class Trunk(nn.Sequential):
    """Stages of two convolutions, the second halving the length; from ``[N, C, L]`` to flat states ``[N, size]``.

    Args:
        channels: leads of a beat.
        length: samples of a beat.
        widths: channels of each stage.
        kernels: samples that the two convolutions of a stage see.
    """

    def __init__(self, channels: int, length: int, widths: Sequence[int], kernels: Sequence[int]) -> None:
        stages: list[nn.Module] = []
        for before, after in zip((channels, *widths[:-1]), widths, strict=True):
            kernel, halving = kernels[0], kernels[-1]
            stages.append(nn.Sequential(conv_block(before, after, kernel), conv_block(after, after, halving, stride=2)))
            length = (length + 2 * ((halving - 1) // 2) - halving) // 2 + 1
        super().__init__(*stages)
        self.size = widths[-1] * length
        together(self)

    def forward(self, x: Tensor) -> Tensor:
        """Compute states of ``x [N, C, L]``."""
        states = spread(x)
        for stage in self:
            states = stage(states)  # [N, widths[-1], 1, L / 2^stages]
        return states.flatten(1)


class ECGCNN(nn.Module):
    """A trunk, dropout and one linear layer.

    The text of the six-attack paper has three stages, the four-attack paper gives their widths (16, 32, 128);
    the released code has four (32, 64, 128, 256).

    Args:
        classes: number of classes.
        channels: leads of a beat.
        length: samples of a beat.
        widths: channels of each stage.
        dropout: share of the trunk's values that training drops before the head.
        kernels: samples that the two convolutions of a stage see.
    """

    @checked
    def __init__(
        self,
        classes: int,
        channels: int = 1,
        length: int = 280,
        *,
        widths: Widths = (16, 32, 128),
        dropout: Dropout = 0.2,
        kernels: Kernels = (3, 3),
    ) -> None:
        super().__init__()
        self.trunk = Trunk(channels, length, widths, kernels)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.trunk.size, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``[N, K]`` of ``x [N, C, L]``."""
        logits: Tensor = self.head(self.dropout(self.trunk(x)))
        return logits
