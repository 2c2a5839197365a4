"""Models and data that the tests of the attacks share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

MakeNet = Callable[..., nn.Module]
MakeData = Callable[..., Tensor]


class RowNet(nn.Module):
    """A small smooth network whose rows do not depend on the batch, not even by rounding."""

    def __init__(self, shape: Sequence[int], classes: int, seed: int = 0, scale: float = 1.0) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        width = math.prod(shape)
        self.first = nn.Parameter(torch.randn(width, 8, generator=rng) / width**0.5)
        self.second = nn.Parameter(torch.randn(8, classes, generator=rng) * scale)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh((x.flatten(1)[:, :, None] * self.first).sum(1))  # [N, 8]
        return (hidden[:, :, None] * self.second).sum(1)  # [N, K]


@pytest.fixture(scope="session")
def make_net() -> MakeNet:
    return RowNet


@pytest.fixture(scope="session")
def make_x() -> MakeData:
    def make(n: int, shape: Sequence[int], bounds: tuple[float, float] = (0.0, 1.0), seed: int = 0) -> Tensor:
        values = torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed))
        return (bounds[0] + (bounds[1] - bounds[0]) * values).clamp(*bounds)

    return make


@pytest.fixture(scope="session")
def trained() -> tuple[nn.Module, Tensor, Tensor]:
    """A net that has learnt three noisy classes of curves, and 120 fresh ones of them, x ``[N, 1, 24]``."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv1d(1, 8, 5, padding=2),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.Conv1d(8, 8, 5, padding=2, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.1),
            nn.Linear(96, 3),
        )
        y = torch.arange(600) % 3
        time = torch.linspace(0, 2 * math.pi, 24)
        clean = 0.5 + 0.15 * torch.sin(time * (1 + y[:, None]) + torch.rand(600, 1))
        x = (clean + 0.08 * torch.randn(600, 24)).clamp(0, 1)[:, None]
        optimiser = torch.optim.Adam(net.parameters(), 0.01)
        for _ in range(60):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x[120:]), y[120:], label_smoothing=0.2).backward()
            optimiser.step()
    net.eval().zero_grad()
    assert (net(x[:120]).argmax(1) == y[:120]).float().mean() > 0.9
    return net, x[:120], y[:120]
