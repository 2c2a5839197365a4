"""Adaptive attackers where nothing is defended, where little is, and where a gradient seems to be missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from salus.attacks import FGSM, PGD
from salus.classifier import Classifier, States
from salus.detectors import DETECTORS, Detector, MagNet, build_detector
from salus.generative import Member, Repository
from salus.guard import Guard
from salus.models.autoencoders import TABLES, build_autoencoder
from salus.purifiers import BitDepth, Purifier, Reformer
from salus.threats import adaptive, oblivious
from salus.threats.adaptive import variants_of
from salus.threats.objectives import ClassConsistent, Orthogonal

if TYPE_CHECKING:
    from conftest import Toy

ATTACK = PGD(eps=0.4, steps=10)


class Rough(Detector):
    """Scores an input by noise that its own values decide, steep enough to have no gradient worth following."""

    name: ClassVar[str] = "rough"
    layers: ClassVar[tuple[str, ...]] = ()

    def fit(self, classifier: Classifier, x: Tensor, y: Tensor) -> Rough:
        self.classifier_ = classifier
        return self

    def class_scores(self, states: States) -> Tensor:
        return (1e4 * states.x.sum(1)).sin()[:, None].expand_as(states.logits)

    def describe(self) -> str:
        return "noise"

    def settings(self) -> dict[str, Any]:
        return {}

    def tensors(self) -> dict[str, Tensor]:
        return {}

    @classmethod
    def restore(cls, classifier: Classifier, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Rough:
        return cls().fit(classifier, torch.empty(0), torch.empty(0))


class Silent(Rough):
    """Says the same of every input, and accepts it."""

    def class_scores(self, states: States) -> Tensor:
        return 0 * states.logits


class Bent(Purifier):
    """A purifier that changes next to nothing, through steps that have no gradient."""

    name: ClassVar[str] = "bent"

    def purify(self, x: Tensor) -> Tensor:
        return (x * 1000).round() / 1000

    def settings(self) -> dict[str, Any]:
        return {}


class Turned(Bent):
    """A purifier that turns features round, and forgets it in its surrogate."""

    def purify(self, x: Tensor) -> Tensor:
        return x.flip(1)


class TurnedBack(nn.Module):
    """A classifier for what ``Turned`` leaves."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x.flip(1))  # type: ignore[no-any-return]


class Part(Silent):
    """Scores how far the mean of some values is from 1/2, in units of its own."""

    def __init__(self, columns: slice, unit: float) -> None:
        super().__init__()
        self.columns, self.unit = columns, unit

    def class_scores(self, states: States) -> Tensor:
        return self.unit * (states.x[:, self.columns].mean(1) - 0.5).abs()[:, None].expand_as(states.logits)


def untrained(shape: tuple[int, ...]) -> Repository:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Repository([Member(TABLES[0], build_autoencoder(shape, TABLES[0]), 0.0)], shape=shape)


def guarded(toy: Toy, name: str) -> Guard:
    detectors: dict[str, Any] = {
        "silent": Silent,
        "rough": Rough,
        "untrained magnet": lambda: MagNet(repository=untrained((8,))),
        "squeezing": lambda: build_detector("feature-squeezing", {"bits": 2}),
        "one broad gaussian": lambda: build_detector(
            "i-defender", {"layers": "logits", "components": 1, "covariance": "diag"}
        ),
    }
    purifiers: dict[str, Any] = {
        "bent": Bent,
        "bit-depth": lambda: BitDepth(bits=5),
    }
    found = [make() for key, make in detectors.items() if key in name.split(" + ")]
    purifier = next((make() for key, make in purifiers.items() if key in name.split(" + ")), None)
    return Guard(toy.classifier, found, purifier, name=name).fit(toy.train, toy.calibration, 0.05)


def robust(guard: Guard, x: Tensor, x_adv: Tensor, y: Tensor) -> float:
    answers = guard(x_adv).answers
    return float(((guard(x).answers == y) & ((answers == y) | (answers < 0))).float().mean())


WEAK = [
    "rough",
    "untrained magnet",
    "squeezing",
    "one broad gaussian",
    "bent",
    "bit-depth",
    "rough + bent",
    "untrained magnet + one broad gaussian",
]


@pytest.mark.parametrize("name", ["silent", "none"])
def test_where_everything_is_accepted_it_wins_as_the_white_box_attack_does(toy: Toy, name: str) -> None:
    guard, (x, y) = guarded(toy, name), (toy.test.x[:90], toy.test.y[:90])
    white = ATTACK.run(toy.classifier, x, y).success
    knowing = adaptive(ATTACK, guard, x, y)
    assert bool(guard(knowing.x_adv).accepted.all())
    assert bool((knowing.success >= white).all())
    assert float(white.float().mean()) > 0.9


@pytest.mark.parametrize("name", WEAK)
def test_a_weak_defence_leaves_hardly_more_than_none(toy: Toy, name: str) -> None:
    guard, (x, y) = guarded(toy, name), (toy.test.x[:60], toy.test.y[:60])
    bare = Guard(toy.classifier)
    white = robust(bare, x, ATTACK.run(toy.classifier, x, y).x_adv, y)
    blind = oblivious(ATTACK, guard, x, y).x_adv
    knowing = adaptive(ATTACK, guard, x, y)
    told = robust(guard, x, knowing.x_adv, y)
    assert told <= white + 0.05
    assert told <= robust(guard, x, blind, y)
    fell = guard(blind).answers
    assert bool((knowing.success >= ((fell >= 0) & (fell != y))).all())
    assert float((knowing.x_adv.double() - x.double()).abs().max()) <= ATTACK.eps
    assert float(knowing.x_adv.min()) >= 0 and float(knowing.x_adv.max()) <= 1
    torch.testing.assert_close(adaptive(ATTACK, guard, x, y).x_adv, knowing.x_adv, rtol=0, atol=0)


@pytest.mark.parametrize("weight", [1.0, None])
def test_a_detector_in_small_units_is_attacked_as_one_in_large_ones(toy: Toy, weight: float | None) -> None:
    loud, quiet = Part(slice(0, 4), 1e4), Part(slice(4, 8), 1e-2)
    guard = Guard(toy.classifier, (loud, quiet)).fit(toy.train, toy.calibration, 0.05)
    x = toy.test.x[:60].clone()
    x[:, :4], x[:, 4:] = x[:, :4] * 0.02, x[:, 4:] * 0.02  # neither accepts
    y = toy.classifier.predict(x).argmax(1)  # what has to change is the acceptance alone
    view = guard.view(x)
    assert all(bool((accepted < 0).all()) for accepted in view.detector_acceptance.values())
    leaf = x.clone().requires_grad_()
    objective = ClassConsistent(guard, weight=weight)
    (gradient,) = torch.autograd.grad(objective.evaluate(leaf, y).loss.sum(), leaf)
    pulls = gradient[:, :4].norm(dim=1), gradient[:, 4:].norm(dim=1)
    told = objective.label_margins(guard.view(x), y).mean(0) >= objective.sure
    assert int(told.sum()) > 30
    torch.testing.assert_close(pulls[0][told], pulls[1][told], rtol=1e-3, atol=0)


def test_a_loss_that_steers_its_gradient_rises_as_the_detectors_and_the_label_give_way(toy: Toy) -> None:
    guard = Guard(toy.classifier, (Part(slice(0, 4), 1e4), Part(slice(4, 8), 1e-2))).fit(toy.train, toy.calibration)
    x, y = toy.test.x[:60], (toy.test.y[:60] + 1) % len(toy.classifier.classes)
    found = ATTACK.run(ClassConsistent(guard, weight=1.0), x, y).x_adv
    for objective in (ClassConsistent(guard, weight=1.0), Orthogonal(guard)):
        before, after = (objective.evaluate(each.clone().requires_grad_(), y).loss for each in (x, found))
        with torch.no_grad():  # one value, whether or not its gradient is asked for
            torch.testing.assert_close(objective.evaluate(x, y).loss, before.detach())
        assert float((after > before).float().mean()) > 0.9


def test_where_a_surrogate_misleads_it_wins_without_gradients(toy: Toy) -> None:
    x, y = toy.test.x[:60], toy.test.y[:60]
    classifier = Classifier(TurnedBack(toy.classifier.module), toy.classifier.classes, shape=(8,))
    knowing = adaptive(replace(ATTACK, eps=0.25), Guard(classifier, (), Turned()), x, y)
    found = Counter(knowing.names[number] for number in knowing.variants[knowing.success])
    assert found["square, 1000 queries"] > 0.2 * len(x)
    assert float(knowing.success.float().mean()) > 0.9 * float(
        replace(ATTACK, eps=0.25).run(toy.classifier, x, y).success.float().mean()
    )


def test_every_purifier_is_attacked_without_gradients_too_whatever_gradient_it_has(toy: Toy) -> None:
    x, y = toy.test.x[:5], toy.test.y[:5]
    for purifier in (Bent(), Reformer(repository=untrained((8,))).fit(toy.classifier, toy.train.x, toy.train.y)):
        guard = Guard(toy.classifier, (), purifier)
        assert sum("square" in each.name for each in variants_of(ATTACK, guard, x, y)) == 1
        assert not any("square" in each.name for each in variants_of(FGSM(eps=0.4), guard, x, y)), (
            "one step is one step"
        )


#: Those that a table of eight values can be fitted to, with what they need.
TRAINED: dict[str, dict[str, Any]] = {
    "safetynet": {"attack": "bim:eps=0.2"},
    "subnetwork": {"attack": "bim:eps=0.2", "epochs": 5},
}
FITTED = sorted(set(DETECTORS) - {"attacked-head", "magnet", "multimagnet", "defense-gan"})


@pytest.mark.parametrize("name", FITTED)
def test_where_an_attacked_input_is_rejected_the_gradient_leads_towards_acceptance(toy: Toy, name: str) -> None:
    """No step and no saturation hides the way."""
    detector = build_detector(name, TRAINED.get(name, {"bits": 2} if name == "feature-squeezing" else {}))
    guard = Guard(toy.classifier, [detector]).fit(toy.train, toy.calibration, 0.2)
    x = oblivious(PGD(eps=0.3, steps=10), guard, toy.test.x, toy.test.y).x_adv
    x = x[~guard(x).accepted]
    assert len(x) >= 20
    labels = toy.classifier(x).argmax(1, keepdim=True)

    def acceptance(points: Tensor) -> Tensor:
        accepted = guard.view(points).class_acceptance
        assert accepted is not None
        return accepted.gather(1, labels)[:, 0].detach()

    start = best = acceptance(x)
    for step in range(30):
        point = x.clone().requires_grad_()
        (scores,) = guard.view(point).class_scores.values()
        (slope,) = torch.autograd.grad(scores.gather(1, labels).sum(), point)
        if step == 0:
            assert float((slope != 0).any(1).float().mean()) > 0.95
        x = (x - 0.02 * (1 - step / 30) * slope.sign()).clamp(0, 1)
        best = torch.maximum(best, acceptance(x))
    assert float((best > start + 0.1 * start.abs()).float().mean()) > 0.9
