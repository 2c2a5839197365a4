"""APGD follows its algorithm, is no weaker than what it replaces, and asks no more than it needs."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salus.attacks import APGD, PGD, Evaluation, LogitObjective, Objective
from salus.attacks.apgd import dlr
from salus.attacks.objective import logit_margin
from salus.errors import OptionError

SETTINGS = [("linf", 0.05), ("l2", 0.2)]


def reference(
    loss: Callable[[Tensor], Tensor], x: Tensor, start: Tensor, eps: float, norm: str, steps: int, rho: float = 0.75
) -> Tensor:
    """Algorithm 1 of Croce and Hein for one sample ``[1, ...]``, with the checkpoints and tests of their code."""

    def project(point: Tensor) -> Tensor:
        point = point.clamp(0, 1)
        if norm == "linf":
            return point.clamp(x - eps, x + eps)
        length = float((point - x).norm())
        return x + (point - x) * min(1.0, eps / length) if length else point

    def evaluate(point: Tensor) -> tuple[float, Tensor]:
        point = point.detach().requires_grad_()
        value = loss(point)
        (slope,) = torch.autograd.grad(value.sum(), point)
        return float(value.detach()), slope.sign() if norm == "linf" else slope / slope.norm()

    before = point = start
    value, direction = evaluate(point)
    best, best_value, best_direction = point, value, direction
    values, size, checked, halved = [value], 2 * eps, value, True
    period, since = max(int(0.22 * steps), 1), 0
    for step in range(steps):
        ahead = project(point + size * direction)
        if step:
            ahead = project(point + 0.75 * (ahead - point) + 0.25 * (point - before))
        before, point = point, ahead
        value, direction = evaluate(point)
        values.append(value)
        if value > best_value:
            best, best_value, best_direction = point, value, direction
        since += 1
        if since == period:
            rises = sum(values[-k] > values[-k - 1] for k in range(1, period + 1))
            halve = rises <= rho * period or (not halved and best_value <= checked)
            if halve:
                size, point, direction = size / 2, best, best_direction
            halved, checked, since = halve, best_value, 0
            period = max(period - max(int(0.03 * steps), 1), int(0.06 * steps), 1)
    return best


def wide(trained: Any) -> tuple[nn.Module, Tensor, Tensor]:
    """In float64 the signs of gradients do not hang on rounding."""
    net, x, y = trained
    return copy.deepcopy(net).double(), x.double(), y


@pytest.mark.parametrize(("norm", "eps"), SETTINGS)
@pytest.mark.parametrize("steps", [7, 30])
def test_it_is_the_published_algorithm(norm: Any, eps: float, steps: int, trained: Any) -> None:
    net, x, y = wide(trained)
    x, y = x[:8], y[:8]
    # With two classes the margin is the loss that is climbed, and the lowest margin is what is kept.
    two: Callable[[Tensor], Tensor] = lambda batch: net(batch)[:, :2]  # noqa: E731
    y = two(x).argmax(1)
    start = (x + 0.2 * eps * torch.sin(torch.arange(24) * 1.7)).clamp(0, 1)
    got = APGD(eps=eps, norm=norm, loss="dlr", steps=steps, early_stop=False).run(two, x, y, start=start).x_adv
    best = torch.empty_like(x)
    for row in range(len(x)):
        one = slice(row, row + 1)

        def loss(point: Tensor, label: Tensor = y[one]) -> Tensor:
            return -logit_margin(two(point), label)

        best[one] = reference(loss, x[one], start[one], eps, norm, steps)
    # Of a value whose gradient is nearly 0 the sign hangs on a processor's rounding, in float64 too.
    apart = (got - best).abs() > 1e-9
    assert float(apart.double().mean()) < 0.01
    torch.testing.assert_close(got, best, rtol=0, atol=0.01 * eps)


@pytest.mark.parametrize(("norm", "eps"), SETTINGS)
def test_it_is_at_least_as_strong_as_pgd_with_as_many_passes(norm: Any, eps: float, trained: Any) -> None:
    net, x, y = trained
    pgd = PGD(eps=eps, norm=norm, steps=100).run(net, x, y)
    for loss in ("ce", "dlr"):
        apgd = APGD(eps=eps, norm=norm, loss=loss).run(net, x, y)
        assert 0 < int(pgd.success.sum()) < len(x)
        assert int(apgd.success.sum()) >= int(pgd.success.sum())


def test_in_l1_it_is_about_as_strong_as_pgd_and_changes_few_values(trained: Any) -> None:
    net, x, y = trained
    pgd, apgd = (attack(eps=0.6, norm="l1", steps=100).run(net, x, y) for attack in (PGD, APGD))
    assert 0 < 0.85 * int(pgd.success.sum()) <= int(apgd.success.sum()) < len(x)
    fallen = apgd.success & (apgd.distance > 0)
    assert float((apgd.x_adv != x).flatten(1).sum(1)[fallen].double().mean()) < 12


@pytest.mark.parametrize(("norm", "eps"), SETTINGS)
@pytest.mark.parametrize("options", [{}, {"loss": "dlr"}, {"loss": "dlr", "targets": 2}])
def test_stopping_early_never_loses_a_success_and_costs_less(
    norm: Any, eps: float, options: dict[str, Any], trained: Any
) -> None:
    net, x, y = trained
    attack = APGD(eps=eps, norm=norm, steps=20, **options)
    early, full = attack.run(net, x, y), replace(attack, early_stop=False).run(net, x, y)
    assert torch.equal(early.success, full.success)
    assert int(early.passes.sum()) < int(full.passes.sum())
    runs = options.get("targets", 1)
    assert torch.equal(full.passes, torch.full_like(y, 20 * runs))
    assert torch.equal(full.queries, torch.full_like(y, 21 * runs + 1))
    lost = ~early.success
    margins = [logit_margin(net(result.x_adv), y)[lost] for result in (full, early)]
    assert bool(lost.any()) and bool((margins[0] <= margins[1] + 1e-5).all())


def test_what_is_fooled_already_leaves_at_once_and_untouched(trained: Any) -> None:
    net, x, y = trained
    y = torch.where(torch.arange(len(y)) % 2 == 0, (net(x).argmax(1) + 1) % 3, y)
    wrong = net(x).argmax(1) != y
    for options in ({}, {"loss": "dlr"}, {"loss": "dlr", "targets": 2}):
        result = APGD(eps=0.03, steps=5, **options).run(net, x, y)
        assert torch.equal(result.x_adv[wrong], x[wrong])
        assert bool((result.passes[wrong] == 0).all()) and bool((result.queries[wrong] == 1).all())
        assert bool((result.passes[~wrong] > 0).all())


def test_restarts_never_weaken(trained: Any) -> None:
    net, x, y = trained
    attack = APGD(eps=0.05, steps=4)
    one, three = attack.run(net, x, y), replace(attack, restarts=3).run(net, x, y)
    assert bool((three.success >= one.success).all())
    lost = ~three.success
    margins = [logit_margin(net(result.x_adv), y)[lost] for result in (three, one)]
    assert bool((margins[0] <= margins[1] + 1e-5).all()) and bool((margins[0] < margins[1]).any())


@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_a_targeted_attack_reaches_its_target(loss: Any, trained: Any) -> None:
    net, x, y = trained
    target = (y + 1) % 3
    for norm, eps in (("linf", 0.2), ("l2", 1.0)):
        result = APGD(eps=eps, norm=norm, loss=loss, targeted=True).run(net, x, target)  # type: ignore[arg-type]
        assert bool(result.success.all()) and torch.equal(net(result.x_adv).argmax(1), target)


@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_dlr_does_not_depend_on_the_scale_of_the_logits(factor: float, trained: Any) -> None:
    net, x, y = wide(trained)
    attack = APGD(eps=0.05, loss="dlr", steps=20)
    plain, scaled = attack.run(net, x, y), attack.run(lambda batch: factor * net(batch), x, y)
    assert int((plain.success != scaled.success).sum()) <= 1


def test_the_ratio_is_that_of_the_paper_and_falls_back_below_four_classes() -> None:
    rng = torch.Generator().manual_seed(0)
    for classes in (2, 3, 4, 10):
        logits = torch.randn(50, classes, generator=rng, dtype=torch.float64)
        y = torch.arange(50) % classes
        margin = logit_margin(logits, y)
        z = logits.sort(1, descending=True).values
        if classes == 2:
            assert torch.equal(dlr(logits, margin, False), -margin)
            assert torch.equal(dlr(logits, margin, True), -margin)
            continue
        torch.testing.assert_close(dlr(logits, margin, False), -margin / (z[:, 0] - z[:, 2]))
        # Three classes: the ratio of the third would be 1 wherever it is the lowest.
        spread = 1 if classes == 3 else z[:, 0] - (z[:, 2] + z[:, 3]) / 2
        torch.testing.assert_close(dlr(logits, margin, True), -margin / spread)


def test_ties_make_no_nan_of_the_ratio() -> None:
    for table in (
        torch.zeros(2, 5),
        torch.full((2, 5), torch.inf),
        torch.tensor([[torch.inf, -torch.inf, 0, 0, 0]] * 2),
    ):
        logits = table.requires_grad_()
        loss = dlr(logits, logit_margin(logits, torch.tensor([0, 1])), False)
        assert bool(loss.isfinite().all())


def test_targets_are_tried_from_the_nearest_at_x_on() -> None:
    # Class 3 is the nearest at x but out of reach; class 1 is the farthest and the only one that can be reached.
    def model(x: Tensor) -> Tensor:
        far = 60 * (x.mean(1) - 0.5) - 3
        return torch.stack([0 * far, far, x[:, 1] * 1e-3 - 0.5, x[:, 1] * 1e-3 - 0.1], 1)

    x, y = torch.full((3, 30), 0.5), torch.zeros(3, dtype=torch.int64)
    attack = APGD(eps=0.1, loss="dlr", steps=10, targets=1)
    assert not bool(attack.run(model, x, y).success.any())
    two, three = replace(attack, targets=2).run(model, x, y), replace(attack, targets=9).run(model, x, y)
    assert not bool(two.success.any()) and bool(three.success.all())
    assert bool((model(three.x_adv).argmax(1) == 1).all())
    assert bool((two.passes == 20).all()) and bool((three.passes > 20).all())


class Guarded(Objective):
    """Wrong labels count only where the input is accepted; some classes are no win at all."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net

    def evaluate(self, x: Tensor, y: Tensor) -> Evaluation:
        seen = Evaluation(self.net(x), y)
        acceptance = 0.55 - x.flatten(1).mean(1)
        never = torch.arange(seen.logits.shape[1]) == 2
        class_margins = torch.where(never, torch.inf, torch.maximum(seen.class_margins, -acceptance[:, None]))
        return Evaluation(
            seen.logits,
            y,
            loss=seen.loss + acceptance.clamp(max=0),
            margin=torch.maximum(seen.margin, -acceptance),
            success=seen.success & (acceptance >= 0),
            class_margins=class_margins,
        )


@pytest.mark.parametrize("options", [{}, {"loss": "dlr"}, {"loss": "dlr", "targets": 2}])
def test_it_climbs_the_objective_of_a_guard(options: dict[str, Any], trained: Any) -> None:
    net, x, y = trained
    objective = Guarded(net)
    result = APGD(eps=0.1, steps=20, **options).run(objective, x, y)
    assert torch.equal(result.success, objective.success(result.x_adv, y))
    bare = APGD(eps=0.1, steps=20, **options).run(LogitObjective(net), x, y)
    judged = objective.success(bare.x_adv, y)
    assert int(result.success.sum()) >= int(judged.sum()) > 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"loss": "cw"}, "loss must be 'ce', 'dlr' or 'pma'"),
        ({"steps": 0}, "APGD: steps must be a whole number from 1 up, not 0"),
        ({"restarts": 0}, "restarts must be a whole number from 1 up, not 0"),
        ({"loss": "dlr", "targets": 0}, "targets must be a whole number from 1 up or none, not 0"),
        ({"targets": 3}, "loss='dlr' or 'pma' alone"),
        ({"loss": "dlr", "targets": 3, "targeted": True}, "untargeted"),
        ({"rho": 0.0}, "rho must be a number above 0 and up to 1, not"),
        ({"rho": math.nan}, "rho must be a number above 0 and up to 1, not nan"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        APGD(eps=0.1, **options)


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "eps"), SETTINGS)
@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_it_is_at_least_as_strong_as_autoattacks_own(norm: Any, eps: float, loss: Any, trained: Any) -> None:
    base = pytest.importorskip("pyautoattack.autopgd_base")
    net, x, y = trained

    def padded(batch: Tensor) -> Tensor:  # the reference wants ten classes for its checks, and four for the ratio
        logits = net(batch)
        return torch.cat([logits, torch.full((len(batch), 7), -100.0)], 1) if loss == "ce" else logits

    peer = base.APGDAttack(padded, n_iter=100, norm={"linf": "Linf", "l2": "L2"}[norm], eps=eps, loss=loss, seed=0)
    fooled = net(peer.perturb(x.clone(), y.clone())).argmax(1) != y
    result = APGD(eps=eps, norm=norm, loss=loss).run(net, x, y)
    assert 0 < int(fooled.sum()) < len(x)
    assert int(result.success.sum()) >= int(fooled.sum()) - 1  # each has its own random starts


def test_what_falls_in_the_wider_balls_of_l1_alone_is_no_success() -> None:
    class Line(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([0.5 - x[:, 0], x[:, 0] - 0.5], 1)

    x, y = torch.full((4, 3), 0.1), torch.zeros(4, dtype=torch.int64)
    near, far = (APGD(eps=eps, norm="l1", steps=20).run(Line(), x, y) for eps in (0.45, 0.2))
    assert near.success.all()
    assert not far.success.any()  # 0.6 away would do, and 0.4 nearly
    assert ((far.x_adv - x).abs().sum(1) <= 0.2).all()
    assert (far.passes >= 20).all()  # the wider balls' are counted
