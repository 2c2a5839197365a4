"""What an attack came to is judged by one look at the guard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from salus.attacks import PGD
from salus.classifier import Classifier
from salus.guard import Guard
from salus.purifiers import BitDepth
from salus.threats import GuardObjective, gray_box
from salus.threats.worst import fallen, judged

if TYPE_CHECKING:
    from conftest import Toy


def test_an_outlook_is_the_view_and_the_chances(toy: Toy) -> None:
    guard = Guard(toy.classifier, toy.guard(0.05).detectors, BitDepth(bits=4))
    x = toy.test.x[:30]
    view, chances = guard.outlook(x)
    assert torch.equal(view.logits, guard.view(x).logits) and torch.equal(chances, guard.chances(x))
    assert not view.logits.requires_grad


def test_judging_takes_one_pass_of_the_classifier(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    guard, passes = toy.guard(0.05), [0]
    x, y = toy.test.x[:30], toy.test.y[:30]
    expected = GuardObjective(guard).evaluate(x, y).margin.detach().double()
    forward = Classifier.forward

    def counted(self: Classifier, x: torch.Tensor) -> Any:
        passes[0] += len(x)
        return forward(self, x)

    monkeypatch.setattr(Classifier, "forward", counted)
    margin, chance = judged(GuardObjective(guard), guard, x, y, y, targeted=False)
    assert passes[0] == 30
    assert torch.allclose(margin, expected) and set(chance.tolist()) <= {0.0, 1.0}


def test_what_is_known_of_a_guard_that_draws_nothing_is_its_verdict(toy: Toy) -> None:
    guard = toy.guard(0.05)
    x, y = toy.test.x[:30], toy.test.y[:30]
    result = gray_box(PGD(eps=0.3, steps=5), guard, x, y)
    assert torch.equal(result.success, fallen(guard, result.x_adv, y, y, targeted=False))
    assert bool(result.success.any())
