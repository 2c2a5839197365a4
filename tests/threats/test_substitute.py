"""Substitutes: trained on a victim's answers alone, or on samples of the attacker's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salus.attacks import FGSM
from salus.attacks.ball import ball
from salus.attacks.draws import normal
from salus.classifier import Classifier
from salus.data.base import Dataset, Provenance
from salus.errors import DataError, ModelError, OptionError
from salus.options import build
from salus.threats.substitute import JacobianAugmentation, agreement, attackers_share, train_on_split
from salus.training import TrainingOptions

QUICK = JacobianAugmentation(rounds=5, training=TrainingOptions(epochs=30, batch_size=32, learning_rate=5e-3))


class Counting:
    """A victim that answers with labels, and writes down what it was asked."""

    def __init__(self, classifier: Classifier, reject: float | None = None) -> None:
        self.classifier, self.reject = classifier, reject
        self.asked: list[Tensor] = []

    def __call__(self, x: Tensor) -> Tensor:
        self.asked.append(x.clone())
        top, answers = self.classifier.predict(x).softmax(1).max(1)
        return answers if self.reject is None else torch.where(top < self.reject, -1, answers)

    @property
    def points(self) -> Tensor:
        return torch.cat(self.asked)


def fit(toy: Any, attack: JacobianAugmentation = QUICK, oracle: Any = None, seeds: int = 60, **options: Any) -> Any:
    oracle = oracle or Counting(toy.classifier)
    return attack.fit(oracle, toy.calibration.x[:seeds], model="mlp", classes=toy.train.classes, **options)


def same(first: nn.Module, second: nn.Module) -> bool:
    state = second.state_dict()
    return all(torch.equal(value, state[key]) for key, value in first.state_dict().items())


def test_a_substitute_from_queries_alone_answers_as_the_victim_does_and_its_attacks_transfer(toy: Any) -> None:
    victim = Counting(toy.classifier)
    lines: list[str] = []
    found = fit(toy, oracle=victim, log=lines.append)
    assert found.queries == len(victim.points) == 60 * 2**4 and found.rejected == 0
    assert found.points == (60, 120, 240, 480, 960) and len(lines) == 5 and "round 5/5" in lines[-1]
    assert found.agreement > 0.9
    assert agreement(found.classifier, Counting(toy.classifier), toy.test.x) > 0.95
    assert float(victim.points.min()) >= 0 and float(victim.points.max()) <= 1

    x, y = toy.test.x, toy.test.y
    eps = 0.2
    x_adv = FGSM(eps=eps)(found.classifier, x, y)
    noise = ball("linf", x, eps, (0.0, 1.0)).project(x + eps * normal(0, torch.arange(len(x)), (8,), 0).sign())
    fooled, shaken = ((toy.classifier.predict(point).argmax(1) != y).float().mean() for point in (x_adv, noise))
    assert fooled > shaken + 0.3


def test_new_points_lie_along_the_slope_of_the_victims_class(toy: Any) -> None:
    attack = JacobianAugmentation(rounds=2, step=0.05, training=QUICK.training)
    victim = Counting(toy.classifier)
    fit(toy, attack, victim)
    first, second = victim.asked[0], victim.asked[1]
    inside = (first > 0.05) & (first < 0.95)
    torch.testing.assert_close((second - first).abs()[inside], torch.full_like(first, 0.05)[inside])
    # What the first round learnt says which way: the logit of the victim's class grows.
    learnt = fit(toy, JacobianAugmentation(rounds=1, training=QUICK.training)).classifier
    own = victim(first)[:, None]
    grown = learnt.predict(second).gather(1, own) - learnt.predict(first).gather(1, own)
    assert float((grown > 0).float().mean()) > 0.9
    victim.asked.clear()
    fit(toy, JacobianAugmentation(rounds=3, step=0.05, period=1, training=QUICK.training), victim)
    moved = victim.asked[2] - torch.cat(victim.asked[:2])
    assert moved.shape == (120, 8) and not torch.equal(moved[:60], victim.asked[1] - victim.asked[0])


@pytest.mark.parametrize("queries", [40, 60, 61, 100, 333, 960, 5000])
def test_the_budget_is_spent_to_the_last_question_and_never_exceeded(queries: int, toy: Any) -> None:
    victim = Counting(toy.classifier)
    quick = TrainingOptions(epochs=1)
    found = fit(toy, JacobianAugmentation(rounds=5, queries=queries, training=quick), victim)
    assert found.queries == len(victim.points) == min(queries, 960)
    assert torch.equal(victim.points[: min(queries, 60)], toy.calibration.x[: min(queries, 60)])


def test_the_seed_decides_everything_and_global_random_state_nothing(toy: Any) -> None:
    attack = JacobianAugmentation(rounds=3, queries=150, training=TrainingOptions(epochs=3, seed=5))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = fit(toy, attack)
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(2)
        second = fit(toy, attack)
    assert same(first.classifier, second.classifier) and first.agreement == second.agreement
    assert not same(first.classifier, fit(toy, JacobianAugmentation(**{**vars(attack), "seed": 1})).classifier)


def test_rejected_points_count_as_queries_and_teach_nothing(toy: Any) -> None:
    victim = Counting(toy.classifier, reject=0.9)
    found = fit(toy, QUICK, victim)
    answers = victim.classifier.predict(victim.points).softmax(1).amax(1)
    assert found.rejected == int((answers < 0.9).sum()) > 0
    assert found.queries == len(victim.points) and found.points[-1] == found.queries - found.rejected
    assert agreement(found.classifier, victim, toy.test.x) > 0.95
    with pytest.raises(DataError, match=r"rejected 60 of 60 seeds; a substitute needs two"):
        fit(toy, QUICK, lambda x: torch.full((len(x),), -1))
    with pytest.raises(ModelError, match="rejects all 300 points"):
        agreement(found.classifier, lambda x: torch.full((len(x),), -1), toy.test.x)


def test_a_guard_is_a_victim_too(toy: Any) -> None:
    guard = toy.guard()
    found = fit(toy, QUICK, lambda x: guard(x).answers)
    assert found.rejected > 0
    assert agreement(found.classifier, lambda x: guard(x).answers, toy.test.x) > 0.9


def test_of_logits_the_highest_alone_is_used(toy: Any) -> None:
    quick = JacobianAugmentation(rounds=2, training=TrainingOptions(epochs=2))
    by_logits = fit(toy, quick, lambda x: toy.classifier.predict(x) * 7)
    assert same(by_logits.classifier, fit(toy, quick).classifier)


def test_a_network_of_the_callers_own_is_trained_too(toy: Any) -> None:
    def network() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 24), nn.Tanh(), nn.Linear(24, 3))

    victim = Counting(toy.classifier)
    few = replace(QUICK, rounds=4)
    found = few.fit(victim, toy.calibration.x[:60], model=network, classes=toy.train.classes)
    assert isinstance(found.classifier.module, nn.Sequential) and found.agreement > 0.8
    assert same(found.classifier, few.fit(victim, toy.calibration.x[:60], model=network, classes="abc").classifier)


def test_signals_and_other_bounds_and_points_that_cannot_move_are_fine() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(24, 1, 16, generator=generator) * 4 - 2
    x[:3] = 2.0  # at the bounds: half of the steps lead nowhere

    def victim(points: Tensor) -> Tensor:
        assert float(points.min()) >= -2 and float(points.max()) <= 2
        return (points.mean((1, 2)) > 0).long()

    attack = JacobianAugmentation(rounds=3, step=0.4, training=TrainingOptions(epochs=5))
    found = attack.fit(victim, x, model="ecg-cnn", classes=("low", "high"), bounds=(-2.0, 2.0))
    assert found.classifier.bounds == (-2.0, 2.0) and found.classifier.shape == (1, 16)
    assert 24 < found.queries <= 24 * 4


def test_rounds_that_were_trained_before_are_read_from_their_checkpoints(toy: Any, tmp_path: Path) -> None:
    attack = JacobianAugmentation(rounds=3, training=TrainingOptions(epochs=4))
    first = fit(toy, attack, folder=tmp_path / "rounds")
    assert sorted(path.name for path in (tmp_path / "rounds").iterdir()) == ["round-1", "round-2", "round-3"]
    kept = [path.stat().st_mtime_ns for path in sorted((tmp_path / "rounds").iterdir())]
    again = fit(toy, attack, folder=tmp_path / "rounds")
    assert same(first.classifier, again.classifier)
    assert kept == [path.stat().st_mtime_ns for path in sorted((tmp_path / "rounds").iterdir())]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"rounds": 0}, "rounds must be a whole number from 1 up, not 0"),
        ({"step": 0.0}, "step must be a number above 0"),
        ({"step": float("nan")}, "step must be a number above 0, not nan"),
        ({"queries": 1}, "queries must be a whole number from 2 up or none, not 1"),
        ({"period": 0}, "period must be a whole number from 1 up, not 0"),
        ({"lamda": 1}, "no option 'lamda'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        build(JacobianAugmentation, options, "substitute 'queries'")


@pytest.mark.parametrize(
    "answer",
    [
        lambda x: torch.full((len(x),), 3),
        lambda x: torch.full((len(x),), -2),
        lambda x: torch.zeros(len(x)),
        lambda x: torch.zeros(len(x), 5),
        lambda x: torch.zeros(1, dtype=torch.int64),
        lambda x: None,
    ],
)
def test_a_victim_that_answers_otherwise_is_refused_with_a_sentence(answer: Any, toy: Any) -> None:
    with pytest.raises(DataError, match="must answer 60 points with labels from 0 to 2"):
        fit(toy, QUICK, answer)


def test_the_attackers_share_is_dealt_by_class_and_nobody_is_on_both_sides(toy: Any) -> None:
    owner, attacker = attackers_share(toy.train, share=0.3, seed=4)
    assert len(owner) + len(attacker) == 900 and attacker.counts == {"a": 90, "b": 90, "c": 90}
    both = torch.cat([owner.x, attacker.x])
    assert torch.equal(both.sort(0).values, toy.train.x.sort(0).values)
    again = attackers_share(toy.train, share=0.3, seed=4)
    assert torch.equal(again[1].x, attacker.x) and "attacker's share, 30%" in attacker.provenance.notes[-1]
    assert not torch.equal(attackers_share(toy.train, share=0.3, seed=5)[1].x, attacker.x)
    patients = torch.arange(900) // 30
    grouped = Dataset(toy.train.x, toy.train.y, toy.train.classes, Provenance("p", "here"), groups=patients)
    owner, attacker = attackers_share(grouped)
    assert owner.groups is not None and attacker.groups is not None
    assert not set(owner.groups.tolist()) & set(attacker.groups.tolist()) and len(attacker) == 450
    for share in (0.0, 1.0, -1.0):
        with pytest.raises(OptionError, match="between 0 and 1"):
            attackers_share(toy.train, share=share)


def test_a_class_that_nobody_has_does_not_stand_in_the_way(toy: Any) -> None:
    data = Dataset(toy.train.x, toy.train.y, ("a", "b", "c", "never"), Provenance("four", "here"))
    owner, attacker = attackers_share(data)
    assert owner.classes == attacker.classes == data.classes and attacker.counts["never"] == 0
    few = data.subset(torch.tensor([0, 1, 2]))
    with pytest.raises(DataError, match="too few to split"):
        attackers_share(few)


def test_a_substitute_trained_on_the_attackers_own_split_transfers(toy: Any, tmp_path: Path) -> None:
    _, attacker = attackers_share(toy.train, share=0.5, seed=1)
    options = TrainingOptions(epochs=20, learning_rate=5e-3, seed=9)
    classifier, history = train_on_split("mlp", attacker, options, checkpoint=tmp_path / "training")
    assert len(history.epochs) > 1 and (tmp_path / "training").is_file()
    assert agreement(classifier, Counting(toy.classifier), toy.test.x) > 0.95
    x, y = toy.test.x, toy.test.y
    x_adv = FGSM(eps=0.2)(classifier, x, y)
    assert float((toy.classifier.predict(x_adv).argmax(1) != y).float().mean()) > 0.5
    assert same(classifier, train_on_split("mlp", attacker, options)[0])
