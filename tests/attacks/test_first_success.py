"""An attack at full strength also tells what it would have been, had it let each sample go as soon as it fell."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from salus.attacks import APGD, BIM, PGD, AttackResult, SparseRS, Square

if TYPE_CHECKING:
    from conftest import Toy

EARLY: list[Any] = [
    PGD(eps=0.15, steps=8),
    PGD(eps=0.15, steps=8, restarts=2, norm="linf"),
    PGD(eps=0.15, steps=8, momentum=0.9, random_start=False),
    BIM(eps=0.15, steps=8),
    APGD(eps=0.15, steps=8, restarts=2),
    Square(eps=0.15, queries=40),
    SparseRS(eps=3, queries=40),
    PGD(eps=0.15, steps=8, batch_size=7),
]


@pytest.mark.parametrize("attack", EARLY, ids=lambda attack: attack.name)
def test_the_first_success_is_that_of_the_attack_which_lets_go(toy: Toy, attack: Any) -> None:
    x, y = toy.test.x[:40], toy.test.y[:40]
    alone = attack.run(toy.classifier, x, y)
    whole = replace(attack, early_stop=False).run(toy.classifier, x, y, note_first=True)
    first = whole.first
    assert isinstance(first, AttackResult) and bool(alone.success.any())
    assert torch.equal(first.success, alone.success)
    fell = alone.success
    assert torch.equal(first.x_adv[fell], alone.x_adv[fell])
    for name in ("queries", "passes", "distance"):
        assert torch.equal(getattr(first, name)[fell], getattr(alone, name)[fell]), name


def test_noting_first_successes_changes_no_result_and_nobody_notes_them_unasked(toy: Toy) -> None:
    x, y = toy.test.x[:30], toy.test.y[:30]
    attack = PGD(eps=0.15, steps=6, early_stop=False)
    plain, noted = attack.run(toy.classifier, x, y), attack.run(toy.classifier, x, y, note_first=True)
    assert plain.first is None
    assert torch.equal(plain.x_adv, noted.x_adv) and torch.equal(plain.success, noted.success)
    assert noted.first is not None and noted.first.first is None


def test_a_budget_that_ends_an_attack_leaves_its_first_successes(toy: Toy) -> None:
    x, y = toy.test.x[:40], toy.test.y[:40]
    attack = PGD(eps=0.2, steps=20, queries=6)
    alone = attack.run(toy.classifier, x, y)
    first = replace(attack, early_stop=False).run(toy.classifier, x, y, note_first=True).first
    assert first is not None and bool((first.success >= alone.success).all())
