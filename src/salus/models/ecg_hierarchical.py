"""A heartbeat classifier in two stages: shape tells ventricular beats, timing alone premature ones from normal."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d, leaky_relu, softplus

from salus.errors import ModelError
from salus.models.options import Dropout, Width, Widths
from salus.options import checked

#: Figures of ``salus.preprocessing.sinus.TIMING``, and how many of them tell S from N: both intervals and irregularity.
FIGURES, TIMED = 5, 3
#: Steepness with which the second stage begins, so that few steps of training are enough.
_STEEP = 30.0


class ECGHierarchical(nn.Module):
    """Stages as cardiologists define the classes (AAMI: N, S, V, F).

    A supraventricular premature beat has the shape of a normal one and differs in when it comes. So whether a beat is
    supraventricular (N or S), ventricular or a fusion is told by its shape with its timing beside it, and N from S by
    timing alone, with a quadratic function of three figures: no other patient's shapes can be learnt for it, and no
    change of a wave moves it. Logits are logarithms: N and S share the mass of the supraventricular beat, which is
    fixed to 1 before the softmax, so that a ventricular beat teaches the second stage nothing (next to nothing where
    training shifts logits by a share of the prior).

    The last channel holds the figures, as ``salus.preprocessing.sinus`` lays them out; each takes an equal share of
    the samples, whose mean is read, so that no perturbation moves one by more than eps. All others are waves.

    Args:
        classes: number of classes; the first two are told apart by timing.
        channels: waves, and the channel of figures.
        length: samples of a channel.
        widths: channels of each convolution.
        kernel: samples that a convolution sees, of every fourth.
        hidden: width of the layer that sees shape.
        dropout: share of the shape's values that training drops.

    Raises:
        ModelError: there is no wave beside the figures, or there are not three classes at least.
    """

    @checked
    def __init__(
        self,
        classes: int,
        channels: int = 3,
        length: int = 280,
        *,
        widths: Widths = (16, 24, 32),
        kernel: Annotated[int, Field(ge=1, description="samples that a convolution sees, of every fourth")] = 7,
        hidden: Width = 48,
        dropout: Dropout = 0.3,
    ) -> None:
        super().__init__()
        if channels < 2 or classes < 3:
            raise ModelError(
                "Model 'ecg-hierarchical' takes waves and, as last channel, the timing (data option inputs, for "
                f"example departure+second-departure+timing) of three classes or more; the samples have {channels} "
                f"channel{'s' * (channels > 1)} and {classes} classes."
            )
        layers: list[nn.Module] = [nn.AvgPool1d(4)]
        before = channels - 1
        for width in widths:
            groups = math.gcd(4, width)
            layers += [nn.Conv1d(before, width, kernel, padding="same"), nn.GroupNorm(groups, width)]
            layers += [nn.LeakyReLU(0.1), nn.AvgPool1d(2, ceil_mode=True)]
            before = width
        self.trunk = nn.Sequential(*layers)
        self.hidden = nn.Sequential(
            nn.LayerNorm(4 * before), nn.Dropout(dropout), nn.Linear(4 * before, hidden), nn.LeakyReLU(0.1)
        )
        self.figures = nn.BatchNorm1d(FIGURES, affine=False)
        timed = TIMED * (TIMED + 3) // 2
        self.quadratic = nn.BatchNorm1d(timed, affine=False)
        self.premature = nn.Linear(timed, 1)
        seen = hidden + 2 * (FIGURES - 1)  # all figures but irregularity, which says nothing of shape, and squares
        self.between = nn.Linear(seen, 24)
        self.shape = nn.Linear(24, classes - 2)
        self.drop = nn.Dropout(dropout / 2)
        rows, columns = torch.triu_indices(TIMED, TIMED)
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``[N, K]`` of ``x [N, C, L]``."""
        waves = 4 * (x[:, :-1] - 0.5)
        states = adaptive_avg_pool1d(self.trunk(waves), 4).flatten(1)  # [N, 4 * width]
        figures = self.figures(adaptive_avg_pool1d(x[:, -1:], FIGURES)[:, 0])  # [N, 5]
        timed = figures[:, :TIMED]
        products = timed[:, self.rows] * timed[:, self.columns]
        early = _STEEP * self.premature(self.quadratic(torch.cat([timed, products], 1)))  # [N, 1]
        beside = torch.cat([figures[:, :2], figures[:, 3:]], 1)
        states = torch.cat([self.hidden(states), beside, beside.square()], 1)
        shapes = self.shape(leaky_relu(self.between(self.drop(states)), 0.1))  # [N, K - 2]
        return torch.cat([-softplus(early), -softplus(-early), shapes], 1)
