"""What attacks that see answers alone promise: starts, budgets, caps, and that answers are all they see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salus.attacks import CGBA, Boundary, Evaluation, HopSkipJump, Objective
from salus.attacks.ball import ball
from salus.attacks.decision import DecisionAttack, _block_sizes, _noise
from salus.errors import OptionError

KINDS = [HopSkipJump(), HopSkipJump(norm="linf"), Boundary(), CGBA()]


@pytest.fixture(params=KINDS, ids=["hop-skip-jump", "hop-skip-jump-linf", "boundary", "cgba"])
def attack(request: pytest.FixtureRequest) -> DecisionAttack:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def trained(trained: tuple[nn.Module, Tensor, Tensor]) -> tuple[nn.Module, Tensor, Tensor]:
    """The net and 42 of its samples: every query of these attacks is a forward pass."""
    net, x, y = trained
    return net, x[:42], y[:42]


def labels(net: Any) -> Callable[[Tensor], Tensor]:
    return lambda batch: net(batch).argmax(1)


def test_answers_are_all_that_is_seen(attack: DecisionAttack, trained: Any) -> None:
    net, x, y = trained
    attack = replace(attack, queries=200)
    from_logits, from_labels = attack.run(net, x[:20], y[:20]), attack.run(labels(net), x[:20], y[:20])
    assert torch.equal(from_logits.x_adv, from_labels.x_adv)
    assert torch.equal(from_logits.queries, from_labels.queries)
    assert not bool(from_logits.passes.any())
    squashed = attack(lambda batch: net(batch) * 1e-6, x[:20], y[:20])
    assert torch.equal(squashed, from_logits.x_adv)


def test_a_rejection_is_never_a_success(attack: DecisionAttack, trained: Any) -> None:
    net, x, y = trained

    def guarded(batch: Tensor) -> Tensor:  # rejects whatever it is not sure of
        logits = net(batch)
        best = logits.topk(2).values
        return torch.where(best[:, 0] - best[:, 1] < 0.2, -1, logits.argmax(1))

    right = guarded(x) == y
    result = replace(attack, queries=300).run(guarded, x[right][:30], y[right][:30])
    answers = guarded(result.x_adv)
    assert torch.equal(result.success, (answers >= 0) & (answers != y[right][:30]))
    assert float(result.success.double().mean()) > 0.9
    bare = replace(attack, queries=300).run(net, x[right][:30], y[right][:30])
    assert float(result.distance.median()) > float(bare.distance.median())


@pytest.mark.parametrize("queries", [1, 2, 5, 12, 33, 100, 257])
def test_no_sample_asks_more_than_it_may(attack: DecisionAttack, queries: int, trained: Any) -> None:
    net, x, y = trained
    asked = 0

    def counting(batch: Tensor) -> Tensor:
        nonlocal asked
        asked += len(batch)
        return net(batch).argmax(1)  # type: ignore[no-any-return]

    result = replace(attack, queries=queries)._run(counting, x, y, judge=False)
    assert int(result.queries.max()) <= queries and int(result.queries.sum()) == asked
    if isinstance(attack, Boundary):  # every query that is left is a proposal
        assert bool((result.queries[result.distance > 0] == queries).all())


def test_more_queries_never_make_it_worse_and_much_better_soon(attack: DecisionAttack, trained: Any) -> None:
    net, x, y = trained
    few, many = (replace(attack, queries=queries).run(net, x, y) for queries in (60, 600))
    assert bool((many.success >= few.success).all())
    assert float(many.distance.median()) < 0.8 * float(few.distance.median())


def test_what_is_fooled_already_costs_one_query_and_stays(attack: DecisionAttack, trained: Any) -> None:
    net, x, _ = trained
    wrong = (net(x).argmax(1) + 1) % 3
    result = replace(attack, queries=100).run(net, x, wrong)
    assert torch.equal(result.x_adv, x) and bool(result.success.all()) and bool((result.queries == 1).all())


def test_samples_without_a_start_are_reported_and_harm_no_neighbour(attack: DecisionAttack, trained: Any) -> None:
    net, x, _ = trained
    stubborn = torch.arange(12) % 3 == 1
    x = x[:12].clamp(0.01, 0.99)
    x[stubborn, 0, 0] = 0.0

    def model(batch: Tensor) -> Tensor:  # sees through whatever is done to the rest of a stubborn one
        return torch.where(batch[:, 0, 0] == 0, 0, net(batch).argmax(1))

    attack = replace(attack, queries=300, start_tries=20, mask=[False] + [True] * 23)
    y = model(x)
    result = attack.run(model, x, y)
    assert torch.equal(result.x_adv[stubborn], x[stubborn]) and not bool(result.success[stubborn].any())
    assert bool((result.queries[stubborn] == 21).all())
    assert float(result.success[~stubborn].double().mean()) > 0.8
    fooled = torch.where(stubborn, 1, y)
    torch.testing.assert_close(attack(model, x, fooled)[~stubborn], result.x_adv[~stubborn], rtol=0, atol=1e-6)


def test_a_given_start_is_used_and_a_useless_one_replaced(attack: DecisionAttack, trained: Any) -> None:
    net, x, y = trained
    start = x.roll(1, 0)  # of another class
    assert bool((net(start).argmax(1) != y).float().mean() > 0.9)
    result = replace(attack, queries=300, start_tries=0).run(net, x, y, start=start)
    assert torch.equal(result.success, net(start).argmax(1) != y)
    useless = replace(attack, queries=300).run(net, x, y, start=x)
    assert float(useless.success.double().mean()) > 0.9


def test_a_target_is_reached_from_a_start_of_its_class(attack: DecisionAttack, trained: Any) -> None:
    net, x, y = trained
    target, start = (y + 1) % 3, x.roll(-1, 0)
    right = (net(start).argmax(1) == target) & (net(x).argmax(1) == y)
    result = replace(attack, queries=500, targeted=True).run(net, x[right], target[right], start=start[right])
    assert bool(result.success.all()) and torch.equal(net(result.x_adv).argmax(1), target[right])
    way = (start[right] - x[right]).flatten(1)
    whole = way.norm(dim=1) if attack.norm == "l2" else way.abs().amax(1)
    assert float((result.distance / whole).median()) < 0.6


def test_eps_caps_what_counts_and_not_the_walk(attack: DecisionAttack, trained: Any) -> None:
    net, x, y = trained
    free = replace(attack, queries=250).run(net, x, y)
    eps = float(free.distance[free.success].median())
    capped = replace(attack, queries=250, eps=eps).run(net, x, y)
    within = free.success & (free.distance <= eps)
    assert torch.equal(capped.x_adv[within], free.x_adv[within])
    assert float(capped.distance.max()) <= eps and torch.equal(capped.queries, free.queries)
    assert bool(capped.success[within].all())
    assert torch.equal(capped.success, net(capped.x_adv).argmax(1) != y)
    outside = free.success & (free.distance > eps)
    torch.testing.assert_close(
        capped.distance[outside], torch.full_like(capped.distance[outside], eps), rtol=1e-4, atol=0
    )
    assert torch.equal(capped.x_adv[~free.success], x[~free.success])
    assert torch.equal(replace(attack, queries=100, eps=0.0)(net, x, y), x)


def test_masked_values_stay_and_integers_stay_whole(trained: Any, make_net: Callable[..., nn.Module]) -> None:
    net = make_net((6,), 3, scale=20.0)
    x = torch.randint(0, 6, (40, 6), generator=torch.Generator().manual_seed(0)) / 5
    y = net(x).argmax(1)
    for attack in KINDS:
        result = replace(attack, queries=300, units=(0.2,) * 3 + (0.0,) * 3, mask=[True] * 5 + [False]).run(net, x, y)
        assert torch.equal(result.x_adv[:, 5], x[:, 5])
        steps = (result.x_adv[:, :3] - x[:, :3]) / 0.2
        assert float((steps - steps.round()).abs().max()) < 1e-5
        assert float(result.success.double().mean()) > 0.5
        assert torch.equal(result.success, net(result.x_adv).argmax(1) != y)


def test_no_result_depends_on_the_batch(
    attack: DecisionAttack, make_net: Callable[..., nn.Module], make_x: Callable[..., Tensor]
) -> None:
    for shape in ((1,), (2, 30), (3, 6, 7)):
        net, x = make_net(shape, 4, scale=5.0), make_x(5, shape)
        y = net(x).argmax(1)
        y[::4] = (y[::4] + 1) % 4
        whole = replace(attack, queries=150, batch_size=5).run(net, x, y)
        for size in (1, 2):
            parts = replace(attack, queries=150, batch_size=size).run(net, x, y)
            assert torch.equal(parts.x_adv, whole.x_adv) and torch.equal(parts.queries, whole.queries)


def test_a_guards_objective_is_attacked_by_its_success_alone(attack: DecisionAttack, trained: Any) -> None:
    net, x, y = trained

    class AcceptedAndWrong(Objective):
        def evaluate(self, points: Tensor, labels: Tensor) -> Evaluation:
            wrong = net(points).argmax(1) != labels
            return Evaluation(None, labels, success=wrong & (points[:, 0, 0] < 0.9))

    result = replace(attack, queries=300).run(AcceptedAndWrong(), x[:30], y[:30])
    assert float(result.success.double().mean()) > 0.9 and bool((result.x_adv[result.success][:, 0, 0] < 0.9).all())


def test_time_that_is_up_ends_the_walk_with_what_it_has(attack: DecisionAttack, trained: Any) -> None:
    net, x, y = trained
    result = replace(attack, queries=None, steps=10**9, time_limit=0.3).run(net, x[:8], y[:8])
    assert bool(result.success.all()) and float(result.distance.max()) < 3


def test_steps_may_be_the_only_limit(attack: DecisionAttack, trained: Any) -> None:
    net, x, y = trained
    none, some = (replace(attack, queries=None, steps=steps).run(net, x, y) for steps in (0, 8))
    assert bool((some.queries[none.queries > 1] > none.queries[none.queries > 1]).all())
    assert float(some.distance.median()) < float(none.distance.median())


def test_starting_noise_has_blocks_of_every_size_and_keeps_to_bounds_and_mask() -> None:
    assert _block_sizes((1, 280)) == [1, 4, 16, 64, 256, 280]
    assert _block_sizes((3, 28, 20)) == [1, 4, 16, 28] and _block_sizes((40,)) == [1]
    x = torch.full((5, 2, 10, 7), 3.5)
    region = ball("l2", x, torch.inf, (3.0, 4.0), torch.arange(7) < 5)
    for size in (1, 4, 10):
        noise = _noise(region, 0, torch.arange(5), size, 0)
        assert noise.shape == x.shape and float(noise.min()) >= 3 and float(noise.max()) <= 4
        assert bool((noise[..., 5:] == 3.5).all()) and float(noise.std()) > 0.1
        blocks = noise[:, :, :size, : min(size, 5)].flatten(2)
        assert bool((blocks == blocks[:, :, :1]).all())


@pytest.mark.parametrize("kind", [HopSkipJump, Boundary, CGBA])
@pytest.mark.parametrize(
    "options", [{"queries": None}, {"queries": 0}, {"steps": -1}, {"start_tries": -1}, {"norm": "l1"}]
)
def test_options_that_make_no_sense_are_refused(kind: Any, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        kind(**options)
