"""Each variant of an adaptive attack alone, the control, their union, and what they are called."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from salus.attacks import PGD, AutoAttack, Square
from salus.classifier import Classifier
from salus.detectors import build_detector
from salus.guard import Guard
from salus.purifiers import BitDepth
from salus.threats import AdaptiveResult, GuardObjective, adaptive, each_alone, gray_box, oblivious
from salus.threats.adaptive import CONTROL, UNION, variants_of
from salus.threats.gray_box import twin_variants
from salus.threats.models import Adaptive, EachAlone
from salus.threats.winners import who_wins, winners

if TYPE_CHECKING:
    from conftest import Toy

ATTACK = PGD(eps=0.2, steps=2)


def won(guard: Guard, x_adv: Tensor, y: Tensor) -> Tensor:
    answers = guard(x_adv).answers
    return (answers >= 0) & (answers != y)


def test_a_variant_alone_is_the_variant_run_by_itself_whatever_others_did(toy: Toy) -> None:
    guard, (x, y) = toy.guard(0.05), (toy.test.x[:24], toy.test.y[:24])
    _, alone = each_alone(ATTACK, guard, x, y)
    control = ATTACK.run(GuardObjective(guard), x, y)
    assert torch.equal(alone[CONTROL].chances > 0.5, won(guard, control.x_adv, y))
    assert torch.equal(alone[CONTROL].queries, control.queries)
    start = oblivious(ATTACK, guard, x, y).x_adv
    assert torch.equal(alone["oblivious"].chances > 0.5, won(guard, start, y))
    for variant in variants_of(ATTACK, guard, x, y):
        if variant.goals != [None]:
            continue
        by_itself = variant.engine.run(variant.objective, x, y)
        assert torch.equal(alone[variant.name].chances > 0.5, by_itself.success), variant.name
    (each,) = [v for v in variants_of(ATTACK, guard, x, y) if v.name == "class-consistent selective, oblivious start"]
    fell = torch.zeros_like(y, dtype=torch.bool)
    for goal in each.goals:
        assert goal is not None
        result = each.engine.run(each.objective, x, goal, start=start)
        fell |= result.success & (goal != y)
    assert torch.equal(alone[each.name].chances > 0.5, fell)


@pytest.mark.parametrize("purifier", [None, BitDepth(bits=4)])
def test_the_union_is_no_weaker_than_each_nor_than_the_attack_on_what_is_left(toy: Toy, purifier: Any) -> None:
    guard = toy.guard(0.05)
    guard = Guard(toy.classifier, guard.detectors if purifier is None else (), purifier, name="toy")
    x, y = toy.test.x[:24], toy.test.y[:24]
    attack = ATTACK if purifier is None else PGD(eps=0.2, steps=1)  # one step needs no queries through a purifier
    worst, alone = each_alone(attack, guard, x, y)
    assert next(iter(alone)) == "oblivious" and list(alone)[-1] == UNION and CONTROL in alone
    for name, each in alone.items():
        assert bool((alone[UNION].chances >= each.chances).all()), name
    assert torch.equal(alone[UNION].chances > 0.5, won(guard, worst.x_adv, y))
    assert int(worst.success.sum()) >= int(adaptive(attack, guard, x, y).success.sum())
    assert float((worst.x_adv.double() - x.double()).abs().max()) <= ATTACK.eps


def test_the_variants_on_what_is_left_begin_with_the_control(toy: Toy) -> None:
    guard, (x, y) = toy.guard(0.05), (toy.test.x[:20], toy.test.y[:20])
    assert adaptive(ATTACK, guard, x, y).names[:2] == ("oblivious", CONTROL)


@pytest.mark.parametrize(
    ("detectors", "word"), [(["i-defender"], "eq6"), (["kde"], "eq6"), (["mahalanobis"], "gated score"),
                            (["deep-knn"], "gated score"), (["kde", "deep-knn"], "gated score")]
)  # fmt: skip
def test_eq_6_is_what_has_class_likelihoods(toy: Toy, detectors: list[str], word: str) -> None:
    guard = Guard(toy.classifier, [build_detector(name, {}) for name in detectors]).fit(toy.train, toy.calibration, 0.1)
    x, y = toy.test.x[:5], toy.test.y[:5]
    for names in (
        [variant.name for variant in variants_of(ATTACK, guard, x, y)],
        [variant.name for variant in twin_variants(ATTACK, guard, y)],
    ):
        called = {name.split(" alpha")[0] for name in names if "alpha" in name}
        assert called == {word}


def test_an_oblivious_result_at_hand_is_not_computed_again(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    guard, (x, y) = toy.guard(0.05), (toy.test.x[:20], toy.test.y[:20])
    bare = oblivious(ATTACK, guard, x, y)
    engines: tuple[Callable[..., AdaptiveResult], ...] = (adaptive, gray_box)
    expected = [engine(ATTACK, guard, x, y).x_adv for engine in engines]

    def again(*_: Any, **__: Any) -> None:
        raise AssertionError("it was at hand")

    monkeypatch.setattr("salus.threats.worst.oblivious", again)
    for engine, before in zip(engines, expected, strict=True):
        assert torch.equal(engine(ATTACK, guard, x, y, bare=bare).x_adv, before)


class Counting(nn.Module):
    """Counts the samples of passes without gradients."""

    blind: ClassVar[int] = 0

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        Counting.blind += 0 if torch.is_grad_enabled() else len(x)
        return self.module(x)  # type: ignore[no-any-return]


def test_of_an_ensemble_the_part_without_gradients_runs_once(toy: Toy) -> None:
    attack = AutoAttack(eps=0.05, steps=4, square_queries=300)
    x, y = toy.test.x[:6], toy.test.y[:6]
    classifier = Classifier(Counting(toy.classifier.module), toy.classifier.classes, shape=(8,))
    for guard in (toy.guard(0.05), Guard(classifier, (), BitDepth(bits=6))):
        variants = list(variants_of(attack, guard, x, y))
        assert [variant.name for variant in variants if isinstance(variant.engine, Square)] == ["square"]
        assert not any(variant.engine.parts for variant in variants)
        assert {"apgd: control", "apgd#2: end-to-end", "fab: end-to-end"} <= {variant.name for variant in variants}
        assert len({variant.name for variant in variants}) == len(variants)
    Counting.blind = 0
    result = adaptive(attack, guard, x, y)
    standing = ~result.success
    assert Counting.blind <= (300 + 2 * 300 + 200) * len(
        x
    )  # the oblivious one's, the guard's of two passes, and judging
    assert not bool(standing.any()) or int(result.queries[standing].max()) < 3 * 300
    assert sum(isinstance(v.engine, Square) for v in twin_variants(attack, toy.guard(0.05), y)) == 1


def test_what_has_no_gradient_runs_once_on_the_guards_own_objective(toy: Toy) -> None:
    guard, (x, y) = toy.guard(0.05), (toy.test.x[:5], toy.test.y[:5])
    (only,) = variants_of(Square(eps=0.1, queries=20), guard, x, y)
    assert type(only.objective) is GuardObjective


def test_who_wins_is_who_wins_most_alone_and_ties_are_told() -> None:
    def alone(**rates: float | None) -> dict[str, dict[str, float | None]]:
        return {name: {"attack_success_rate": rate} for name, rate in rates.items()}

    assert winners(alone(oblivious=0.9, control=0.2, a=0.5, union=0.95)) == ("a",)
    assert who_wins(alone(oblivious=0.9, control=0.2, a=0.5, union=0.95)) == "a"
    assert who_wins(alone(control=0.5, a=0.5)) == "the control suffices"
    assert who_wins(alone(control=0.1, a=0.5, b=0.5)) == "a and b alike"
    assert who_wins(alone(control=0.1, a=0.5, b=0.5, c=0.5, d=0.5)) == "4 variants alike"
    assert who_wins(alone(oblivious=0.5, control=0.0, a=None)) == "nobody"


def test_who_tells_each_alone_counts_its_turns_and_is_stored_apart(toy: Toy) -> None:
    from salus.threats import Samples

    guard, rows = toy.guard(0.05), torch.arange(4)
    samples = Samples(toy.test.x[:4], toy.test.y[:4], None, rows)
    union, alone = (threat().turns(ATTACK, guard, samples) for threat in (Adaptive, EachAlone))
    assert union[0].shared and not any(turn.shared for turn in union[1:])
    assert len(alone) > len(union)
    assert EachAlone().identity(guard) != Adaptive().identity(guard)
