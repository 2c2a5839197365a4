"""The end-to-end heartbeat network of Shaker et al. (2020), a baseline of the ECG-ATK-GAN papers."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from salus.errors import ModelError
from salus.models.options import Dropout, Width, Widths
from salus.options import checked


class Shaker(nn.Module):
    """Stages of convolution, batch normalisation, ReLU and pooling, then two linear layers.

    **A reading, not a copy.** Of the paper we have the abstract alone: one deep convolutional network that learns
    features, their reduction and the classes together ("end-to-end"), trained on beats that a GAN has balanced
    (:func:`salus.hardening.dc_gan.augment`). Its table of layers was not to be found, so the stages, widths, kernels
    and dropout are a common 1-D network's; whoever has the table sets them by the options.

    Args:
        classes: number of classes.
        channels: leads of a beat.
        length: samples of a beat, 2 to the power of the number of stages or more (16).
        widths: channels of each stage.
        hidden: width of the hidden linear layer.
        dropout: share of the hidden layer's values that training drops before the head.

    References:
        Shaker, Tantawi, Shedeed and Tolba, "Generalization of convolutional neural networks for ECG classification
        using generative adversarial networks", IEEE Access 8:35592-35605, 2020.
    """

    @checked
    def __init__(
        self,
        classes: int,
        channels: int = 1,
        length: int = 280,
        *,
        widths: Widths = (32, 64, 128, 256),
        hidden: Width = 128,
        dropout: Dropout = 0.5,
    ) -> None:
        super().__init__()
        if length < 2 ** len(widths):
            raise ModelError(
                f"Model 'shaker' with {len(widths)} stages takes signals of {2 ** len(widths)} samples or more, "
                f"not {length}."
            )
        stages: list[nn.Module] = []
        for before, after in pairwise((channels, *widths)):
            convolution = nn.Conv1d(before, after, kernel_size=5, padding=2, bias=False)
            stages.append(nn.Sequential(convolution, nn.BatchNorm1d(after), nn.ReLU(), nn.MaxPool1d(2)))
        self.trunk = nn.Sequential(*stages)
        self.hidden = nn.Sequential(nn.Linear(widths[-1] * (length // 2 ** len(widths)), hidden), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``[N, K]`` of ``x [N, C, L]``."""
        states = self.trunk(x).flatten(1)  # [N, widths[-1] * L / 2^stages]
        logits: Tensor = self.head(self.dropout(self.hidden(states)))
        return logits
