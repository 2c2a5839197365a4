"""Square: where its windows lie, what they change, and how strong it is beside others' and beside a plain one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salus.attacks import Evaluation, Objective, Square
from salus.attacks.ball import ball
from salus.attacks.controls import UniformNoise
from salus.attacks.square import Proposals, bumps, repaint, shift, stripes
from salus.attacks.windows import profile, window
from salus.errors import OptionError

SHAPES = [(40,), (1, 60), (3, 30), (1, 12, 12), (3, 9, 14), (1, 4, 5, 6)]


def linear(shape: tuple[int, ...], seed: int = 0) -> tuple[nn.Module, Tensor, Tensor]:
    """A linear model of two classes, 16 samples amid the bounds, and their labels."""
    rng = torch.Generator().manual_seed(seed)
    width = torch.Size(shape).numel()
    layer = nn.Linear(width, 2, dtype=torch.float64)
    net = nn.Sequential(nn.Flatten(), layer)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(2, width, generator=rng))
        layer.bias.copy_(-(layer.weight.sum(1) / 2))  # x = 0.5 is a tie
    x = 0.5 + 0.1 * (torch.rand(16, *shape, generator=rng, dtype=torch.float64) - 0.5)
    return net, x, net(x).argmax(1)


def needed(net: nn.Module, x: Tensor, y: Tensor, norm: str) -> Tensor:
    """The smallest radius at which each sample of a linear model can fall."""
    w = net[1].weight[1] - net[1].weight[0]  # type: ignore[index]
    logits = net(x).detach()
    margin = (logits[:, 0] - logits[:, 1]).abs()
    radius: Tensor = margin / (w.abs().sum() if norm == "linf" else w.norm()).detach()
    return radius


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("share", [1.0, 0.8, 0.1, 1e-6])
def test_windows_are_stretches_squares_or_groups_of_the_asked_size(shape: tuple[int, ...], share: float) -> None:
    x, proposals = torch.zeros(50, *shape), Proposals(0, torch.arange(50), shape)
    covered = torch.zeros(50, *([1] if len(shape) > 1 else []), *shape[1:] or shape)
    for step in range(200):
        choice = proposals.of(torch.arange(50), step)
        drawn = window(x, share, choice.here, choice.order)
        inside = drawn.mask(x)
        covered += inside
        size = inside.flatten(1).sum(1)
        if len(shape) == 1:
            assert bool((size == max(round(share * shape[0]), 1)).all())
            continue
        assert bool((size == drawn.edge ** (len(shape) - 1)).all())
        assert drawn.edge == min(
            max(round((share * torch.Size(shape[1:]).numel()) ** (1 / len(shape[1:]))), 1), *shape[1:]
        )
        for axis in range(2, x.ndim):  # without a gap, along each axis
            line = inside.movedim(axis, 1).flatten(2).any(2).int()
            assert bool(((line.diff(dim=1) == 1).sum(1) <= 1).all()) and bool((line.sum(1) == drawn.edge).all())
    if torch.Size(shape[1:] or shape).numel() <= 60:
        assert bool((covered > 0).float().mean() > 0.95)  # every place comes, soon


def test_places_come_round_almost_without_replacement() -> None:
    x, proposals = torch.zeros(30, 1, 280), Proposals(0, torch.arange(30), (1, 280))
    rows = torch.arange(30)
    parts = [
        window(x, 1e-6, choice.here, choice.order).mask(x)
        for choice in (proposals.of(rows, step) for step in range(280))
    ]
    seen = torch.stack(parts).any(0).double().mean((1, 2))
    assert float(seen.min()) > 0.8  # independent places: 0.63


@pytest.mark.parametrize("shape", SHAPES)
def test_a_window_always_changes_something_and_goes_to_the_rim(shape: tuple[int, ...]) -> None:
    x = torch.rand(20, *shape, generator=torch.Generator().manual_seed(0))
    region = ball("linf", x, 0.1, (0.0, 1.0))
    proposals, rows = Proposals(0, torch.arange(20), shape), torch.arange(20)
    point = stripes(region, 0, rows)
    assert bool(((point == region.low) | (point == region.high)).all())
    for step in range(50):
        changed = repaint(region, point, 0.8 / 2 ** (step // 5), proposals.of(rows, step))
        assert bool((changed != point).flatten(1).any(1).all())
        assert bool(((changed == region.low) | (changed == region.high)).all())
        point = changed


@pytest.mark.parametrize("shape", SHAPES)
def test_in_l2_every_point_uses_the_whole_radius(shape: tuple[int, ...]) -> None:
    x = torch.full((20, *shape), 0.5, dtype=torch.float64)
    region = ball("l2", x, 0.3, (0.0, 1.0))
    proposals, rows = Proposals(0, torch.arange(20), shape), torch.arange(20)
    point = bumps(region, 0, rows)
    for step in range(50):
        torch.testing.assert_close(region.distance(point), torch.full((20,), 0.3).double(), rtol=1e-6, atol=0)
        changed = shift(region, point, 0.8 / 2 ** (step // 5), proposals.of(rows, step))
        assert bool((changed != point).flatten(1).any(1).all())
        point = changed


def test_the_profile_is_two_bumps_of_unit_length() -> None:
    for axes in (1, 2, 3):
        for edge in (1, 2, 3, 7, 10):
            values = profile(edge, axes)
            assert values.shape == (edge,) * axes and float(values.norm()) == pytest.approx(1, abs=1e-5)
            assert bool((values[: edge // 2] > 0).all()) and bool((values[edge // 2 :] < 0).all())
    assert profile(5, 1).abs().argmax() in (1, 3)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_linear_model_falls_as_soon_as_it_can_and_no_sooner(shape: tuple[int, ...]) -> None:
    net, x, y = linear(shape)
    least = needed(net, x, y, "linf")
    eps = float(least.median())
    can, cannot = least < 0.98 * eps, least > eps
    assert bool(Square(eps=eps, queries=2000).run(net, x[can], y[can]).success.all())
    assert not bool(Square(eps=eps, queries=300).run(net, x[cannot], y[cannot]).success.any())


@pytest.mark.parametrize("shape", [(1, 60), (3, 30), (1, 12, 12)])
def test_in_l2_too_a_linear_model_falls_nearly_as_soon_as_it_can(shape: tuple[int, ...]) -> None:
    net, x, y = linear(shape)
    least = needed(net, x, y, "l2")
    eps = float(least.max())
    can = least < 0.5 * eps
    assert bool(Square(eps=eps, norm="l2", queries=2000).run(net, x[can], y[can]).success.all())
    assert not bool(Square(eps=eps, norm="l2", queries=200).run(net, x, y).success[least > 1.0001 * eps].any())


def test_samples_leave_when_they_fall_and_the_others_spend_what_they_may(trained: Any) -> None:
    net, x, y = trained
    result = Square(eps=0.1, queries=77).run(net, x, y)
    assert bool((result.queries <= 77).all()) and bool((result.queries[~result.success] == 77).all())
    assert float(result.queries[result.success].double().mean()) < 60
    assert not bool(result.passes.any())
    for queries in (1, 2, 3):
        assert int(Square(eps=0.1, queries=queries).run(net, x, y).queries.max()) == queries


def test_without_early_stop_the_margin_goes_on_falling(trained: Any) -> None:
    net, x, y = trained

    def margin(attack: Square) -> Tensor:
        logits = net(attack(net, x, y)).detach()
        return logits.gather(1, y[:, None])[:, 0] - logits.scatter(1, y[:, None], -torch.inf).amax(1)  # type: ignore[no-any-return]

    first, last = margin(Square(eps=0.1, queries=300)), margin(Square(eps=0.1, queries=300, early_stop=False))
    assert bool((last <= first + 1e-5).all()) and float(last.median()) < float(first.median()) - 0.1
    assert bool((Square(eps=0.1, queries=300, early_stop=False).run(net, x, y).queries == 300).all())


def test_a_start_is_where_the_search_begins(trained: Any) -> None:
    net, x, y = trained
    found = Square(eps=0.1, queries=500).run(net, x, y)
    again = Square(eps=0.1, queries=2).run(net, x, y, start=found.x_adv)
    assert torch.equal(again.success, found.success) and int(again.queries.max()) == 2


def test_logits_alone_are_seen(trained: Any) -> None:
    net, x, y = trained
    numbers = Square(eps=0.1, queries=50)(lambda batch: torch.from_numpy(net(batch).detach().numpy()), x, y)
    assert torch.equal(numbers, Square(eps=0.1, queries=50)(net, x, y))


def test_what_is_lowered_is_the_objectives_margin(trained: Any) -> None:
    net, x, y = trained

    class Reluctant(Objective):
        """Wins only where the logit margin is below -0.3: accepted, say."""

        def evaluate(self, points: Tensor, labels: Tensor) -> Evaluation:
            plain = Evaluation(net(points), labels)
            return Evaluation(plain.logits, labels, margin=plain.margin + 0.3, success=plain.margin < -0.3)

    result = Square(eps=0.1, queries=300).run(Reluctant(), x, y)
    margin = Evaluation(net(result.x_adv).detach(), y).margin
    assert torch.equal(result.success, margin < -0.3) and float(result.success.double().mean()) > 0.3


def test_no_result_depends_on_the_batch(make_net: Callable[..., nn.Module], make_x: Callable[..., Tensor]) -> None:
    for shape in ((9,), (2, 30), (3, 6, 7)):
        net, x = make_net(shape, 4, scale=5.0), make_x(5, shape)
        y = net(x).argmax(1)
        for norm, eps in (("linf", 0.05), ("l2", 0.3)):
            whole = Square(eps=eps, norm=norm, queries=40, batch_size=5).run(net, x, y)  # type: ignore[arg-type]
            for size in (1, 2):
                parts = Square(eps=eps, norm=norm, queries=40, batch_size=size).run(net, x, y)  # type: ignore[arg-type]
                assert torch.equal(parts.x_adv, whole.x_adv) and torch.equal(parts.queries, whole.queries)


@pytest.mark.parametrize("options", [{"queries": None}, {"queries": 0}, {"p_init": 0.0}, {"p_init": 1.1}])
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=rf": {next(iter(options))} must be "):
        Square(eps=0.1, **options)


def plain_random_search(net: nn.Module, x: Tensor, y: Tensor, eps: float, queries: int) -> Tensor:
    """One value at a time, up or down; who falls?"""
    rng = torch.Generator().manual_seed(0)
    best = x.clone()
    low, high = (x - eps).clamp_min(0), (x + eps).clamp_max(1)
    margin = Evaluation(net(x).detach(), y).margin
    for _ in range(queries - 1):
        point = best.clone().flatten(1)
        place = torch.randint(point.shape[1], (len(x), 1), generator=rng)
        side = torch.where(
            torch.rand(len(x), 1, generator=rng) < 0.5,
            low.flatten(1).gather(1, place),
            high.flatten(1).gather(1, place),
        )
        point = point.scatter(1, place, side).reshape(x.shape)
        now = Evaluation(net(point).detach(), y).margin
        best = torch.where((now < margin)[:, None, None], point, best)
        margin = torch.minimum(now, margin)
    return margin < 0


def test_it_is_stronger_than_a_plain_random_search(trained: Any) -> None:
    net, x, y = trained
    ours = Square(eps=0.1, queries=100).run(net, x, y).success
    assert float(ours.double().mean()) > float(plain_random_search(net, x, y, 0.1, 100).double().mean())


@pytest.mark.parametrize("eps", [0.08, 0.12])
def test_it_is_at_least_as_strong_as_other_libraries(eps: float, trained: Any) -> None:
    net, x, y = trained
    view = nn.Sequential(nn.Flatten(2), net).eval()  # they want [N, C, H, W]
    ours = float(Square(eps=eps, queries=200).run(net, x, y).success.double().mean())
    torchattacks = pytest.importorskip("torchattacks")
    theirs = torchattacks.Square(view, norm="Linf", eps=eps, n_queries=200)(x[:, :, None], y)
    assert ours >= float((net(theirs[:, :, 0]).argmax(1) != y).double().mean()) - 0.005
    square = pytest.importorskip("pyautoattack.square")
    with torch.random.fork_rng():
        theirs = square.SquareAttack(view, norm="Linf", eps=eps, n_queries=200).perturb(x[:, :, None], y)
    assert ours >= float((net(theirs[:, :, 0]).argmax(1) != y).double().mean()) - 0.005


def test_in_l1_windows_trade_their_strength_and_fool_what_noise_does_not(trained: Any) -> None:
    net, x, y = trained
    result = Square(eps=4.0, norm="l1", queries=300).run(net, x[:40], y[:40])
    noise = UniformNoise(eps=4.0, norm="l1").run(net, x[:40], y[:40])
    assert int(result.success.sum()) >= int(noise.success.sum()) + 20
    assert float(result.distance.max()) <= 4.0
