"""DeepFool is the paper's algorithm, sample by sample, and stops where that stops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salus.attacks import DeepFool
from salus.attacks.ball import NormName
from salus.errors import OptionError

NORMS: tuple[NormName, ...] = ("linf", "l2")


def plain(net: nn.Module, x: Tensor, y: int, norm: NormName, steps: int = 100) -> Tensor:
    """The paper's Algorithm 2 for one sample, with the authors' 1e-4 and overshoot."""
    point = x[None].clone()
    for _ in range(steps):
        point = point.detach().requires_grad_()
        logits = net(point)[0]
        if int(logits.argmax()) != y:
            break
        best, best_step = float("inf"), torch.zeros_like(point)
        for k in range(len(logits)):
            if k == y:
                continue
            (w,) = torch.autograd.grad(logits[k] - logits[y], point, retain_graph=True)
            length = float(w.abs().sum() if norm == "linf" else w.norm())
            distance = abs(float((logits[k] - logits[y]).detach())) / length
            if distance < best:
                best = distance
                best_step = (distance + 1e-4) * (w.sign() if norm == "linf" else w / length)
        point = (point + 1.02 * best_step).clamp(0, 1)
    return point.detach()[0]


@pytest.mark.parametrize("norm", NORMS)
def test_it_is_the_papers_algorithm(norm: NormName, trained: Any) -> None:
    net, x, y = trained
    found = DeepFool(norm=norm)(net, x[:40], y[:40])
    expected = torch.stack([plain(net, one, int(label), norm) for one, label in zip(x[:40], y[:40], strict=True)])
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_it_keeps_to_the_paper_where_points_run_into_the_bounds(
    norm: NormName, make_net: Callable[..., nn.Module], make_x: Callable[..., Tensor]
) -> None:
    net, x = make_net((2, 9), 4, scale=5.0), make_x(12, (2, 9)).mul(3).sub(1).clamp(0, 1)
    y = net(x).argmax(1)
    result = DeepFool(norm=norm, candidates=3).run(net, x, y)
    for row in result.success.nonzero()[:, 0].tolist():
        torch.testing.assert_close(result.x_adv[row], plain(net, x[row], int(y[row]), norm), rtol=0, atol=2e-6)
    assert bool(result.success.any())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.filterwarnings("ignore")
def test_it_agrees_with_foolbox(norm: NormName, trained: Any) -> None:
    foolbox = pytest.importorskip("foolbox")
    net, x, y = trained
    attack = foolbox.attacks.LinfDeepFoolAttack if norm == "linf" else foolbox.attacks.L2DeepFoolAttack
    theirs = attack(steps=100).run(foolbox.PyTorchModel(net, (0, 1)), x, foolbox.criteria.Misclassification(y))
    torch.testing.assert_close(DeepFool(norm=norm)(net, x, y), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_it_fools_a_trained_net_nearly_everywhere_in_a_few_passes(norm: NormName, trained: Any) -> None:
    net, x, y = trained
    result = DeepFool(norm=norm).run(net, x, y)
    assert result.success.double().mean() >= 0.99
    assert result.passes.double().mean() < 5


@pytest.mark.parametrize("norm", NORMS)
def test_of_a_linear_model_it_crosses_the_nearest_boundary_in_one_step(norm: NormName) -> None:
    rng = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 4, generator=rng, dtype=torch.float64)
    x = 0.5 + 0.01 * torch.randn(30, 6, generator=rng, dtype=torch.float64)
    y = (x @ weight).argmax(1)
    result = DeepFool(norm=norm).run(lambda batch: batch @ weight, x, y)
    w = weight.T[None] - weight.T[y][:, None]  # [N, K, D]
    f = (w * x[:, None]).sum(2)
    length = w.abs().sum(2) if norm == "linf" else w.norm(dim=2)
    nearest = (f.abs() / length).nan_to_num(torch.inf).amin(1)
    inside = nearest < 0.4
    torch.testing.assert_close(result.distance[inside], 1.02 * (nearest + 1e-4)[inside], rtol=1e-9, atol=0)
    assert bool((result.passes[inside] == 1).all()) and bool(inside.sum() > 10)


def test_what_is_wrong_already_stays_as_it_is(trained: Any) -> None:
    net, x, _ = trained
    wrong = (net(x).argmax(1) + 1) % 3
    result = DeepFool().run(net, x, wrong)
    assert torch.equal(result.x_adv, x) and bool(result.success.all())
    assert bool((result.distance == 0).all()) and bool((result.queries == 1).all())
    begun = DeepFool().run(net, x, wrong, start=torch.zeros_like(x))
    assert torch.equal(begun.x_adv, x)


@pytest.mark.parametrize("norm", NORMS)
def test_a_line_search_ends_nearer_and_still_succeeds(norm: NormName, trained: Any) -> None:
    net, x, y = trained
    without, with_it = DeepFool(norm=norm).run(net, x, y), DeepFool(norm=norm, line_search=10).run(net, x, y)
    assert torch.equal(with_it.success, without.success)
    assert bool((with_it.distance <= without.distance).all())
    assert with_it.distance.sum() < without.distance.sum()
    moved = without.distance > 0
    assert torch.equal(with_it.queries[moved], without.queries[moved] + 10)


@pytest.mark.parametrize("norm", NORMS)
def test_with_a_cap_only_what_falls_inside_counts(norm: NormName, trained: Any) -> None:
    net, x, y = trained
    free = DeepFool(norm=norm).run(net, x, y)
    cap = float(free.distance.median())
    capped = DeepFool(norm=norm, eps=cap).run(net, x, y)
    assert float(capped.distance.max()) <= cap
    assert torch.equal(capped.success, net(capped.x_adv).argmax(1) != y)
    assert bool(capped.success[free.distance < cap].all()) and not bool(capped.success.all())

    def margin(points: Tensor) -> Tensor:
        logits: Tensor = net(points)
        own = logits.gather(1, y[:, None])
        return (own - logits.scatter(1, y[:, None], -torch.inf).amax(1, keepdim=True))[:, 0]

    lost = ~capped.success
    assert bool((margin(capped.x_adv)[lost] < margin(x)[lost]).all())  # and the best that was seen is returned


def test_a_target_is_reached(trained: Any) -> None:
    net, x, y = trained
    target = (y + 1) % 3
    result = DeepFool(targeted=True).run(net, x, target)
    assert result.success.double().mean() >= 0.99
    assert torch.equal(net(result.x_adv).argmax(1) == target, result.success)


def test_more_candidates_than_classes_are_all_of_them(trained: Any) -> None:
    net, x, y = trained
    assert torch.equal(DeepFool(candidates=2)(net, x, y), DeepFool(candidates=99)(net, x, y))
    assert DeepFool(candidates=1).run(net, x, y).success.double().mean() >= 0.99


def test_a_budget_of_queries_is_kept(trained: Any) -> None:
    net, x, y = trained
    for queries in (1, 2, 5):
        assert int(DeepFool(queries=queries).run(net, x, y).queries.max()) <= queries


@pytest.mark.parametrize(
    "options", [{"steps": 0}, {"overshoot": -0.1}, {"overshoot": float("inf")}, {"candidates": 0}, {"line_search": -1}]
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=rf": {next(iter(options))} must be "):
        DeepFool(**options)
