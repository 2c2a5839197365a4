"""The loss, the margin and the success that an attack on a bare model reads."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from salus.attacks.objective import LogitObjective, cross_entropy, frozen, logit_margin


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_loss_is_the_cross_entropy(classes: int) -> None:
    logits = torch.randn(20, classes, generator=torch.Generator().manual_seed(0)) * 5
    y = torch.arange(20) % classes
    expected = nn.functional.cross_entropy(logits.double(), y, reduction="none")
    torch.testing.assert_close(cross_entropy(logits, y), expected, rtol=1e-9, atol=1e-12)


def test_a_very_small_loss_keeps_its_digits() -> None:
    losses = cross_entropy(torch.tensor([[0.0, 50.0], [0.0, 100.0], [0.0, 700.0]]), torch.ones(3).long())
    torch.testing.assert_close(losses, torch.tensor([50.0, 100.0, 700.0]).double().neg().exp(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("confidence", [1.0, 1e2, 1e6, 1e30])
def test_the_gradient_points_the_way_of_the_cross_entropy_and_never_vanishes(confidence: float) -> None:
    logits = (torch.tensor([[1.0, 0.5, -1.0, 0.2]]) * confidence).requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(logits, torch.tensor([0])).sum(), logits)
    assert float(gradient[0, 0]) == -1 and float(gradient[0, 1:].sum()) == pytest.approx(1)
    plain = logits.detach().double().requires_grad_()
    loss = nn.functional.cross_entropy(plain, torch.tensor([0]))
    (expected,) = torch.autograd.grad(loss, plain)
    if confidence == 1:
        torch.testing.assert_close(gradient / gradient.norm(), (expected / expected.norm()).float())


def test_the_margin_is_negative_where_the_attacker_has_won() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.0], [1.0, 3.0, 0.0], [2.0, 2.0, 2.0]])
    y = torch.zeros(3, dtype=torch.int64)
    assert logit_margin(logits, y).tolist() == [2, -2, 0]
    leave, reach = LogitObjective(lambda x: x), LogitObjective(lambda x: x, targeted=True)
    assert leave.success(logits, y).tolist() == [False, True, False]
    assert reach.success(logits, y).tolist() == [True, False, True]
    assert leave.margin(logits, y).tolist() == [2, -2, 0] and reach.margin(logits, y).tolist() == [-2, 2, 0]
    assert bool((reach.loss(logits, y) == -leave.loss(logits, y)).all())


def test_frozen_modules_thaw_to_what_they_were() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.BatchNorm1d(2))
    net[1].eval()
    net[0].weight.requires_grad_(False)
    with pytest.raises(ZeroDivisionError), frozen(net, net[0]):
        assert not any(module.training for module in net.modules())
        assert not any(parameter.requires_grad for parameter in net.parameters())
        raise ZeroDivisionError
    assert [module.training for module in net.modules()] == [True, True, False, True]
    assert [parameter.requires_grad for parameter in net.parameters()] == [False, True, True, True]
