"""Carlini and Wagner's attacks end nearer to x than the published loops, in a fraction of their passes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salus.attacks import (
    FAB,
    Attack,
    CarliniWagnerL2,
    CarliniWagnerLinf,
    DeepFool,
    Evaluation,
    LogitObjective,
    Objective,
)
from salus.errors import OptionError

Either = CarliniWagnerL2 | CarliniWagnerLinf
BOTH = pytest.mark.parametrize("attack", [CarliniWagnerL2(steps=30), CarliniWagnerLinf(steps=30)], ids=["l2", "linf"])


def margin(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    logits: Tensor = net(x)
    own = logits.gather(1, y[:, None])[:, 0]
    return own - logits.scatter(1, y[:, None], -torch.inf).amax(1)


def published_l2(net: nn.Module, x: Tensor, y: Tensor, searches: int, steps: int) -> Tensor:
    """The paper's attack: Adam on tanh's argument, and a binary search over c; the distances."""
    w0 = (2 * x - 1).mul(1 - 1e-6).atanh()
    best = torch.full((len(x),), torch.inf)
    c, low, high = torch.full_like(best, 1e-3), torch.zeros_like(best), torch.full_like(best, 1e10)
    for _ in range(searches):
        w = w0.clone().requires_grad_()
        adam = torch.optim.Adam([w], 0.01)
        found = torch.zeros_like(best, dtype=torch.bool)
        for _ in range(steps):
            point = (w.tanh() + 1) / 2
            square = (point - x).flatten(1).square().sum(1)
            gap = margin(net, point, y)
            fooled = gap.detach() < 0
            found |= fooled
            best = torch.where(fooled, best.minimum(square.detach().sqrt()), best)
            adam.zero_grad()
            (square + c * gap.clamp_min(0)).sum().backward(inputs=[w])
            adam.step()
        high, low = torch.where(found, high.minimum(c), high), torch.where(found, low, low.maximum(c))
        c = torch.where(high < 1e9, (low + high) / 2, c * 10)
    return best


def published_linf(net: nn.Module, x: Tensor, y: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """The paper's attack: tau falls to 0.9 of each success, c doubles where there is none; distances and passes."""
    w = (2 * x - 1).mul(1 - 1e-6).atanh()
    best, tau, c = torch.ones(len(x)), torch.ones(len(x)), torch.full((len(x),), 1e-5)
    passes = torch.zeros(len(x))
    while bool((todo := (tau > 1 / 256) & (c < 20)).any()):
        at, found = w[todo].clone().requires_grad_(), torch.zeros(int(todo.sum()), dtype=torch.bool)
        adam = torch.optim.Adam([at], 0.01)
        for _ in range(steps):
            point = (at.tanh() + 1) / 2
            change = (point - x[todo]).flatten(1).abs()
            gap = margin(net, point, y[todo])
            nearer = (gap.detach() < 0) & (change.detach().amax(1) < best[todo])
            found |= nearer
            best[todo] = torch.where(nearer, change.detach().amax(1), best[todo])
            loss = (change - tau[todo][:, None]).clamp_min(0).sum(1) + c[todo] * gap.clamp_min(0)
            adam.zero_grad()
            loss.sum().backward(inputs=[at])
            adam.step()
        passes[todo] += steps
        w[todo] = at.detach()
        tau[todo] = torch.where(found, 0.9 * tau[todo].minimum(best[todo]), tau[todo])
        c[todo] = torch.where(found, c[todo], 2 * c[todo])
    return best, passes


@pytest.mark.slow
def test_l2_is_nearer_than_the_published_search_in_half_its_passes(trained: Any) -> None:
    net, x, y = trained
    x, y = x[net(x).argmax(1) == y], y[net(x).argmax(1) == y]
    result = CarliniWagnerL2(searches=9, steps=60).run(net, x, y)
    theirs = published_l2(net, x, y, searches=9, steps=60)
    assert result.success.double().mean() >= max(0.99, float(theirs.isfinite().double().mean()) - 0.005)
    assert result.distance.median() <= 1.01 * theirs.median()
    assert result.queries.double().mean() <= 540 / 4


@pytest.mark.slow
def test_linf_is_nearer_than_the_published_search_at_fewer_passes(trained: Any) -> None:
    net, x, y = trained
    x, y = x[net(x).argmax(1) == y], y[net(x).argmax(1) == y]
    result = CarliniWagnerLinf().run(net, x, y)
    theirs, passes = published_linf(net, x, y, steps=20)
    assert result.success.double().mean() >= 0.99
    assert result.distance.median() <= theirs.median()
    assert result.queries.double().mean() <= passes.mean()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_l2_is_no_farther_than_foolbox_in_half_its_passes(trained: Any) -> None:
    foolbox = pytest.importorskip("foolbox")
    net, x, y = trained
    x, y = x[net(x).argmax(1) == y], y[net(x).argmax(1) == y]
    seen = []

    class Counted(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            seen.append(len(batch))
            return net(batch)  # type: ignore[no-any-return]

    attack = foolbox.attacks.L2CarliniWagnerAttack(binary_search_steps=9, steps=60)
    theirs = attack.run(foolbox.PyTorchModel(Counted().eval(), (0, 1)), x, foolbox.criteria.Misclassification(y))
    fooled = net(theirs).argmax(1) != y
    distance = torch.where(fooled, (theirs - x).flatten(1).norm(dim=1), torch.inf)
    result = CarliniWagnerL2(searches=9, steps=60).run(net, x, y)
    assert result.success.double().mean() >= fooled.double().mean() - 0.005
    assert result.distance.median() <= 1.01 * distance.median()
    assert result.queries.double().mean() <= sum(seen) / len(x) / 2


@BOTH
def test_it_ends_nearer_than_deepfool_and_about_where_fab_does(attack: Attack, trained: Any) -> None:
    net, x, y = trained
    result, first = attack.run(net, x, y), DeepFool(norm=attack.norm).run(net, x, y)
    assert result.success.double().mean() >= 0.99
    assert (result.distance <= 1.001 * first.distance).double().mean() > 0.97
    assert result.distance.median() <= 1.01 * FAB(norm=attack.norm).run(net, x, y).distance.median()


@BOTH
def test_of_a_linear_model_it_finds_the_nearest_point(attack: Attack) -> None:
    rng = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 4, generator=rng, dtype=torch.float64)
    x = 0.5 + 0.01 * torch.randn(30, 6, generator=rng, dtype=torch.float64)
    y = (x @ weight).argmax(1)
    result = attack.run(lambda batch: batch @ weight, x, y)
    w = weight.T[None] - weight.T[y][:, None]  # [N, K, D]
    length = w.abs().sum(2) if attack.norm == "linf" else w.norm(dim=2)
    nearest = ((w * x[:, None]).sum(2).abs() / length).nan_to_num(torch.inf).amin(1)
    inside = nearest < 0.4
    assert bool(inside.sum() > 10) and bool(result.success[inside].all())
    torch.testing.assert_close(result.distance[inside], nearest[inside], rtol=0.01, atol=0)


@BOTH
def test_a_sample_stops_by_itself_long_before_its_steps_are_used(attack: Either, trained: Any) -> None:
    net, x, y = trained
    x, y = x[:60], y[:60]
    long = type(attack)(steps=300).run(net, x, y)
    assert long.passes.double().mean() < 300
    assert long.distance.median() <= 1.005 * attack.run(net, x, y).distance.median()


@BOTH
def test_more_classes_are_never_farther(attack: Either, trained: Any) -> None:
    net, x, y = trained
    one, two = (type(attack)(steps=30, candidates=count).run(net, x, y) for count in (1, 2))
    assert bool((two.distance <= one.distance).all()) and bool((two.queries >= one.queries).all())


@BOTH
def test_confidence_is_kept_where_it_can_be_and_the_rest_is_told_as_it_is(attack: Either, trained: Any) -> None:
    net, x, y = trained
    plain, sure = attack.run(net, x, y), type(attack)(steps=30, confidence=0.5).run(net, x, y)
    assert sure.success.double().mean() >= 0.99
    assert bool((margin(net, sure.x_adv, y) <= -0.5).all())
    assert sure.distance.median() > plain.distance.median()
    never = type(attack)(steps=5, searches=2, confidence=1e6).run(net, x, y)
    assert torch.equal(never.success, net(never.x_adv).argmax(1) != y)
    assert bool((margin(net, never.x_adv, y) < margin(net, x, y)).all())


@BOTH
def test_with_a_cap_it_finds_what_lies_inside(attack: Either, trained: Any) -> None:
    net, x, y = trained
    free = attack.run(net, x, y)
    cap = float(free.distance.median())
    capped = type(attack)(steps=30, eps=cap).run(net, x, y)
    assert float(capped.distance.max()) <= cap
    assert torch.equal(capped.success, net(capped.x_adv).argmax(1) != y)
    assert capped.success.double().mean() >= (free.distance < 0.99 * cap).double().mean() - 0.01
    lost = ~capped.success
    assert bool(lost.any()) and bool((margin(net, capped.x_adv, y) < margin(net, x, y))[lost].all())


@BOTH
def test_what_is_wrong_already_stays_as_it_is(attack: Attack, trained: Any) -> None:
    net, x, _ = trained
    result = attack.run(net, x, (net(x).argmax(1) + 1) % 3)
    assert torch.equal(result.x_adv, x) and bool((result.distance == 0).all()) and bool((result.queries == 1).all())


@BOTH
def test_a_target_is_reached(attack: Either, trained: Any) -> None:
    net, x, y = trained
    target = (y + 1) % 3
    result = type(attack)(steps=30, targeted=True).run(net, x, target)
    assert result.success.double().mean() >= 0.99
    assert torch.equal(net(result.x_adv).argmax(1) == target, result.success)
    assert result.distance.median() >= attack.run(net, x, y).distance.median()


@BOTH
def test_it_may_start_anywhere(attack: Attack, trained: Any) -> None:
    net, x, y = trained
    result = attack.run(net, x, y, start=x.flip(0))
    assert result.success.double().mean() >= 0.99
    assert result.distance.median() <= 1.1 * attack.run(net, x, y).distance.median()


@BOTH
def test_a_budget_of_queries_is_each_samples_own(attack: Either, trained: Any) -> None:
    net, x, y = trained
    spend = attack.run(net, x, y).queries
    budget = int(spend.double().median())
    result = type(attack)(steps=30, queries=budget).run(net, x, y)
    assert torch.equal(result.queries, spend.clamp_max(budget))
    assert torch.equal(result.x_adv[spend <= budget], attack(net, x, y)[spend <= budget])


class Guarded(Objective):
    """Wins where the answer is wrong and the mean of the sample stays where it was, as a detector would demand."""

    def __init__(self, net: nn.Module, mean: float) -> None:
        self.net, self.mean = LogitObjective(net), mean

    def evaluate(self, x: Tensor, y: Tensor) -> Evaluation:
        seen = self.net.evaluate(x, y)
        reject = 100 * ((x.flatten(1).mean(1) - self.mean).abs() - 0.03)
        return Evaluation(
            seen.logits,
            y,
            loss=seen.loss - reject,
            margin=seen.margin.maximum(reject),
            success=seen.success & (reject <= 0),
            class_margins=seen.class_margins.maximum(reject[:, None]),
        )


@pytest.mark.parametrize(
    "attack",
    [
        CarliniWagnerL2(steps=50),
        CarliniWagnerLinf(steps=50),
        FAB(steps=50),
        FAB(steps=50, norm="l2"),
        DeepFool(),
        DeepFool(norm="linf"),
    ],
    ids=lambda attack: f"{attack.name} {attack.norm}",
)
def test_each_smallest_change_attack_goes_round_a_guard(attack: Attack, trained: Any) -> None:
    net, x, y = trained
    guarded = Guarded(net, float(x.mean()))
    with torch.no_grad():
        right = (net(x).argmax(1) == y) & ((x.flatten(1).mean(1) - x.mean()).abs() < 0.02)
    x, y = x[right], y[right]
    result = attack.run(guarded, x, y)
    assert torch.equal(result.success, guarded.success(result.x_adv, y))
    assert result.success.double().mean() >= (0.9 if isinstance(attack, DeepFool) else 0.97)  # one of 49 may stay


@pytest.mark.parametrize("cls", [CarliniWagnerL2, CarliniWagnerLinf])
@pytest.mark.parametrize(
    "options",
    [{"steps": 0}, {"searches": 0}, {"candidates": 0}, {"confidence": -1.0}, {"confidence": float("nan")}],
)
def test_options_that_make_no_sense_are_refused(cls: type[Attack], options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=rf": {next(iter(options))} must be "):
        cls(**options)


def test_each_knows_its_own_norm_alone() -> None:
    with pytest.raises(OptionError, match="norm"):
        CarliniWagnerL2(norm="linf")
    with pytest.raises(OptionError, match="norm"):
        CarliniWagnerLinf(norm="l2")
