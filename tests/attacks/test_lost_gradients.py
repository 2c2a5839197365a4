"""Gradients that lead nowhere are counted, not passed over."""

from __future__ import annotations

import torch
from torch import Tensor

from salus.attacks import APGD, PGD, DeepFool


def model(x: Tensor) -> Tensor:
    """Tell two classes by the first value; flat above 1/2 of the second, and endlessly steep at 0 of the third."""
    told = torch.where(x[:, 1] > 0.5, x[:, 0].detach() + 0 * x[:, 0], x[:, 0])
    steep = (x[:, 2].sqrt() * 0).nan_to_num()
    return torch.stack([told + steep, -told - steep], 1)


X = torch.tensor([[0.9, 0.9, 0.5], [0.9, 0.1, 0.5], [0.9, 0.1, 0.0]])
Y = torch.zeros(3, dtype=torch.int64)
ONLY_FIRST = (True, False, False)


def test_each_pass_without_a_direction_is_counted() -> None:
    result = PGD(eps=0.05, steps=7, mask=ONLY_FIRST).run(model, X, Y)
    assert result.passes.tolist() == [7, 7, 7]
    assert result.zero.tolist() == [7, 0, 0]
    assert result.nonfinite.tolist() == [0, 0, 7]
    assert bool(result.x_adv.isfinite().all())


def test_who_reads_the_ways_by_class_counts_them_too() -> None:
    result = DeepFool(eps=0.05, steps=5, mask=ONLY_FIRST).run(model, X, Y)
    assert int(result.zero[0]) == int(result.passes[0]) > 0
    assert int(result.nonfinite[2]) == int(result.passes[2]) > 0
    assert result.zero[1:].tolist() == [0, 0]


def test_a_gradient_that_vanishes_where_the_attacker_has_won_is_no_sign_of_masking() -> None:
    def won(x: Tensor) -> Tensor:
        return torch.stack([0 * x[:, 0], 0 * x[:, 0] + 1], 1)

    result = PGD(eps=0.05, steps=4, early_stop=False).run(won, X, Y)
    assert bool(result.success.all())
    assert result.passes.tolist() == [4, 4, 4] and result.zero.tolist() == [0, 0, 0]


def test_counts_of_batches_are_put_one_after_another() -> None:
    whole, parts = (APGD(eps=0.05, steps=6, mask=ONLY_FIRST, batch_size=size).run(model, X, Y) for size in (8, 1))
    assert torch.equal(whole.zero, parts.zero) and int(whole.zero[0]) > 0
    assert torch.equal(whole.nonfinite, parts.nonfinite)
