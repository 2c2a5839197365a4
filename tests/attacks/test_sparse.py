"""Sparse-RS and patches: near the optimum where it is known, and inside their places."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from salus.attacks import Patch, SparseRS, parse_attack
from salus.attacks.patch import worst_place
from salus.attacks.sparse_rs import move
from salus.audit.plan import Plan
from salus.data import load
from salus.errors import DataError, OptionError


class Linear(nn.Module):
    """Two classes told apart by a weighted sum, so that the best sparse change is known."""

    def __init__(self, shape: tuple[int, ...], seed: int = 0) -> None:
        super().__init__()
        values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        self.w = nn.Parameter(values, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        score = (x * self.w).flatten(1).sum(1)
        return torch.stack([score, -score], 1)

    def gain(self, x: Tensor) -> Tensor:
        """How much each place can lower the score of class 0, ``[N, ...]`` without channels."""
        return (torch.where(self.w > 0, x, x - 1) * self.w).sum(1)


def centred(net: Linear, x: Tensor) -> Tensor:
    """Move x so that its score lies a little above 0."""
    score = (x * net.w).flatten(1).sum(1)
    return (x - ((score - 0.5) / net.w.square().sum()).reshape(-1, *[1] * (x.ndim - 1)) * net.w).clamp(0, 1)


@pytest.mark.parametrize("shape", [(2, 60), (3, 9, 9)])
def test_sparse_rs_comes_near_the_best_few_places(shape: tuple[int, ...]) -> None:
    net, x = Linear(shape), 0.3 + 0.4 * torch.rand(20, *shape, generator=torch.Generator().manual_seed(1))
    y = torch.zeros(20, dtype=torch.int64)
    best = net.gain(x).flatten(1).sort(dim=1, descending=True).values[:, :5].sum(1)
    x_adv = SparseRS(eps=5, early_stop=False, queries=1500)(net, x, y)
    reached = (net(x) - net(x_adv))[:, 0]
    assert bool((reached <= best + 1e-4).all()) and float((reached / best).mean()) > 0.97


def test_sparse_rs_uses_places_better_the_more_it_asks() -> None:
    net, x = Linear((1, 100)), torch.rand(30, 1, 100, generator=torch.Generator().manual_seed(2))
    y = torch.zeros(30, dtype=torch.int64)
    few, many = (
        (net(x) - net(SparseRS(eps=4, early_stop=False, queries=queries)(net, x, y)))[:, 0].mean()
        for queries in (30, 600)
    )
    assert float(many) > 1.2 * float(few)


@pytest.mark.parametrize(("k", "count", "free"), [(1, 1, 2), (5, 2, 40), (5, 5, 7), (8, 3, 8), (3, 3, 400)])
def test_an_exchange_keeps_places_apart(k: int, count: int, free: int) -> None:
    changed = torch.stack([torch.randperm(free)[:k] for _ in range(64)])
    after, gone, come = move(changed, count, free, 0, torch.arange(64), 2)
    for old, new, out, taken in zip(changed.tolist(), after.tolist(), gone.tolist(), come.tolist(), strict=True):
        assert len(set(new)) == k and min(new) >= 0 and max(new) < free
        if k < free:
            assert set(new) == set(old) - set(out) | set(taken) and not set(taken) & set(old)
            assert len(taken) == min(count, free - k)
        else:
            assert new == old and set(taken) == set(out) <= set(old)


def test_every_free_place_comes_up() -> None:
    changed = torch.arange(3).repeat(5000, 1)
    _, _, come = move(changed, 2, 12, 0, torch.arange(5000), 2)
    counts = torch.bincount(come.flatten(), minlength=12)
    assert int(counts[:3].sum()) == 0 and int(counts[3:].min()) > 0.5 * 10000 / 9


def test_a_patch_is_one_square_where_it_hurts_most() -> None:
    net, x = Linear((3, 12, 12)), torch.full((16, 3, 12, 12), 0.5)
    y = torch.zeros(16, dtype=torch.int64)
    x = centred(net, x + 0.2 * torch.rand(x.shape, generator=torch.Generator().manual_seed(3)))
    x_adv = Patch(eps=17, early_stop=False)(net, x, y)
    changed = (x_adv != x).any(1)
    for sample in changed:
        rows, columns = sample.any(1).nonzero(), sample.any(0).nonzero()
        assert int(rows.max() - rows.min()) < 4 and int(columns.max() - columns.min()) < 4  # 4 x 4 = 16 of 17
    best = 16 * avg_pool2d(net.gain(x)[:, None], 4, stride=1).flatten(1).amax(1)
    reached = (net(x) - net(x_adv))[:, 0]
    assert bool((reached <= best + 1e-4).all()) and float((reached / best).mean()) > 0.9


def test_the_worst_place_is_the_window_with_most_gradient() -> None:
    gradient = torch.zeros(2, 1, 8, 6)
    gradient[0, 0, 5:8, 2:5], gradient[1, 0, 0, 0] = 1.0, -3.0
    place = worst_place(gradient, 3)
    assert torch.equal((place[0] * torch.tensor([6, 4])).long(), torch.tensor([5, 2]))
    assert torch.equal((place[1] * torch.tensor([6, 4])).long(), torch.tensor([0, 0]))
    assert worst_place(torch.rand(4, 2, 30), 7).shape == (4, 1)


def test_more_places_and_longer_patches_fool_more(trained: Any) -> None:
    net, x, y = trained
    for spec in ("sparse-rs:queries=200", "patch:steps=10,restarts=2"):
        fooled = [int(parse_attack(spec, eps=eps).run(net, x, y).success.sum()) for eps in (0, 1, 6)]
        assert fooled[0] <= fooled[1] <= fooled[2] and fooled[2] > fooled[0]


def test_mistakes_are_one_sentence() -> None:
    x, y = torch.rand(3, 5), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(OptionError, match=r"whole number, not 0\.03"):
        SparseRS(eps=0.03)
    with pytest.raises(OptionError, match="more than the 5 places"):
        SparseRS(eps=6)(lambda batch: batch, x, y)
    with pytest.raises(DataError, match="a table has no patches"):
        Patch(eps=2)(nn.Linear(5, 2), x, y)
    for name, option, value in (
        ("sparse-rs", "p_init", 0.0), ("sparse-rs", "queries", None), ("patch", "steps", 0), ("patch", "restarts", 0),
        ("patch", "step_size", 0.0),
    ):  # fmt: skip
        with pytest.raises(OptionError, match=option):
            parse_attack(name, eps=3, **{option: value})


def test_an_audit_gives_them_a_sweep_of_places() -> None:
    plan = Plan.of({"data": "breast-cancer", "attack": ["sparse-rs"]})
    made = plan.attacks(load("breast-cancer").test)
    assert [attack.eps for attack in made] == [1.0, 2.0] and {attack.norm for attack in made} == {"l0"}
