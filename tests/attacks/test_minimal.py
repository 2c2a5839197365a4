"""DDN, FMN, sigma-zero and dual averaging: near, in every norm, within their passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from salus.attacks import DDN, FMN, Attack, CarliniWagnerL2, DualAveraging, SigmaZero
from salus.attacks.lengths import shortened

ATTACKS: list[Attack] = [
    DDN(steps=60),
    *(FMN(steps=60, norm=norm) for norm in ("linf", "l2", "l1", "l0")),
    SigmaZero(steps=60),
    *(DualAveraging(steps=60, search_steps=20, norm=norm) for norm in ("linf", "l2", "l1", "l0")),
]
EACH = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.name}-{attack.norm}")


class Plane(nn.Module):
    """Two classes that a plane separates: the smallest change of every norm is known."""

    def __init__(self, w: Tensor, b: float) -> None:
        super().__init__()
        self.w, self.b = w, b

    def forward(self, x: Tensor) -> Tensor:
        margin = (x.flatten(1) * self.w).sum(1) + self.b
        return torch.stack([margin, torch.zeros_like(margin)], 1)


@EACH
def test_of_a_plane_the_smallest_change_is_found(attack: Attack) -> None:
    rng = torch.Generator().manual_seed(0)
    w = torch.tensor([3.0, -2.0, 1.0, 0.5, 0.0, -0.2])
    x = 0.3 + 0.4 * torch.rand(20, 1, 6, generator=rng)
    net = Plane(w, -0.6)
    gap = net(x)[:, 0]
    x, gap = x[gap > 0], gap[gap > 0]
    found = attack.run(net, x, torch.zeros(len(x), dtype=torch.int64))
    assert bool(found.success.all())
    if attack.norm == "l0":
        gains = (w * torch.where(w > 0, x[:, 0], x[:, 0] - 1)).sort(dim=1, descending=True).values.cumsum(1)
        assert torch.equal(found.distance, ((gains <= gap[:, None]).sum(1) + 1).double())
    else:
        dual = {"linf": w.abs().sum(), "l2": w.norm(), "l1": w.abs().amax()}[attack.norm]
        ratio = found.distance / (gap / dual)  # the bounds may make it larger, where they are reached
        assert float(ratio.min()) > 0.999 and float(ratio.median()) < 1.03


@EACH
def test_steps_are_passes_and_a_budget_of_queries_holds(attack: Attack, trained: Any) -> None:
    net, x, y = trained
    asked = [0]

    def counted(batch: Tensor) -> Tensor:
        asked[0] += len(batch)
        return net(batch)  # type: ignore[no-any-return]

    found = attack.run(counted, x[:6], y[:6])
    assert int(found.queries.max()) <= 61 and asked[0] == int(found.queries.sum())
    assert int(replace(attack, queries=7).run(net, x[:6], y[:6]).queries.max()) <= 7


@EACH
def test_a_start_is_where_the_walk_begins_and_what_x_fools_needs_no_change(attack: Attack, trained: Any) -> None:
    net, x, y = trained
    x, y = x[:6], y[:6].clone()
    y[:3] = (net(x[:3]).argmax(1) + 1) % 3
    plain = attack.run(net, x, y)
    begun = attack.run(net, x, y, start=(x + 0.2).clamp(0, 1))
    for found in (plain, begun):
        assert bool((found.distance[:3] == 0).all()) and bool((found.distance[3:] > 0).all())
    if attack.norm != "l0":  # there all ways end in the same few corners
        assert not torch.equal(plain.x_adv[3:], begun.x_adv[3:])


@pytest.mark.parametrize("shape", [(2, 9), (3, 4, 4)])
@pytest.mark.parametrize("attack", [SigmaZero(steps=60), DualAveraging(steps=60, norm="l0")], ids=lambda a: a.name)
def test_a_place_counts_once_with_all_its_channels(
    attack: Attack, shape: tuple[int, ...], make_net: Any, make_x: Any
) -> None:
    net, x = make_net(shape, 3, scale=3.0), make_x(10, shape)
    found = attack.run(net, x, net(x).argmax(1))
    changed = (found.x_adv != x).flatten(2).any(1).sum(1)
    assert torch.equal(found.distance, changed.double()) and bool(found.success.any())


def test_dual_averaging_gets_as_near_as_carlini_and_wagner(trained: Any) -> None:
    net, x, y = trained
    ours = DualAveraging(steps=100).run(net, x[:16], y[:16])
    theirs = CarliniWagnerL2(queries=100).run(net, x[:16], y[:16])
    assert float(ours.distance.mean()) <= 1.001 * float(theirs.distance.mean())


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_fmn_finds_its_scale_where_samples_lie_far_nearer_to_the_boundary(norm: Any, trained: Any) -> None:
    net, x, y = trained
    plain = FMN(steps=60, norm=norm).run(net, x[:16], y[:16])
    squeezed = FMN(steps=60, norm=norm).run(lambda batch: net((batch - 0.49) * 50), x[:16] / 50 + 0.49, y[:16])
    assert bool(plain.success.all()) and bool(squeezed.success.all())
    assert float(squeezed.distance.mean() * 50) <= 1.05 * float(plain.distance.mean())


def test_ddn_is_foolboxs(trained: Any) -> None:
    foolbox = pytest.importorskip("foolbox")
    net, x, y = trained
    x, y = x[:16], y[:16]
    right = net(x).argmax(1) == y
    x, y = x[right], y[right]
    theirs = foolbox.attacks.DDNAttack(steps=100, init_epsilon=1.0)
    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    _, clipped, won = theirs(model, x, y, epsilons=None)
    ours = DDN(steps=100).run(net, x, y)
    assert bool(won.all()) and bool(ours.success.all())
    assert float(ours.distance.mean()) <= 1.01 * float((clipped - x).flatten(1).norm(dim=1).mean())


@given(
    st.sampled_from(["linf", "l2", "l1", "l0"]),
    st.lists(st.floats(-2, 2, width=32), min_size=4, max_size=4),
    st.floats(0.1, 3),
)
def test_changes_are_shortened_to_the_nearest_of_their_length(norm: Any, values: list[float], most: float) -> None:
    change = torch.tensor([values, [0.1, -0.2, 0.0, 0.05]])
    most = round(most) if norm == "l0" else most
    made = shortened(change, torch.tensor([most, 9.0]), norm)
    order = {"linf": torch.inf, "l2": 2, "l1": 1, "l0": 0}[norm]
    assert float(made[0].norm(p=order)) <= most * (1 + 1e-5) + 1e-6
    assert bool((made.abs() <= change.abs() + 1e-6).all()) and bool((made * change >= 0).all())
    torch.testing.assert_close(made[1], change[1])
