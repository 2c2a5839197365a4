"""One change for all samples, fitted to a guard: one variant for each thing there is to weigh, the worst for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from salus.attacks import UAP
from salus.guard import Guard
from salus.purifiers import BitDepth
from salus.threats import adaptive_universal, universal_variants

if TYPE_CHECKING:
    from conftest import Toy

ATTACK = UAP(eps=0.3, epochs=2, batch_size=16)


def test_without_detectors_there_is_nothing_to_weigh(toy: Toy) -> None:
    guard = Guard(toy.classifier, purifier=BitDepth(bits=3))
    made = universal_variants(ATTACK, guard, toy.train.x[:40], toy.train.y[:40])
    assert list(made) == ["oblivious", "end-to-end"]
    watched = universal_variants(ATTACK, toy.guard(0.05), toy.train.x[:40], toy.train.y[:40])
    assert len(watched) == 4, "one that knows of no defence, and three weights of being accepted"


def test_no_variant_alone_wins_more_than_the_worst_for_each(toy: Toy) -> None:
    guard, (x, y) = toy.guard(0.05), (toy.test.x[:60], toy.test.y[:60])
    made = universal_variants(ATTACK, guard, toy.train.x[:60], toy.train.y[:60])
    x_adv, chosen = adaptive_universal(made, guard, x, y)

    def fallen(points: torch.Tensor) -> torch.Tensor:
        answers = guard(points).answers
        return (answers != y) & (answers >= 0)

    every = torch.stack([fallen(perturbation(x)) for perturbation in made.values()])
    assert torch.equal(fallen(x_adv), every.any(0)) and bool(every.any())
    for place, perturbation in enumerate(made.values()):
        assert torch.equal(x_adv[chosen == place], perturbation(x)[chosen == place])
