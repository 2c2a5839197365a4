"""FGSM, BIM and PGD do what their papers say, and are as strong as they claim."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salus.attacks import APGD, BIM, FAB, FGSM, PGD, DeepFool, draws
from salus.attacks.objective import logit_margin
from salus.attacks.plane import cross
from salus.errors import OptionError


def gradient(net: nn.Module, point: Tensor, y: Tensor, targeted: bool) -> Tensor:
    point = point.detach().requires_grad_()
    loss = nn.functional.cross_entropy(net(point), y, reduction="sum")
    return torch.autograd.grad(-loss if targeted else loss, point)[0]


def reference(
    net: nn.Module, x: Tensor, y: Tensor, start: Tensor, eps: float, lengths: list[float], norm: str,
    targeted: bool = False,
) -> Tensor:  # fmt: skip
    """Projected gradient ascent as a textbook has it."""
    point = start
    for step in lengths:
        slope = gradient(net, point, y, targeted)
        if norm == "linf":
            point = (point + step * slope.sign()).clamp(x - eps, x + eps).clamp(0, 1)
        else:
            point = (point + step * slope / slope.flatten(1).norm(dim=1)[:, None, None]).clamp(0, 1)
            change = point - x
            length = change.flatten(1).norm(dim=1)[:, None, None]
            point = x + change * (eps / length).clamp(max=1)
    return point


def wide(trained: tuple[nn.Module, Tensor, Tensor]) -> tuple[nn.Module, Tensor, Tensor]:
    """In float64 the signs of gradients do not hang on rounding."""
    net, x, y = trained
    return copy.deepcopy(net).double(), x.double(), y


def agree(got: Tensor, expected: Tensor, eps: float) -> None:
    """The same up to rounding; a sign of a gradient next to zero may differ here and there."""
    differs = (got - expected).abs() > 1e-5
    assert differs.float().mean() < 0.002, differs.float().mean()
    assert float((got - expected).abs().max()) <= 2 * eps + 1e-6


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("targeted", [False, True])
def test_attacks_agree_with_plain_references(norm: Any, targeted: bool, trained: Any) -> None:
    net, x, y = wide(trained)
    y = (y + 1) % 3 if targeted else y
    eps = 0.03 if norm == "linf" else 0.15
    common: dict[str, Any] = {"eps": eps, "norm": norm, "targeted": targeted}
    fgsm = FGSM(**common)(net, x, y)
    agree(fgsm, reference(net, x, y, x, eps, [eps], norm, targeted), eps)
    bim = BIM(**common, steps=7, step_size=eps / 5, early_stop=False)(net, x, y)
    agree(bim, reference(net, x, y, x, eps, [eps / 5] * 7, norm, targeted), eps)
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(3)).to(x)
    start = (x + (0.5 if norm == "linf" else 0.05) * eps * (2 * noise - 1)).clamp(0, 1)
    pgd = PGD(**common, steps=7, early_stop=False).run(net, x, y, start=start).x_adv
    falling = [eps * (1 + math.cos(math.pi * step / 7)) for step in range(7)]
    agree(pgd, reference(net, x, y, start, eps, falling, norm, targeted), eps)
    madry = PGD(**common, steps=7, schedule="madry", early_stop=False).run(net, x, y, start=start).x_adv
    agree(madry, reference(net, x, y, start, eps, [2.5 * eps / 7] * 7, norm, targeted), eps)


def test_steps_fall_from_two_eps_to_next_to_nothing_unless_their_size_is_given() -> None:
    attack = PGD(eps=0.1, steps=40)
    lengths = [attack.length(step) for step in range(40)]
    assert lengths[0] == 0.2 and lengths == sorted(lengths, reverse=True) and 0 < lengths[-1] < 0.01 * 0.1
    assert {PGD(eps=0.1, steps=40, schedule="madry").length(step) for step in range(40)} == {2.5 * 0.1 / 40}
    for schedule in ("cosine", "madry"):
        fixed = PGD(eps=0.1, steps=40, schedule=schedule, step_size=0.03)
        assert {fixed.length(step) for step in range(40)} == {0.03}


def test_falling_steps_are_stronger_than_constant_ones_on_a_winding_loss() -> None:
    def model(x: Tensor) -> Tensor:  # a narrow valley: what leaps over it from step to step never falls into it
        away = (x - 0.537).abs().sum(1)
        return torch.stack([away, torch.full_like(away, 0.02)], 1)

    x, y = torch.full((20, 6), 0.5), torch.zeros(20, dtype=torch.int64)
    assert bool(PGD(eps=0.1, steps=20).run(model, x, y).success.all())
    assert float(PGD(eps=0.1, steps=20, schedule="madry").run(model, x, y).success.float().mean()) < 0.2


def test_a_step_in_l1_moves_the_few_steepest_values_that_have_room() -> None:
    def model(x: Tensor) -> Tensor:
        return torch.stack([x @ torch.linspace(1, -2, 60), torch.zeros(len(x))], 1)

    x, y = torch.full((1, 60), 0.5), torch.zeros(1, dtype=torch.int64)
    x[0, 59] = 1  # the steepest, at its bound
    moved = BIM(eps=0.3, norm="l1", steps=1, step_size=0.3, early_stop=False)(model, x, y) - x
    assert (moved[0] != 0).nonzero()[:, 0].tolist() == [56, 57, 58]  # a twentieth of them
    torch.testing.assert_close(moved[0, 56:59], torch.full((3,), 0.1))


@pytest.mark.parametrize("cls", [BIM, PGD, APGD, FAB, DeepFool])
def test_attacks_in_l1_reach_the_nearest_point_beyond_a_plane(cls: Any) -> None:
    w = torch.tensor([3.0, -2.0, 1.5, 1.0, -0.5, 0.1])
    x = torch.tensor([[0.2, 0.5, 0.5, 0.6, 0.5, 0.5], [0.9, 0.1, 0.8, 0.3, 0.2, 0.6]])
    gap = torch.tensor([1.1, 2.0])
    least = cross(w.repeat(2, 1), gap, -x, 1 - x, "l1")[1]  # the first sample's steepest value has not the room

    def model(points: Tensor) -> Tensor:
        above = (points - x[whose]) @ w + gap[whose]
        return torch.stack([above, torch.zeros_like(above)], 1)

    for row in range(2):
        whose = torch.tensor([row])
        near, far = (
            cls(eps=float(least[row]) * share, norm="l1", steps=60).run(model, x[whose], torch.tensor([0]))
            for share in (1.1, 0.99)
        )
        assert bool(near.success.all()) and not bool(far.success.any())
        assert float(near.distance.max()) <= float(least[row]) * 1.1


def test_random_starts_are_the_draws_of_the_seed(trained: Any) -> None:
    net, x, y = wide(trained)
    noise = draws.uniform(5, torch.arange(len(x)), tuple(x.shape[1:]), 0) * 2 - 1
    start = (x + 0.03 * noise).clamp(x - 0.03, x + 0.03).clamp(0, 1)
    got = PGD(eps=0.03, steps=5, step_size=0.01, seed=5, early_stop=False)(net, x, y)
    agree(got, reference(net, x, y, start, 0.03, [0.01] * 5, "linf"), 0.03)


def test_pgd_from_x_is_bim(trained: Any) -> None:
    net, x, y = trained
    pgd = PGD(eps=0.03, steps=5, random_start=False, early_stop=False)(net, x, y)
    assert torch.equal(pgd, BIM(eps=0.03, steps=5, early_stop=False)(net, x, y))


def test_restarts_after_a_start_from_x_are_random(trained: Any) -> None:
    net, x, y = trained
    attack = PGD(eps=0.01, steps=2, random_start=False, early_stop=False)
    one, two = attack.run(net, x, y), replace(attack, restarts=2).run(net, x, y)
    assert not torch.equal(one.x_adv, two.x_adv)


def with_momentum(
    net: nn.Module, x: Tensor, y: Tensor, eps: float, steps: int, step: float, norm: str, mu: float, nesterov: bool
) -> Tensor:
    """MI-FGSM (Dong et al., Eq. 6 and 7) and NI-FGSM (Lin et al., Eq. 6 and 7), the latter kept inside the ball."""

    def project(point: Tensor) -> Tensor:
        point = point.clamp(0, 1)
        if norm == "linf":
            return point.clamp(x - eps, x + eps)
        length = (point - x).flatten(1).norm(dim=1)[:, None, None]
        inside: Tensor = x + (point - x) * (eps / length).nan_to_num(1, posinf=1).clamp(max=1)
        return inside

    def unit(change: Tensor) -> Tensor:
        flat = change.flatten(1)
        return change / (flat.abs().mean(1) if norm == "linf" else flat.norm(dim=1))[:, None, None]

    point, velocity = x, torch.zeros_like(x)
    for _ in range(steps):
        ahead = project(point + step * mu * velocity) if nesterov else point
        velocity = mu * velocity + unit(gradient(net, ahead, y, False))
        point = project(point + step * (velocity.sign() if norm == "linf" else unit(velocity)))
    return point


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.75, 1.0])
def test_momentum_agrees_with_a_plain_reference(norm: Any, nesterov: bool, momentum: float, trained: Any) -> None:
    net, x, y = wide(trained)
    eps = 0.03 if norm == "linf" else 0.15
    options: dict[str, Any] = {"momentum": momentum, "nesterov": nesterov, "early_stop": False}
    got = BIM(eps=eps, norm=norm, steps=6, step_size=eps / 4, **options)(net, x, y)
    agree(got, with_momentum(net, x, y, eps, 6, eps / 4, norm, momentum, nesterov), eps)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_agrees_with_torchattacks(nesterov: bool, trained: Any) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    net, x, y = trained
    images, flat = x[:, :, None], lambda batch: net(batch[:, :, 0])  # it wants [N, C, H, W]
    model = nn.Sequential(nn.Flatten(2), net).eval()
    # No step touches the rim of the ball or the bounds, beyond which it looks ahead and Salus does not.
    images = images.clamp(0.2, 0.8)
    kind = torchattacks.NIFGSM if nesterov else torchattacks.MIFGSM
    expected = kind(model, eps=0.1, alpha=0.005, steps=4, decay=0.9)(images, y)
    got = BIM(eps=0.1, steps=4, step_size=0.005, momentum=0.9, nesterov=nesterov, early_stop=False)(flat, images, y)
    agree(got, expected, 0.1)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_carries_only_those_still_standing(nesterov: bool, trained: Any) -> None:
    net, x, y = trained
    options: dict[str, Any] = {"eps": 0.05, "steps": 10, "momentum": 0.9, "nesterov": nesterov}
    early = BIM(**options).run(net, x, y)
    full = BIM(**options, early_stop=False).run(net, x, y)
    assert 0 < int(early.success.sum()) < len(x)
    assert bool((early.success >= full.success).all())
    lost = ~early.success
    agree(early.x_adv[lost], full.x_adv[lost], 0.05)


def test_no_momentum_is_the_default_and_changes_nothing(trained: Any) -> None:
    net, x, y = trained
    assert PGD(eps=0.03) == PGD(eps=0.03, momentum=0.0, nesterov=False)
    first = BIM(eps=0.03, steps=1, early_stop=False)
    assert torch.equal(first(net, x, y), replace(first, momentum=1.0)(net, x, y))  # there is none at the first step
    more = replace(first, steps=10)
    assert not torch.equal(more(net, x, y), replace(more, momentum=1.0)(net, x, y))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"momentum": -0.1}, "momentum"),
        ({"momentum": 1.1}, "momentum"),
        ({"momentum": float("nan")}, "momentum"),
        ({"nesterov": True}, "momentum above 0"),
    ],
)
def test_momentum_that_makes_no_sense_is_refused(options: dict[str, Any], sentence: str) -> None:
    for cls in (BIM, PGD):
        with pytest.raises(OptionError, match=sentence):
            cls(eps=0.1, **options)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("early_stop", [True, False])
def test_restarts_never_weaken(norm: Any, early_stop: bool, trained: Any) -> None:
    net, x, y = trained
    eps = 0.06 if norm == "linf" else 0.28
    attack = PGD(eps=eps, norm=norm, steps=3, early_stop=early_stop)
    before = attack.run(net, x, y)
    for restarts in (2, 4):
        after = replace(attack, restarts=restarts).run(net, x, y)
        assert bool((after.success >= before.success).all())
        lost = ~after.success
        margin, most = (logit_margin(net(result.x_adv), y) for result in (after, before))
        assert bool((margin[lost] <= most[lost] + 1e-5).all())
        before = after


@pytest.mark.parametrize("cls", [BIM, PGD])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_stopping_early_never_loses_a_success(cls: type[BIM] | type[PGD], norm: Any, trained: Any) -> None:
    net, x, y = trained
    eps = 0.07 if norm == "linf" else 0.3
    full = cls(eps=eps, norm=norm, steps=10, early_stop=False).run(net, x, y)
    early = cls(eps=eps, norm=norm, steps=10).run(net, x, y)
    assert 0 < int(full.success.sum()) < len(x)
    assert bool((early.success >= full.success).all())
    never = ~early.success
    assert torch.equal(early.x_adv[never], full.x_adv[never]) or cls is PGD
    assert int(early.passes.sum()) < int(full.passes.sum())
    assert torch.equal(full.passes, torch.full_like(y, 10))
    assert torch.equal(full.queries, torch.full_like(y, 10))  # who judges is the audit, not the attacker


def test_what_is_misclassified_already_is_returned_untouched(trained: Any) -> None:
    net, x, y = trained
    wrong = (net(x).argmax(1) + 1) % 3
    result = PGD(eps=0.05).run(net, x, wrong)
    assert torch.equal(result.x_adv, x) and bool(result.success.all())
    assert int(result.passes.sum()) == 0 and torch.equal(result.queries, torch.ones_like(y))
    assert bool((BIM(eps=0.05).run(net, x, wrong).queries == 1).all())


def test_targeted_attacks_reach_their_target(trained: Any) -> None:
    net, x, y = trained
    target = (y + 1) % 3
    for norm, eps in (("linf", 0.2), ("l2", 1.0)):
        result = PGD(eps=eps, norm=norm, targeted=True).run(net, x, target)  # type: ignore[arg-type]
        assert bool(result.success.all())
        assert torch.equal(net(result.x_adv).argmax(1), target)


def test_pgd_is_at_least_as_strong_as_fgsm_and_more_eps_helps(trained: Any) -> None:
    net, x, y = trained
    shares = []
    for eps in (0.02, 0.05, 0.1, 0.5):
        fgsm = FGSM(eps=eps).run(net, x, y).success.sum()
        pgd = PGD(eps=eps).run(net, x, y).success.sum()
        assert pgd >= fgsm
        shares.append(int(pgd))
    assert shares == sorted(shares) and shares[0] < shares[-1] == len(x)


@pytest.mark.parametrize("factor", [1e3, 1e6])
def test_huge_logits_do_not_hide_the_gradient(factor: float, trained: Any) -> None:
    net, x, y = trained
    for attack in (PGD(eps=0.12), PGD(eps=0.6, norm="l2"), FGSM(eps=0.12)):
        plain, masked = attack.run(net, x, y), attack.run(lambda batch: net(batch) * factor, x, y)
        assert int(plain.success.sum()) > len(x) // 2
        assert int(masked.success.sum()) >= int(plain.success.sum()) - 3


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_gradient_of_zero_or_of_infinite_slope_makes_no_nan(norm: Any) -> None:
    x, y = torch.full((4, 6), 0.5), torch.zeros(4, dtype=torch.int64)
    flat: Callable[[Tensor], Tensor] = lambda batch: batch[:, :2] * 0 + torch.tensor([1.0, 0.0])  # noqa: E731
    steep: Callable[[Tensor], Tensor] = lambda batch: (batch[:, :2] - 0.5).abs().sqrt() * 1e-3 + torch.tensor([1.0, 0.0])  # noqa: E731, E501  # fmt: skip
    for model in (flat, steep, lambda batch: batch[:, :2] * 1e-42, lambda batch: batch[:, :2] * 1e37):
        for attack in (FGSM(eps=0.1, norm=norm), PGD(eps=0.1, norm=norm), BIM(eps=0.1, norm=norm)):
            result = attack.run(model, x, y)
            assert bool(result.x_adv.isfinite().all()) and float(result.distance.max()) <= 0.1
    assert torch.equal(BIM(eps=0.1, norm=norm)(flat, x, y), x)


def test_integer_features_move_in_whole_units_and_still_fool(make_x: Any) -> None:
    x = make_x(50, (4,))
    x[:, :2] = (x[:, :2] * 10).round() / 10
    model: Callable[[Tensor], Tensor] = lambda batch: torch.stack([batch.sum(1), 2 + 0 * batch[:, 0]], 1)  # noqa: E731
    y = model(x).argmax(1)
    for norm, eps in (("linf", 0.25), ("l2", 0.35)):
        result = PGD(eps=eps, norm=norm, units=(0.1, 0.1, 0, 0)).run(model, x, y)  # type: ignore[arg-type]
        tenths = (result.x_adv[:, :2] - x[:, :2]) * 10
        assert bool(((tenths - tenths.round()).abs() < 1e-4).all()) and bool((tenths.abs() > 0.5).any())
        free = PGD(eps=eps, norm=norm).run(model, x, y)  # type: ignore[arg-type]
        assert int(free.success.sum()) >= int(result.success.sum()) > 0
