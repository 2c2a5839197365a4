from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch

from salus.attacks import BIM, FGSM, PGD, DeepFool
from salus.errors import OptionError
from salus.guard import Guard
from salus.purifiers import BitDepth
from salus.threats import (
    AdaptiveResult,
    ClassConsistent,
    Eq6,
    FeatureMatching,
    GuardObjective,
    Orthogonal,
    adaptive,
    find_threat,
    gray_box,
    oblivious,
)
from salus.threats.adaptive import EQ6_ALPHAS, WEIGHTS
from salus.verdict import Verdict

if TYPE_CHECKING:
    from conftest import Toy


def fallen(guard: Guard, x_adv: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    answers = guard(x_adv).answers
    return (answers >= 0) & (answers != y)


@pytest.mark.parametrize(
    "attack", [FGSM(eps=0.2), BIM(eps=0.2, steps=6), PGD(eps=0.2, steps=10), PGD(eps=0.6, norm="l2", steps=10)]
)
def test_the_adaptive_attack_is_never_weaker_than_the_oblivious_one(toy: Toy, attack: FGSM | BIM | PGD) -> None:
    guard = toy.guard(0.05)
    x, y = toy.test.x[:120], toy.test.y[:120]
    blind = fallen(guard, oblivious(attack, guard, x, y).x_adv, y)
    knowing = adaptive(attack, guard, x, y)
    assert bool((fallen(guard, knowing.x_adv, y) >= blind).all())
    assert torch.equal(knowing.success, fallen(guard, knowing.x_adv, y))
    assert knowing.success.sum() > blind.sum()
    distance = (knowing.x_adv.double() - x.double()).flatten(1)
    reach = distance.abs().amax() if attack.norm == "linf" else distance.norm(dim=1).amax()
    assert float(reach) <= attack.eps
    assert float(knowing.x_adv.min()) >= 0 and float(knowing.x_adv.max()) <= 1


def test_the_adaptive_attack_beats_a_deliberately_weak_guard(toy: Toy) -> None:
    # One broad Gaussian on the logits: it stops an attacker who overshoots, and nobody who knows it.
    guard = toy.guard(0.05, layers="logits", components=1, covariance="diag")
    attack = PGD(eps=0.4)
    blind = fallen(guard, oblivious(attack, guard, toy.test.x, toy.test.y).x_adv, toy.test.y)
    knowing = adaptive(attack, guard, toy.test.x, toy.test.y)
    assert float(knowing.success.float().mean()) > 0.95
    assert float(blind.float().mean()) < 0.8


def test_the_class_consistent_attack_alone_gets_past_the_guard(toy: Toy) -> None:
    guard = toy.guard(0.05)
    x, y = toy.test.x, toy.test.y
    target = (y + 1) % 3
    result = PGD(eps=0.4).run(ClassConsistent(guard, weight=None), x, target)
    assert float(result.success.float().mean()) > 0.5
    assert torch.equal(guard(result.x_adv).answers[result.success], target[result.success])


def test_eq6_is_the_papers_formula(toy: Toy) -> None:
    guard = toy.guard(0.05)
    detector = guard.detectors[0]
    x, y = torch.rand(50, 8), torch.arange(50) % 3
    got = Eq6(guard, alpha=0.1).loss(x, y)
    states = toy.classifier.states(x, detector.layers)
    likelihood = -detector.class_scores(states)
    accepts = detector.class_acceptance(states) >= 0
    for i in range(50):
        others = [k for k in range(3) if k != int(y[i])]
        expected = torch.nn.functional.cross_entropy(states.logits[i : i + 1], y[i : i + 1])
        if not any(accepts[i, k] for k in others):
            expected = expected + 0.1 * max(likelihood[i, k] for k in others)
        assert torch.allclose(got[i].float(), expected, rtol=1e-3, atol=1e-3)


def test_success_means_accepted_and_wrong_and_the_margin_is_capped_by_acceptance(toy: Toy) -> None:
    guard = toy.guard(0.2)
    x, y = torch.rand(300, 8), torch.arange(300) % 3
    verdict = guard(x)
    evaluation = GuardObjective(guard).evaluate(x, y)
    assert torch.equal(evaluation.success, verdict.accepted & (verdict.labels != y))
    decided = evaluation.margin.abs() > 1e-4
    assert torch.equal((evaluation.margin < 0)[decided], evaluation.success[decided])


def test_a_guard_without_defences_is_attacked_as_its_bare_classifier(toy: Toy) -> None:
    bare = Guard(toy.classifier)
    attack = PGD(eps=0.2)
    white = attack.run(toy.classifier, toy.test.x, toy.test.y)
    knowing = adaptive(attack, bare, toy.test.x, toy.test.y)
    assert bool((knowing.success >= white.success).all())


def test_a_purifier_that_hides_the_gradient_is_broken_through_its_surrogate(toy: Toy) -> None:
    purifier = BitDepth(bits=3)
    guard = Guard(toy.classifier, purifier=purifier)
    x, y = toy.test.x, toy.test.y
    attack = PGD(eps=0.3)
    # Rounding has no gradient: an attack through it without a surrogate goes nowhere.
    masked = BIM(eps=0.3)(lambda z: toy.classifier(purifier.purify(z)), x, y)
    assert torch.equal(masked, x)
    assert float(adaptive(attack, guard, x, y).success.float().mean()) > 0.8


def test_targeted_attacks_have_to_reach_their_target_and_be_accepted(toy: Toy) -> None:
    guard = toy.guard(0.05)
    target = (toy.test.y + 1) % 3
    result = adaptive(PGD(eps=0.3, steps=12, targeted=True), guard, toy.test.x, target, truth=toy.test.y)
    assert torch.equal(result.success, guard(result.x_adv).answers == target)
    assert float(result.success.float().mean()) > 0.3


@pytest.mark.parametrize("engine", [adaptive, gray_box])
def test_an_attack_without_an_adaptive_form_refuses(toy: Toy, engine: Callable[..., AdaptiveResult]) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Blind(FGSM):
        adaptive: ClassVar[bool] = False

    with pytest.raises(OptionError, match="no adaptive form"):
        engine(Blind(eps=0.1), toy.guard(), toy.test.x, toy.test.y)


def test_an_unknown_threat_model_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(OptionError, match="'adaptive'"):
        find_threat("adaptve")


def test_the_same_seed_gives_the_same_attack(toy: Toy) -> None:
    guard = toy.guard(0.05)
    attack, x, y = PGD(eps=0.15, steps=5), toy.test.x[:60], toy.test.y[:60]
    first, again = adaptive(attack, guard, x, y), adaptive(attack, guard, x, y)
    assert not torch.equal(first.x_adv, x)
    assert torch.equal(first.x_adv, again.x_adv)


def test_variants_that_differ_in_their_loss_alone_are_not_run_by_attacks_that_read_margins(toy: Toy) -> None:
    guard = toy.guard()
    result = adaptive(DeepFool(), guard, toy.test.x[:40], toy.test.y[:40])
    assert result.names == ("oblivious", "end-to-end", "end-to-end, each class")


def test_the_smallest_change_is_the_smallest_of_all_variants(toy: Toy) -> None:
    guard = toy.guard()
    x, y = toy.test.x[:60], toy.test.y[:60]
    result = adaptive(DeepFool(), guard, x, y)
    first = DeepFool().run(GuardObjective(guard), x, y)
    both = result.success & first.success
    distance = (result.x_adv.double() - x.double()).norm(dim=1)
    assert bool(both.any()) and bool((distance[both] <= first.distance[both] + 1e-9).all())


def test_a_gray_box_attacker_sees_the_twin_alone(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    guard, twin = toy.guard(0.05), toy.guard(0.05)
    asked: list[str] = []
    monkeypatch.setattr(guard, "view", lambda x: asked.append("view"))
    monkeypatch.setattr(type(guard), "__call__", _counting(type(guard).__call__, guard, asked))
    result = gray_box(PGD(eps=0.3, steps=10), twin, toy.test.x[:40], toy.test.y[:40])
    assert asked == []
    assert result.names[:2] == ("oblivious", "eq6 alpha=1")
    assert torch.equal(result.success, fallen(twin, result.x_adv, toy.test.y[:40]))


def _counting(call: Callable[..., Verdict], guard: Guard, asked: list[str]) -> Callable[..., Verdict]:
    def counted(self: Guard, *args: Any, **options: Any) -> Verdict:
        if self is guard:
            asked.append("verdict")
        return call(self, *args, **options)

    return counted


def test_on_the_guard_itself_the_gray_box_attack_wins_nearly_as_often_as_the_adaptive_one(toy: Toy) -> None:
    guard, (x, y) = toy.guard(0.05), (toy.test.x[:80], toy.test.y[:80])
    attack = PGD(eps=0.3, steps=12)
    won = fallen(guard, gray_box(attack, guard, x, y).x_adv, y).float().mean()
    blind = fallen(guard, oblivious(attack, guard, x, y).x_adv, y).float().mean()
    knowing = adaptive(attack, guard, x, y).success.float().mean()
    assert blind < won <= knowing
    assert won > 0.85 * knowing


def test_without_a_defence_a_gray_box_attack_is_one_on_a_network_trained_apart(toy: Toy) -> None:
    bare, attack = Guard(toy.classifier), PGD(eps=0.2, steps=10)
    x, y = toy.test.x[:50], toy.test.y[:50]
    assert torch.equal(gray_box(attack, bare, x, y).x_adv, oblivious(attack, bare, x, y).x_adv)


def test_a_gray_box_attack_keeps_to_its_ball_and_its_targets(toy: Toy) -> None:
    twin, (x, y) = toy.guard(0.05), (toy.test.x[:40], toy.test.y[:40])
    result = gray_box(PGD(eps=0.3, steps=12, targeted=True), twin, x, (y + 1) % 3, truth=y)
    assert float((result.x_adv.double() - x.double()).abs().max()) <= 0.3
    assert torch.equal(result.success, twin(result.x_adv).answers == (y + 1) % 3)


def aims(y: torch.Tensor) -> torch.Tensor:
    return (y + 1) % 3


#: Each adaptive objective by itself; Eq. 6 is raised away from the label, the others towards another class.
ALONE: dict[str, Callable[..., GuardObjective]] = {
    "orthogonal": lambda guard, x: Orthogonal(guard),
    "matching": FeatureMatching,
    **{f"eq6 {alpha:g}": lambda guard, x, alpha=alpha: Eq6(guard, alpha=alpha) for alpha in EQ6_ALPHAS},
    **{
        f"consistent {weight}": lambda guard, x, weight=weight: ClassConsistent(guard, weight=weight)
        for weight in WEIGHTS
    },
}


def won(name: str, guard: Guard, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Tell which inputs are accepted under a wrong class after the attack, whichever class that is."""
    objective, away, found = ALONE[name](guard, x), name.startswith("eq6"), []
    for goal in [y] if away else [(y + step) % 3 for step in (1, 2)]:
        # Equal steps, as the paper's: with small weights Eq. 6 passes through what is accepted, and settles elsewhere.
        result = PGD(eps=0.5, steps=60, schedule="madry").run(objective, x, goal)
        fell = fallen(guard, result.x_adv, y) if away else guard(result.x_adv).answers == goal
        assert torch.equal(result.success, fell)
        found.append(fell)
    return torch.stack(found).any(0)


@pytest.mark.parametrize("name", ALONE)
def test_each_adaptive_attack_wins_where_nothing_is_defended(toy: Toy, name: str) -> None:
    guard = toy.guard(0.05)
    guard.detectors[0].threshold_ = 1e9  # it accepts whatever it is shown
    assert float(won(name, guard, toy.test.x, toy.test.y).float().mean()) > 0.9


@pytest.mark.parametrize("name", ALONE)
def test_each_adaptive_attack_gets_past_a_deliberately_weak_guard(toy: Toy, name: str) -> None:
    guard = toy.guard(0.05, layers="logits", components=1, covariance="diag")
    blind = oblivious(PGD(eps=0.5, steps=60), guard, toy.test.x, toy.test.y).x_adv
    assert float(fallen(guard, blind, toy.test.y).float().mean()) < 0.5
    assert float(won(name, guard, toy.test.x, toy.test.y).float().mean()) > 0.7


def test_an_orthogonal_step_costs_the_other_side_nothing_to_first_order(toy: Toy) -> None:
    guard, objective = toy.guard(0.05), Orthogonal(toy.guard(0.05))
    y = aims(toy.test.y[:60])
    x = PGD(eps=0.4, steps=3, step_size=0.1, early_stop=False).run(objective, toy.test.x[:60], y).x_adv
    x.requires_grad_(True)
    view = guard.view(x)
    assert view.class_acceptance is not None
    label, accepted = objective.label_margins(view, y)[0], view.class_acceptance.gather(1, y[:, None])[:, 0]
    (step,) = torch.autograd.grad(objective.goal(x, view, y).sum(), x, retain_graph=True)
    (by_label,) = torch.autograd.grad(label.sum(), x, retain_graph=True)
    (by_acceptance,) = torch.autograd.grad(accepted.sum(), x)
    passed, spare = label.detach() >= 0.2, torch.where(label >= 0.2, label, accepted).detach() > 0.4
    assert passed[~spare].any()
    assert (~passed[~spare]).any()
    kept, raised = (
        torch.where(passed[:, None], by_label, by_acceptance),
        torch.where(passed[:, None], by_acceptance, by_label),
    )
    scale = step.norm(dim=1) * kept.norm(dim=1) + 1e-12
    agree = (kept * raised).sum(1) >= 0
    assert (~agree & ~spare).any()
    assert float(((step * kept).sum(1) / scale)[~agree & ~spare].abs().max()) < 1e-4
    assert torch.allclose(step[agree | spare], raised[agree | spare])
    assert bool(((step * raised).sum(1) >= -1e-6).all())
    assert x.grad is None


def test_feature_matching_skips_a_class_that_it_has_seen_nothing_of(toy: Toy) -> None:
    guard, few = toy.guard(0.05), toy.test.y != 2
    assert FeatureMatching(guard, toy.test.x[few]).known[:2] == [True, True]
    result = adaptive(PGD(eps=0.2, steps=5), guard, toy.test.x[few][:20], toy.test.y[few][:20])
    assert {"orthogonal gradients", "feature matching"} <= set(result.names)
