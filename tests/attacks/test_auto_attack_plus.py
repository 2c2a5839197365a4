"""AutoAttackPlus: AutoAttack's reach in a fifth of its passes, also where gradients are hidden."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salus.attacks import APGD, AutoAttack, AutoAttackPlus, auto_attack_plus
from salus.attacks.straight_through import StraightThrough


class Passes(nn.Module):
    """Counts rows that go forward and rows that come back."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.count = net, 0

    def forward(self, x: Tensor) -> Tensor:
        self.count += len(x)
        logits: Tensor = self.net(x)
        if logits.requires_grad:
            logits.register_hook(self.back)
        return logits

    def back(self, gradient: Tensor) -> None:
        self.count += len(gradient)


class Hidden(nn.Module):
    """A network that hides its gradients in one way."""

    def __init__(self, net: nn.Module, way: str) -> None:
        super().__init__()
        self.net, self.way = net, way

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "quantised inputs":
            return self.net((x * 31).round() / 31)  # type: ignore[no-any-return]
        if self.way == "huge logits":
            return 3000 * self.net(x)  # type: ignore[no-any-return]
        if self.way == "steps":
            return (self.net(x) * 16).floor() / 16  # type: ignore[no-any-return]
        return self.net(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("way", ["none", "quantised inputs", "huge logits", "steps"])
def test_it_is_as_strong_as_autoattack_whatever_hides_the_gradients(way: str, trained: Any) -> None:
    net, x, y = trained
    model = Hidden(net, way)
    reference, ours = (
        ~attack.run(model, x[:12], y[:12]).success
        for attack in (AutoAttack(eps=0.08, steps=25, square_queries=200), AutoAttackPlus(eps=0.08, square_queries=100))
    )
    assert int(ours.sum()) <= int(reference.sum()) and 0 < int(ours.sum()) < 12


@pytest.mark.parametrize("classes", [2, 3, 4, 10])
def test_who_stands_costs_at_most_a_fifth_of_autoattacks_passes(classes: int, make_net: Any, make_x: Any) -> None:
    net, x = make_net((7,), classes), make_x(2, (7,))
    counted = Passes(net)
    found = AutoAttackPlus(eps=1e-6).run(counted, x, net(x).argmax(1))
    reference = AutoAttack(eps=1e-6).cost(classes)
    assert reference is not None and not bool(found.success.any())
    assert counted.count / len(x) <= (reference.forward + reference.backward) / 5


def test_a_model_without_any_slope_gets_the_queries_of_autoattack(
    trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto_attack_plus, "_QUERIES", 150)
    net, x, y = trained

    def saturated(batch: Tensor) -> Tensor:
        return (net(batch) * 1e5).clamp(-1, 1) + 0.0 * batch.flatten(1)[:, :1]  # type: ignore[no-any-return]

    right = (saturated(x).argmax(1) == y).nonzero()[:1, 0]
    found = AutoAttackPlus(eps=1e-4, square_queries=20).run(saturated, x[right], y[right])
    assert int(found.queries.max()) > 140


@pytest.mark.parametrize("name", ["round", "floor", "ceil", "trunc", "sign"])
def test_rounding_keeps_its_values_and_passes_gradients_on(name: str) -> None:
    x = torch.tensor([-1.7, -0.2, 0.0, 0.5, 2.3], requires_grad=True)
    for function in (getattr(torch, name), getattr(Tensor, name)):
        with StraightThrough():
            made = function(3 * x)
            (slope,) = torch.autograd.grad(made.sum(), x)
        assert torch.equal(made, function(3 * x.detach())) and torch.equal(slope, torch.full_like(x, 3))
        assert not torch.autograd.grad(function(3 * x).sum(), x)[0].any()


@pytest.mark.parametrize("targets", [None, 2])
def test_apgd_climbs_the_probability_margin_also_of_huge_logits(targets: int | None, trained: Any) -> None:
    net, x, y = trained
    plain, huge = (
        APGD(eps=0.08, loss="pma", targets=targets, ranking="malt", steps=30).run(model, x[:16], y[:16]).success
        for model in (net, lambda batch: 1e4 * net(batch))
    )
    reference = APGD(eps=0.08, loss="dlr", steps=30).run(net, x[:16], y[:16]).success
    assert int(plain.sum()) >= int(reference.sum()) - 1 and int(huge.sum()) >= int(reference.sum()) - 1
