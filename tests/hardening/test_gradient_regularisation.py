"""A price on the loss's gradient in the input: what it is on a straight line, and what it does to a network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from salus.attacks import FGSM
from salus.data import Dataset, Provenance, Splits
from salus.errors import OptionError
from salus.hardening import GradientRegularisation, build_method
from salus.hardening.base import HardeningTask
from salus.training import FlipsAndShifts, TrainingOptions, seeded_module, train


def squares(count: int, seed: int = 0) -> Dataset:
    """Points of two classes, told by one value of sixteen; the others mean nothing."""
    rng = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 2
    x = torch.rand(count, 16, generator=rng)
    x[:, 0] = 0.5 + 0.2 * (2 * y - 1) + 0.08 * torch.randn(count, generator=rng)
    return Dataset(x.clamp(0, 1), y, ("a", "b"), Provenance("points", "made here"))


def test_on_a_straight_line_the_price_is_the_squared_slope_of_the_loss() -> None:
    line = nn.Linear(2, 2, bias=False)
    line.weight.data = torch.tensor([[1.0, 0.0], [0.0, -2.0]])
    x, y = torch.tensor([[0.3, 0.3]]), torch.tensor([0])
    wrong = float(line(x).detach().softmax(1)[0, 1])  # the slope of the loss in the logits is (-wrong, wrong)
    expected = wrong**2 * (1.0 + 4.0)
    price = GradientRegularisation(weight=3.0).step_loss(line, x, y, lambda logits, y: logits.new_zeros(()), 0.0, 0)
    assert float(price.detach()) == pytest.approx(3 * expected, rel=1e-5)


def test_it_makes_a_network_s_loss_flatter_and_leaves_samples_alone() -> None:
    data = squares(200)
    before = data.x.clone()
    options = TrainingOptions(epochs=15, patience=15, learning_rate=1e-2, keep="last", balance="none")

    def network(weight: float | None) -> nn.Module:
        module = seeded_module(lambda: nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 2)), 0)
        train(module, data, data, options, recipe=None if weight is None else GradientRegularisation(weight=weight))
        return module

    def steepness(module: nn.Module) -> float:
        x = data.x.clone().requires_grad_()
        loss = nn.functional.cross_entropy(module(x), data.y, reduction="sum")
        (slope,) = torch.autograd.grad(loss, x)
        return float(slope.square().sum(1).mean())

    def robust(module: nn.Module) -> float:
        x_adv: Tensor = FGSM(eps=0.08)(module, data.x, data.y)
        return float((module(x_adv).argmax(1) == data.y).double().mean())

    plain, priced = network(None), network(0.3)
    assert steepness(priced) < steepness(plain) and robust(priced) > robust(plain)
    assert torch.equal(data.x, before)


def test_as_a_method_it_trains_a_network_and_says_what_by(tmp_path: Path) -> None:
    splits = Splits(squares(80), squares(40, 1), squares(20, 2), squares(20, 3))
    method = build_method("gradient-regularisation", {"weight": "0.02"})
    task = HardeningTask(network="mlp", training=TrainingOptions(epochs=2))
    classifier, facts = method.train(splits, task, tmp_path, lambda line: None)
    assert classifier.name == "mlp" and "weight=0.02" in facts["training"]["recipe"]
    again, _ = method.train(splits, task, tmp_path, lambda line: None)
    assert again.fingerprint() == classifier.fingerprint()
    with pytest.raises(OptionError, match="weight"):
        build_method("gradient-regularisation", {"weight": -1})


def test_its_description_tells_trainings_apart() -> None:
    one = GradientRegularisation()
    others = (replace(one, weight=1.0), replace(one, augmentation=FlipsAndShifts()))
    assert len({each.describe() for each in (one, *others)}) == 3
