"""FAB ends no farther from x than the published loop, in half its forward passes, also inside a ball."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salus.attacks import FAB, AutoAttack, DeepFool, LogitObjective, Search
from salus.attacks.ball import NormName, ball
from salus.errors import OptionError

NORMS: tuple[NormName, ...] = ("linf", "l2")
STEPS = 20


def length(change: Tensor, norm: NormName) -> Tensor:
    return change.abs().amax(1) if norm == "linf" else change.norm(dim=1)


def project(point: Tensor, w: Tensor, b: Tensor, norm: NormName) -> Tensor:
    """The nearest point of the plane ``<w, z> = b`` within [0, 1], by halving; the change of the point."""
    side = torch.where((w * point).sum(1) >= b, 1.0, -1.0)[:, None]
    way = -side * (w.sign() if norm == "linf" else w)
    least, most = torch.zeros_like(b), torch.full_like(b, 1e4)
    for _ in range(80):
        t = (least + most) / 2
        over = side[:, 0] * ((w * (point + t[:, None] * way).clamp(0, 1)).sum(1) - b) <= 0
        least, most = torch.where(over, least, t), torch.where(over, t, most)
    return (point + most[:, None] * way).clamp(0, 1) - point


def published(net: nn.Module, x: Tensor, y: Tensor, norm: NormName) -> Tensor:
    """Algorithm 1 from x, all samples side by side; returns the distances, infinite where nothing is found."""
    shape, x = x.shape, x.flatten(1)
    point, best = x.clone(), torch.full((len(x),), torch.inf)
    for _ in range(STEPS):
        at = point.detach().reshape(shape).requires_grad_()
        logits = net(at)
        nearest, w, f = torch.full_like(best, torch.inf), torch.zeros_like(x), torch.zeros_like(best)
        for k in range(logits.shape[1]):
            gap = logits[:, k] - logits.gather(1, y[:, None])[:, 0]
            (slope,) = torch.autograd.grad(gap.sum(), at, retain_graph=True)
            slope, gap = slope.flatten(1), gap.detach()
            dual = slope.abs().sum(1) if norm == "linf" else slope.norm(dim=1)
            distance = torch.where(y == k, torch.inf, gap.abs() / dual.clamp_min(1e-12))
            nearer = distance < nearest
            nearest = nearest.minimum(distance)
            w, f = torch.where(nearer[:, None], slope, w), torch.where(nearer, gap, f)
        b = (w * point).sum(1) - f
        d1, d2 = project(point, w, b, norm), project(x, w, b, norm)
        a1, a2 = length(d1, norm).clamp_min(1e-8), length(d2, norm).clamp_min(1e-8)
        alpha = (a1 / (a1 + a2)).clamp_max(0.1)[:, None]
        point = ((1 - alpha) * (point + 1.05 * d1) + alpha * (x + 1.05 * d2)).clamp(0, 1)
        with torch.no_grad():
            fooled = net(point.reshape(shape)).argmax(1) != y
        best = torch.where(fooled, best.minimum(length(point - x, norm)), best)
        point = torch.where(fooled[:, None], x + 0.9 * (point - x), point)
    return best


@pytest.mark.parametrize("norm", NORMS)
def test_it_is_no_farther_than_the_published_loop_in_half_the_forward_passes(norm: NormName, trained: Any) -> None:
    net, x, y = trained
    right = net(x).argmax(1) == y
    x, y = x[right], y[right]
    result = FAB(norm=norm, steps=STEPS, targets=None).run(net, x, y)
    theirs = published(net, x, y, norm)
    assert result.success.double().mean() >= 0.99
    assert result.distance.median() <= 1.01 * theirs.median()
    assert bool((result.passes == STEPS).all()) and bool((result.queries == STEPS + 2).all())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.filterwarnings("ignore")
def test_it_is_no_farther_than_the_authors_code(norm: NormName, trained: Any) -> None:
    peer = pytest.importorskip("pyautoattack.fab_pt")
    net, x, y = trained
    attack = peer.FABAttack_PT(
        lambda images: net(images[:, :, 0]),
        norm={"linf": "Linf", "l2": "L2"}[norm],
        n_iter=STEPS,
        eps=100.0,
        device="cpu",
    )
    with torch.random.fork_rng():
        theirs = attack.perturb(x[:, :, None], y)[:, :, 0]
    fooled = net(theirs).argmax(1) != y
    distance = torch.where(fooled, length((theirs - x).flatten(1), norm), torch.inf)
    result = FAB(norm=norm, steps=STEPS, targets=None).run(net, x, y)
    assert result.success.double().mean() >= fooled.double().mean() - 0.005
    assert result.distance.median() <= 1.01 * distance.median()


@pytest.mark.parametrize("norm", NORMS)
def test_it_ends_nearer_than_deepfool(norm: NormName, trained: Any) -> None:
    net, x, y = trained
    near, first = FAB(norm=norm, steps=STEPS).run(net, x, y), DeepFool(norm=norm).run(net, x, y)
    assert near.distance.sum() < first.distance.sum()
    assert (near.distance <= 1.02 * first.distance).double().mean() > 0.95


@pytest.mark.parametrize("norm", NORMS)
def test_it_goes_class_by_class_with_one_backward_pass_a_step(norm: NormName, trained: Any) -> None:
    net, x, y = trained
    backward = []

    def counting(batch: Tensor) -> Tensor:
        logits: Tensor = net(batch)
        if logits.requires_grad:
            logits.register_hook(lambda slope: backward.append(len(slope)))
        return logits

    still = net(x).argmax(1) == y
    every = FAB(norm=norm, steps=STEPS, targets=9).run(counting, x, y)
    assert bool((every.passes[still] == 2 * STEPS).all())  # there are two other classes
    assert sum(backward) == int(every.passes.sum())
    one = FAB(norm=norm, steps=STEPS, targets=1).run(net, x, y)
    assert bool((every.distance <= one.distance).all())
    assert every.success.double().mean() >= 0.99
    assert every.distance.median() <= 1.01 * FAB(norm=norm, steps=STEPS, targets=None).run(net, x, y).distance.median()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("targets", [None, 2])
def test_a_search_that_stops_early_loses_who_falls_inside_the_ball(
    norm: NormName, targets: int | None, trained: Any
) -> None:
    net, x, y = trained
    eps = float(FAB(norm=norm, steps=STEPS).run(net, x, y).distance.median())
    region = ball(norm, x, eps, (0.0, 1.0))
    search = Search(LogitObjective(net), region, y, torch.arange(len(x)), early_stop=True)
    FAB(eps=eps, norm=norm, steps=STEPS, targets=targets).perturb(search, None)
    search.judge()
    assert torch.equal(net(search.x_adv).argmax(1) != y, search.success)
    assert float(region.distance(search.x_adv).max()) <= eps
    assert 0.3 < search.success.double().mean() < 0.8
    assert search.passes[search.success].double().mean() < 0.8 * search.passes[~search.success].double().mean()
    assert sorted(search.rows.tolist()) == (~search.success).nonzero()[:, 0].tolist()


@pytest.mark.parametrize("norm", NORMS)
def test_with_a_cap_it_finds_what_lies_inside(norm: NormName, trained: Any) -> None:
    net, x, y = trained
    free = FAB(norm=norm, steps=STEPS).run(net, x, y)
    cap = float(free.distance.median())
    capped = FAB(norm=norm, steps=STEPS, eps=cap).run(net, x, y)
    assert float(capped.distance.max()) <= cap
    assert capped.success.double().mean() >= (free.distance < 0.99 * cap).double().mean() - 0.01


@pytest.mark.parametrize("norm", NORMS)
def test_restarts_never_bring_it_farther_away(norm: NormName, trained: Any) -> None:
    net, x, y = trained
    once = FAB(norm=norm, steps=5, targets=None).run(net, x, y)
    thrice = FAB(norm=norm, steps=5, targets=None, restarts=3).run(net, x, y)
    assert bool((thrice.distance <= once.distance).all()) and thrice.distance.sum() < once.distance.sum()
    assert torch.equal(FAB(norm=norm, steps=5, targets=None, restarts=3)(net, x, y), thrice.x_adv)
    assert not torch.equal(FAB(norm=norm, steps=5, targets=None, restarts=3, seed=1)(net, x, y), thrice.x_adv)


@pytest.mark.parametrize("norm", NORMS)
def test_of_a_linear_model_it_finds_the_nearest_point_beyond_the_boundary(norm: NormName) -> None:
    rng = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 2, generator=rng, dtype=torch.float64)
    x = torch.rand(30, 6, generator=rng, dtype=torch.float64)  # near the bounds too
    y = (x @ weight).argmax(1)
    result = FAB(norm=norm, steps=100).run(lambda batch: batch @ weight, x, y)
    w = weight[:, 1] - weight[:, 0]
    nearest = length(project(x, w.expand_as(x), torch.zeros(30, dtype=torch.float64), norm), norm)
    found = result.success
    assert found.double().mean() > 0.5
    torch.testing.assert_close(result.distance[found], nearest[found], rtol=0.01, atol=1e-6)


def test_what_is_wrong_already_stays_as_it_is(trained: Any) -> None:
    net, x, _ = trained
    wrong = (net(x).argmax(1) + 1) % 3
    result = FAB(targets=2, restarts=2).run(net, x, wrong)
    assert torch.equal(result.x_adv, x) and bool((result.distance == 0).all()) and bool((result.queries == 1).all())


def test_a_target_is_reached(trained: Any) -> None:
    net, x, y = trained
    target = (y + 1) % 3
    result = FAB(targeted=True, steps=STEPS).run(net, x, target)
    assert result.success.double().mean() >= 0.99
    assert torch.equal(net(result.x_adv).argmax(1) == target, result.success)


def test_it_is_the_part_of_autoattack(trained: Any) -> None:
    part = AutoAttack(eps=0.1, targets=3).parts[2]
    assert isinstance(part, FAB) and part.targets == 3 and part.eps == 0.1


def test_a_budget_of_queries_is_kept_with_the_best_so_far(trained: Any) -> None:
    net, x, y = trained
    result = FAB(queries=9).run(net, x, y)
    assert int(result.queries.max()) == 9 and result.success.double().mean() > 0.9


@pytest.mark.parametrize("targets", [None, 1])
def test_two_classes_are_enough(
    targets: int | None, make_net: Callable[..., nn.Module], make_x: Callable[..., Tensor]
) -> None:
    net, x = make_net((7,), 2, scale=3.0), make_x(20, (7,))
    y = net(x).argmax(1)
    result = FAB(steps=STEPS, targets=targets).run(net, x, y)
    assert torch.equal(result.success, net(result.x_adv).argmax(1) != y) and bool(result.success.any())


@pytest.mark.parametrize(
    "options",
    [{"steps": 0}, {"restarts": 0}, {"targets": 0}, {"alpha_max": 1.5}, {"beta": -0.1}, {"eta": 0.9}],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=rf": {next(iter(options))} must be "):
        FAB(**options)
