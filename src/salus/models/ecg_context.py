"""A heartbeat classifier that sees what surrounds the beat: waves through a trunk, the rhythm beside them."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d

from salus.errors import ModelError
from salus.models.ecg_cnn import Trunk
from salus.models.options import Dropout, Kernels, Width, Widths
from salus.options import checked


class ECGContext(nn.Module):
    """Two branches under one head.

    The last channel holds figures, as ``salus.preprocessing.context`` lays out its channel ``rhythm``: each takes an
    equal share of the samples. They are averaged back to numbers, so that no perturbation moves one by more than eps.
    All other channels are waves.

    Args:
        classes: number of classes.
        channels: waves and the channel of figures.
        length: samples of a channel.
        widths: channels of each stage of the trunk.
        kernels: samples that the two convolutions of a stage see.
        positions: to how many positions the trunk's last stage is averaged.
        hidden: width of each branch before the head.
        dropout: share of a branch's values that training drops, of the waves.
        figures: how many figures the last channel holds.

    Raises:
        ModelError: there is no wave beside the figures.
    """

    @checked
    def __init__(
        self,
        classes: int,
        channels: int = 2,
        length: int = 280,
        *,
        widths: Widths = (16, 32, 64, 128),
        kernels: Kernels = (7, 5),
        positions: Annotated[int, Field(ge=1, description="positions that the last stage is averaged to")] = 18,
        hidden: Width = 128,
        dropout: Dropout = 0.2,
        figures: Annotated[int, Field(ge=1, description="figures that the last channel holds")] = 14,
    ) -> None:
        super().__init__()
        if channels < 2:
            raise ModelError(
                "Model 'ecg-context' takes waves and, as last channel, the rhythm (data option inputs, for example "
                f"beat+rhythm); the samples have {channels} channel."
            )
        self.figures, self.positions = figures, positions
        self.trunk = Trunk(channels - 1, length, widths, kernels)
        self.width = widths[-1]
        self.waves = nn.Sequential(nn.Dropout(dropout), *_dense(self.width * positions, hidden), nn.Dropout(dropout))
        self.rhythm = nn.Sequential(nn.BatchNorm1d(figures), *_dense(figures, hidden))
        self.hidden = nn.Sequential(*_dense(2 * hidden, hidden))
        self.head = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``[N, K]`` of ``x [N, C, L]``."""
        states = self.trunk(x[:, :-1]).unflatten(1, (self.width, -1))  # [N, width, L / 2^stages]
        waves = self.waves(adaptive_avg_pool1d(states, self.positions).flatten(1))
        rhythm = self.rhythm(adaptive_avg_pool1d(x[:, -1:], self.figures)[:, 0])
        logits: Tensor = self.head(self.hidden(torch.cat([waves, rhythm], dim=1)))
        return logits


def _dense(before: int, after: int) -> tuple[nn.Module, ...]:
    return nn.Linear(before, after), nn.BatchNorm1d(after), nn.LeakyReLU(0.2)
