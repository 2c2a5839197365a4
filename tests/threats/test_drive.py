"""An attacker who drives a detector's score down, not only past its threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from salus.attacks import FGSM, PGD, UAP, CarliniWagnerL2, Square
from salus.attacks.base import Attack
from salus.guard import Guard
from salus.metrics import auc
from salus.threats import ClassConsistent, LowestSuspicion, drive, driver

if TYPE_CHECKING:
    from conftest import Toy

N = 150


def scores(guard: Guard, x: torch.Tensor) -> torch.Tensor:
    suspicion = guard(x).suspicion
    assert suspicion is not None
    return suspicion


def passing_inputs(attack: Attack, guard: Guard, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Attack until the guard accepts a wrong label, and no further."""
    return attack.run(ClassConsistent(guard, weight=None), x, (y + 1) % 3).x_adv


def driven_down(
    attack: Attack, guard: Guard, x: torch.Tensor, x_adv: torch.Tensor, y: torch.Tensor, of_interest: bool = True
) -> torch.Tensor:
    engine, rows = driver(attack, guard), torch.arange(len(x))
    assert engine is not None
    which = torch.full_like(y, of_interest, dtype=torch.bool)
    return drive(engine, guard, x, x_adv, y, seen=guard(x_adv), of_interest=which, samples=rows).x_adv


@pytest.mark.parametrize("attack", [PGD(eps=0.4, steps=20), PGD(eps=1.0, norm="l2", steps=20), FGSM(eps=0.4)])
def test_driving_lowers_scores_keeps_labels_wrong_and_stays_in_the_ball(toy: Toy, attack: Attack) -> None:
    guard = toy.guard(0.05)
    x, y = toy.test.x[:N], toy.test.y[:N]
    x_adv = passing_inputs(attack, guard, x, y)
    engine = driver(attack, guard)
    assert engine is not None and (engine.eps, engine.norm) == (attack.eps, attack.norm)
    driven = driven_down(attack, guard, x, x_adv, y)
    wrong = guard(x_adv).labels != y
    assert torch.equal(driven[~wrong], x_adv[~wrong])
    assert bool((guard(driven).labels[wrong] != y[wrong]).all())
    before, after = scores(guard, x_adv), scores(guard, driven)
    assert bool((after <= before).all()) and float((after < before)[wrong].float().mean()) > 0.5
    change = (driven.double() - x.double()).flatten(1)
    assert float(change.abs().amax() if attack.norm == "linf" else change.norm(dim=1).amax()) <= attack.radius
    assert float(driven.min()) >= 0 and float(driven.max()) <= 1


def test_a_good_auc_under_an_attacker_who_only_passes_falls_when_the_score_is_driven(toy: Toy) -> None:
    guard = toy.guard(0.05)
    x, y = toy.test.x[:N], toy.test.y[:N]
    attack = PGD(eps=0.4, steps=20)
    x_adv = passing_inputs(attack, guard, x, y)
    driven = driven_down(attack, guard, x, x_adv, y)
    clean, fooled = scores(guard, x), guard(x_adv).accepted & (guard(x_adv).labels != y)
    passing = auc(clean, scores(guard, x_adv)[fooled], None, None).value
    down = auc(clean, scores(guard, driven)[fooled], None, None).value
    assert passing is not None and down is not None
    assert int(fooled.sum()) > 100 and passing > 0.6
    assert down < passing - 0.2


def test_only_scores_that_count_are_driven_and_their_passes_counted(toy: Toy) -> None:
    guard = toy.guard(0.05)
    x, y = toy.test.x[:40], toy.test.y[:40]
    attack = PGD(eps=0.4, steps=20)
    x_adv, engine = passing_inputs(attack, guard, x, y), driver(attack, guard)
    assert engine is not None
    seen, half = guard(x_adv), torch.arange(40) < 20
    driven = drive(engine, guard, x, x_adv, y, seen=seen, of_interest=half, samples=torch.arange(40))
    assert torch.equal(driven.x_adv[20:], x_adv[20:])
    assert torch.equal(driven.queries > 0, half & (seen.labels != y))
    assert torch.equal(driven_down(attack, guard, x, x_adv, y, of_interest=False), x_adv)


def test_several_detectors_are_driven_by_the_worst_of_them(toy: Toy) -> None:
    one, other = toy.guard(0.05).detectors[0], toy.guard(0.05, layers="logits", components=1).detectors[0]
    guard = Guard(toy.classifier, [one, other], name="two")
    x, y = toy.test.x[:60], toy.test.y[:60]
    attack = PGD(eps=0.4, steps=10)
    x_adv = passing_inputs(attack, guard, x, y)
    driven = driven_down(attack, guard, x, x_adv, y)
    assert float(scores(guard, driven).mean()) < float(scores(guard, x_adv).mean())


def test_the_margin_is_the_verdicts_suspicion_and_never_a_success(toy: Toy) -> None:
    guard = toy.guard(0.05)
    x = toy.test.x[:40]
    labels = guard(x).labels
    seen = LowestSuspicion(guard).evaluate(x, labels)
    assert torch.allclose(seen.margin.float(), scores(guard, x), atol=1e-4)
    assert not bool(seen.success.any())
    assert bool(LowestSuspicion(guard).evaluate(x, (labels + 1) % 3).margin.isinf().all())


def test_who_sees_no_gradients_or_keeps_to_no_eps_drives_nothing(toy: Toy) -> None:
    guard, bare = toy.guard(0.05), Guard(toy.classifier)
    for attack in (Square(eps=0.3), CarliniWagnerL2(), UAP(eps=0.3)):
        assert driver(attack, guard) is None, attack
    assert driver(PGD(eps=0.3), bare) is None
