"""The noise-to-signal ratio: what it is on a straight line, what it does to a network, and that it changes no input."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from salus.attacks import PGD
from salus.data import Dataset, Provenance
from salus.hardening import NoiseToSignal, noise_to_signal
from salus.training import TrainingOptions, seeded_module, train


def test_on_a_straight_line_the_ratio_is_eps_times_the_slope_over_the_margin() -> None:
    line = nn.Linear(2, 2, bias=False)
    line.weight.data = torch.tensor([[1.0, 0.0], [0.0, -2.0]])
    x, y = torch.tensor([[0.5, 0.25], [0.1, -0.4]]), torch.tensor([0, 0])
    # Margins are 1 and -0.7; the slope of a margin is (1, 2), so a change of 0.1 adds 0.3. The second is wrong.
    loss = noise_to_signal(0.1, weight=2.0).step_loss(line, x, y, lambda logits, y: logits.new_zeros(()), 0.0, 0)
    assert float(loss.detach()) == pytest.approx(2 * math.log1p(0.3) / 2)


def test_it_makes_a_network_harder_to_fool_and_leaves_samples_alone() -> None:
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(400) % 2
    x = (
        0.5
        + 0.12 * (2 * y[:, None] - 1) * torch.tensor([1.0, 0.3, 0.3, 0.3])
        + 0.08 * torch.randn(400, 4, generator=rng)
    )
    x = torch.cat([x, torch.rand(400, 12, generator=rng)], 1).clamp(0, 1)  # and twelve features that mean nothing
    data = Dataset(x, y, ("a", "b"), Provenance("points", "made here"))
    before = x.clone()
    options = TrainingOptions(epochs=30, patience=30, learning_rate=1e-2, keep="last", balance="none")

    def robust(weight: float | None) -> float:
        module = seeded_module(lambda: nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 2)), 0)
        recipe = None if weight is None else noise_to_signal(0.1, weight=weight)
        train(module, data, data, options, recipe=recipe)
        x_adv: Tensor = PGD(eps=0.1, steps=20)(module, x, y)
        return float((module(x_adv).argmax(1) == y).double().mean())

    assert robust(1.0) > robust(None) + 0.1
    assert torch.equal(x, before)


def test_its_description_tells_trainings_apart() -> None:
    one = noise_to_signal(0.1)
    assert isinstance(one, NoiseToSignal)
    assert one.describe() != replace(one, weight=0.5).describe()
