"""AutoAttack is as strong as each of its parts, from two classes up, and asks only about who still stands."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salus.attacks import APGD, PGD, AutoAttack, Square
from salus.attacks.fab import FAB
from salus.errors import OptionError

SETTINGS = [("linf", 0.05), ("l2", 0.2)]


def quick(**options: Any) -> AutoAttack:
    return AutoAttack(**{"eps": 0.05, "steps": 10, "square_queries": 50, **options})


@pytest.mark.parametrize(("norm", "eps"), SETTINGS)
def test_it_is_never_weaker_than_pgd_or_its_parts(norm: Any, eps: float, trained: Any) -> None:
    net, x, y = trained
    attack = AutoAttack(eps=eps, norm=norm, steps=30, square_queries=60)
    whole = attack.run(net, x, y)
    assert torch.equal(net(whole.x_adv).argmax(1) != y, whole.success) and float(whole.distance.max()) <= eps
    pgd = PGD(eps=eps, norm=norm, steps=30, restarts=3).run(net, x, y)
    assert 0 < int(pgd.success.sum()) < len(x)
    assert int(whole.success.sum()) >= int(pgd.success.sum())
    assert bool((whole.success >= attack.parts[0].run(net, x, y).success).all())
    for part in attack.parts[1:]:
        assert int(whole.success.sum()) >= int(part.run(net, x, y).success.sum())


def test_its_parts_are_the_standard_ones_and_share_its_options() -> None:
    attack = AutoAttack(eps=0.1, norm="l2", bounds=(-1.0, 2.0), seed=7, mask=[True, False], restarts=2, batch_size=9)
    assert [type(part) for part in attack.parts] == [APGD, APGD, FAB, Square]
    assert [getattr(part, "loss", None) for part in attack.parts] == ["ce", "dlr", None, None]
    assert [getattr(part, "targets", None) for part in attack.parts] == [None, 9, 9, None]
    assert [getattr(part, "steps", None) for part in attack.parts] == [100, 100, 100, None]
    assert [getattr(part, "restarts", None) for part in attack.parts] == [2, 2, 2, None]
    assert attack.parts[3].queries == 5000
    own = {"steps", "restarts", "targets", "square_queries", "queries", "time_limit"}  # of the whole
    for part in attack.parts:
        for field in fields(attack):
            if field.name not in own:
                assert getattr(part, field.name) == getattr(attack, field.name)


@pytest.mark.parametrize("shape", [(7,), (2, 9), (1, 5, 4)])
@pytest.mark.parametrize("classes", [2, 3, 12])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_works_on_any_shape_from_two_classes_up(
    shape: tuple[int, ...], classes: int, norm: Any, make_net: Any, make_x: Any
) -> None:
    net, x = make_net(shape, classes, scale=5.0), make_x(12, shape)
    y = net(x).argmax(1)
    result = quick(eps=0.3 if norm == "linf" else 1.0, norm=norm).run(net, x, y)
    assert torch.equal(net(result.x_adv).argmax(1) != y, result.success)
    assert bool(result.success.any())


def test_who_has_fallen_is_asked_no_more(trained: Any) -> None:
    net, x, y = trained
    y = torch.where(torch.arange(len(y)) % 4 == 0, (net(x).argmax(1) + 1) % 3, y)
    wrong = net(x).argmax(1) != y
    result = quick().run(net, x, y)
    assert bool((result.queries[wrong] == 1).all()) and torch.equal(result.x_adv[wrong], x[wrong])
    first = APGD(eps=0.05, steps=10).run(net, x, y)
    fell = first.success
    assert 0 < int(fell.sum()) < len(x)
    assert torch.equal(result.queries[fell], first.queries[fell])
    assert torch.equal(result.x_adv[fell], first.x_adv[fell])
    stand = ~result.success
    # APGD once and for two targets, FAB for two with two forward passes a step, Square.
    most = (1 + 11) + (1 + 2 * 11) + (1 + 2 * 2 * 10) + 50
    assert bool((result.queries[stand] > 50 + 33).all()) and int(result.queries.max()) <= most


def test_a_model_without_gradients_falls_to_the_part_that_needs_none(trained: Any) -> None:
    net, x, y = trained

    def stepped(batch: Tensor) -> Tensor:
        return net((batch * 100).round() / 100)  # type: ignore[no-any-return]

    attack = quick(eps=0.1, square_queries=500)
    climbing = attack.parts[0].run(stepped, x, y).success
    assert int(attack.run(stepped, x, y).success.sum()) > int(climbing.sum()) + 20


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.2), ("l2", 1.0)])
def test_targets_are_reached(norm: Any, eps: float, trained: Any) -> None:
    net, x, y = trained
    target = (y + 1) % 3
    attack = quick(eps=eps, norm=norm, targeted=True)
    assert all(part.targeted for part in attack.parts)
    result = attack.run(net, x, target)
    assert bool(result.success.all()) and torch.equal(net(result.x_adv).argmax(1), target)
    # Out of reach it goes through all parts and comes back.
    assert not bool(quick(eps=1e-6, norm=norm, targeted=True).run(net, x, target).success.all())


def test_a_budget_of_queries_holds_for_all_parts_together(trained: Any) -> None:
    net, x, y = trained
    for queries in (1, 5, 30, 60):
        result = quick(queries=queries).run(net, x, y)
        assert int(result.queries.max()) == queries
        assert float(result.distance.max()) <= 0.05


@pytest.mark.parametrize("option", ["steps", "restarts", "targets", "square_queries"])
def test_options_below_one_are_refused(option: str) -> None:
    options: dict[str, Any] = {option: 0}
    with pytest.raises(OptionError, match=option):
        AutoAttack(eps=0.1, **options)


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "eps"), SETTINGS)
def test_robust_accuracy_agrees_with_the_reference(norm: Any, eps: float, trained: Any) -> None:
    peer = pytest.importorskip("pyautoattack")
    net, x, y = trained

    class Padded(nn.Module):
        """The reference takes images and ten classes alone."""

        def forward(self, batch: Tensor) -> Tensor:
            logits = net(batch[:, :, 0])
            return torch.cat([logits, torch.full((len(logits), 7), -100.0)], 1)

    reference = peer.AutoAttack(
        Padded(),
        norm={"linf": "Linf", "l2": "L2"}[norm],
        eps=eps,
        attacks=["apgd-ce", "apgd-t"],
        version="custom",
        seed=0,
    )
    reference.apgd.n_restarts = 1
    reference.apgd_targeted.n_target_classes = 2  # the others are padding
    x_adv, _ = reference.run_standard_evaluation(x[:, :, None], y)
    expected = net(x_adv[:, :, 0]).argmax(1) != y
    result = AutoAttack(eps=eps, norm=norm, square_queries=60).run(net, x, y)
    assert int(result.success.sum()) >= int(expected.sum())
