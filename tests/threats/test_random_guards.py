"""Attackers of guards that draw at random: what they see, how they count, how they are judged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from salus.attacks import BIM, PGD
from salus.attacks.objective import cross_entropy, logit_margin
from salus.classifier import Classifier
from salus.detectors import MultiMagNet
from salus.generative import Member, Repository
from salus.generative.member_draws import MemberDraws
from salus.guard import Guard
from salus.models import build_model
from salus.models.autoencoders import TABLES, build_autoencoder
from salus.purifiers import BitDepth, MultiMagNetReformer
from salus.threats import AdaptiveResult, ClassConsistent, GuardObjective, adaptive, gray_box, oblivious, purified
from salus.threats.adaptive import variants_of
from salus.threats.expectation import InExpectation
from salus.training import seeded_module

if TYPE_CHECKING:
    from conftest import Toy


@pytest.fixture(autouse=True)
def _few_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """What asks without gradients is tested elsewhere."""
    monkeypatch.setattr(purified, "QUERIES", 10)


@pytest.fixture(scope="module")
def repository(toy: Toy) -> Repository:
    """Five autoencoders of little training, so that they differ."""
    members = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for spec in TABLES[:5]:
            module = build_autoencoder((8,), spec)
            optimiser = torch.optim.Adam(module.parameters(), 0.01)
            for _ in range(60):
                optimiser.zero_grad()
                (module(toy.train.x) - toy.train.x).square().mean().backward()
                optimiser.step()
            members.append(Member(spec, module, 0.0))
    return Repository(members, shape=(8,))


def random_guard(
    toy: Toy, repository: Repository, *, seed: int | None = 1, detect: bool = True, reform: bool = True
) -> Guard:
    detectors = [MultiMagNet(n=3, repository=repository, draw_seed=seed)] if detect else []
    reformer = MultiMagNetReformer(repository=repository, draw_seed=seed) if reform else None
    return Guard(toy.classifier, detectors, reformer).fit(toy.train, toy.calibration, 0.1)


def between(toy: Toy) -> Tensor:
    """Inputs on the way from one class to another, on many of which the draw decides."""
    share = torch.linspace(0, 1, 150)[:, None]
    return toy.test.x[:150] * (1 - share) + toy.test.x[1:151] * share


def test_without_draws_the_chances_are_the_verdict_in_zeros_and_ones(toy: Toy) -> None:
    guard = toy.guard(0.2)
    x = between(toy)
    verdict, chances = guard(x), guard.chances(x)
    assert chances.shape == (150, 3)
    assert set(chances.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(chances.sum(1) == 1, verdict.accepted)
    assert torch.equal(chances.argmax(1)[verdict.accepted], verdict.labels[verdict.accepted])


def test_the_chances_agree_with_judging_many_times(toy: Toy, repository: Repository) -> None:
    guard = random_guard(toy, repository, seed=None)
    x, rounds = between(toy), 300
    found = torch.zeros(len(x), 4, dtype=torch.float64)
    for _ in range(rounds):
        found += torch.nn.functional.one_hot(guard(x).answers + 1, 4)
    told = guard.chances(x)
    assert int(((told > 0.05) & (told < 0.95)).sum()) > 20
    assert float((found[:, 1:] / rounds - told).abs().max()) < 5 * 0.5 / rounds**0.5


def test_the_loss_is_the_mean_over_all_members_not_that_of_the_mean_reconstruction(
    toy: Toy, repository: Repository
) -> None:
    guard = random_guard(toy, repository, detect=False)
    x, y = between(toy), toy.test.y[:150]
    each = torch.stack([toy.classifier(repository.reconstruct(i, x)) for i in range(5)])  # [5, N, 3]
    point = x.clone().requires_grad_()
    loss = GuardObjective(guard).loss(point, y)
    torch.testing.assert_close(loss, torch.stack([cross_entropy(one, y) for one in each]).mean(0))
    other = cross_entropy(toy.classifier(torch.stack([repository.reconstruct(i, x) for i in range(5)]).mean(0)), y)
    assert float((loss - other).detach().abs().max()) > 0.1
    view = guard.view(x)
    torch.testing.assert_close(view.logits.softmax(1), each.softmax(2).mean(0))
    # Its gradient is the mean of the members' own.
    (gradient,) = torch.autograd.grad(loss.sum(), point)
    own = []
    for i in range(5):
        at = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(cross_entropy(toy.classifier(repository.reconstruct(i, at)), y).sum(), at)
        own.append(slope)
    torch.testing.assert_close(gradient, torch.stack(own).mean(0), rtol=1e-4, atol=1e-5)


def test_a_draw_that_is_won_pulls_no_more(toy: Toy, repository: Repository) -> None:
    guard = random_guard(toy, repository, detect=False)
    x, y = between(toy), toy.test.y[:150]
    margins = torch.stack([logit_margin(toy.classifier(repository.reconstruct(i, x)), y) for i in range(5)])
    got = ClassConsistent(guard, weight=None).loss(x, y)
    torch.testing.assert_close(got, margins.clamp_max(0.2).mean(0))


@pytest.mark.parametrize("detect", [True, False])
def test_success_and_margin_are_those_of_the_worst_draw(toy: Toy, repository: Repository, detect: bool) -> None:
    guard = random_guard(toy, repository, detect=detect)
    x, y = between(toy), toy.test.y[:150]
    evaluation = GuardObjective(guard).evaluate(x, y)
    certain = guard.chances(x).scatter(1, y[:, None], 0).sum(1) > 1 - 1e-9
    assert torch.equal(evaluation.success, certain)
    assert 5 < int(certain.sum()) < 145
    decided = evaluation.margin.abs() > 1e-4
    assert torch.equal((evaluation.margin < 0)[decided], certain[decided])


def test_the_attacker_of_a_random_guard_never_asks_it_before_the_end(
    toy: Toy, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = random_guard(toy, repository)
    x, y = toy.test.x[:30], toy.test.y[:30]
    asked: list[int] = []
    drawn = MemberDraws.__call__

    def counted(self: MemberDraws, *args: object) -> Tensor:
        asked.append(len(args[0]))  # type: ignore[arg-type]
        return drawn(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(MemberDraws, "__call__", counted)
    adaptive(BIM(eps=0.3, steps=2), guard, x, y)
    assert asked == [30]  # detector and reformer together, for the verdict on what was found


def test_a_seed_that_makes_draws_repeatable_helps_no_attacker(toy: Toy, repository: Repository) -> None:
    attack, (x, y) = BIM(eps=0.25, steps=3), (toy.test.x[:60], toy.test.y[:60])
    guard, found = random_guard(toy, repository), []
    (detector,), reformer = guard.detectors, guard.purifier
    assert isinstance(detector, MultiMagNet) and isinstance(reformer, MultiMagNetReformer)
    for seed in (1, 1, None):  # the same defence, calibrated alike
        detector.draws, reformer.draws = MemberDraws(seed), MemberDraws(seed, stream=1)
        found.append(adaptive(attack, guard, x, y))
    assert torch.equal(found[0].success, found[1].success)
    for other in found[1:]:
        assert torch.equal(found[0].x_adv, other.x_adv)
        assert torch.equal(found[0].chances, other.chances)
    assert abs(float(found[0].success.double().mean() - found[0].chances.mean())) < 0.15


@pytest.mark.parametrize("engine", [adaptive, gray_box])
def test_an_adaptive_attack_is_likelier_to_fool_a_random_guard_than_the_oblivious_one(
    toy: Toy, repository: Repository, engine: Callable[..., AdaptiveResult]
) -> None:
    guard = random_guard(toy, repository)
    attack, (x, y) = PGD(eps=0.3, steps=6), (toy.test.x[:60], toy.test.y[:60])
    blind = guard.chances(oblivious(attack, guard, x, y).x_adv).scatter(1, y[:, None], 0).sum(1)
    knowing = engine(attack, guard, x, y)
    told = guard.chances(knowing.x_adv).scatter(1, y[:, None], 0).sum(1)
    torch.testing.assert_close(knowing.chances, told)
    assert bool((told >= blind).all())
    assert float(told.mean()) > 0.8 > float(blind.mean())
    assert float((knowing.x_adv.double() - x.double()).abs().max()) <= 0.3


class Nothing(nn.Module):
    """An autoencoder that changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x


@pytest.mark.parametrize("goal", ["away", "each class"])
@pytest.mark.parametrize("defence", ["none", "weak"])
def test_the_expectation_over_draws_alone_wins_where_little_is_defended(
    toy: Toy, repository: Repository, defence: str, goal: str
) -> None:
    idle = Repository([Member(spec, Nothing(), 0.0) for spec in TABLES[:3]], shape=(8,))
    guard = random_guard(toy, idle if defence == "none" else repository, detect=False)
    attack, (x, y) = PGD(eps=0.3, steps=20), (toy.test.x[:60], toy.test.y[:60])
    white = attack.run(toy.classifier, x, y).success.double().mean()
    if goal == "away":
        tried = [(GuardObjective(guard), y)]
    else:
        tried = [(ClassConsistent(guard, weight=None), (y + step) % 3) for step in (1, 2)]
    fell = [guard.chances(attack.run(one, x, aim).x_adv).scatter(1, y[:, None], 0).sum(1) for one, aim in tried]
    assert float(torch.stack(fell).amax(0).mean()) > 0.9 * float(white)


def test_a_purifier_has_one_outcome_with_its_surrogates_gradient(toy: Toy) -> None:
    purifier, x = BitDepth(bits=2), toy.test.x[:5]
    (plain,) = purifier.outcomes(x)
    assert torch.equal(plain, purifier.purify(x))
    point = x.clone().requires_grad_()
    (made,) = purifier.outcomes(point)
    torch.testing.assert_close(made, plain)
    (gradient,) = torch.autograd.grad(made.sum(), point)
    assert torch.equal(gradient, torch.ones_like(x))


def test_detect_then_reform_is_one_draw(toy: Toy, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    guard = random_guard(toy, repository)
    (detector,), reformer = guard.detectors, guard.purifier
    assert guard.ensemble is detector and isinstance(reformer, MultiMagNetReformer)
    judged: list[Tensor] = []
    reformed: list[Tensor] = []
    own, other = MultiMagNet.judged_by, MultiMagNetReformer.reform

    def judging(self: MultiMagNet, states: Any, drawn: Tensor) -> Tensor:
        judged.append(drawn)
        return own(self, states, drawn)

    def reforming(self: MultiMagNetReformer, x: Tensor, drawn: Tensor) -> Tensor:
        reformed.append(drawn)
        return other(self, x, drawn)

    monkeypatch.setattr(MultiMagNet, "judged_by", judging)
    monkeypatch.setattr(MultiMagNetReformer, "reform", reforming)
    guard(toy.test.x[:40])
    assert len(judged) == len(reformed) == 1 and torch.equal(judged[0], reformed[0])


def test_one_draw_is_no_two_independent_ones(toy: Toy, repository: Repository) -> None:
    guard, x = random_guard(toy, repository), between(toy)
    (detector,) = guard.detectors
    assert isinstance(detector, MultiMagNet)
    states = toy.classifier.states(x, ())
    given = detector.acceptance_with(states)  # [N, 5]
    torch.testing.assert_close(given.mean(1), detector.acceptance_probability(states))
    apart = detector.acceptance_probability(states)[:, None] * random_guard(toy, repository, detect=False).chances(x)
    assert float((guard.chances(x) - apart).abs().max()) > 0.02


def test_a_reformer_that_names_no_autoencoders_takes_its_detectors_and_keeps_them(
    toy: Toy, repository: Repository
) -> None:
    detector = MultiMagNet(n=3, repository=repository, draw_seed=1)
    guard = Guard(toy.classifier, [detector], MultiMagNetReformer()).fit(toy.train, toy.calibration, 0.1)
    assert guard.ensemble is detector
    reformer = guard.purifier
    assert isinstance(reformer, MultiMagNetReformer)
    parts = [
        type(part).restore(toy.classifier, part.settings(), {name: t.clone() for name, t in part.tensors().items()})
        for part in (detector, reformer)
    ]
    back = Guard(toy.classifier, parts[:1], parts[1])  # type: ignore[arg-type]  # as Guard.load does
    assert back.ensemble is back.detectors[0]
    torch.testing.assert_close(back.chances(toy.test.x[:20]), guard.chances(toy.test.x[:20]))
    assert torch.equal(back(toy.test.x[:20]).answers, guard(toy.test.x[:20]).answers)


def test_the_deployment_is_saved_and_loaded_as_one_and_its_seeded_draws_are_each_samples_own(
    toy: Toy, repository: Repository, tmp_path: Path
) -> None:
    module = seeded_module(lambda: build_model("mlp", (8,), 3), 0)
    architecture = {"name": "mlp", "options": {}}
    own = Classifier(module, toy.classifier.classes, shape=(8,), architecture=architecture)
    detector = MultiMagNet(n=3, repository=repository, draw_seed=1)
    guard = Guard(own, [detector], MultiMagNetReformer(draw_seed=1)).fit(toy.train, toy.calibration, 0.1)
    guard.save(tmp_path / "guard")
    back = Guard.load(tmp_path / "guard")
    (voting,) = back.detectors
    assert back.ensemble is voting and isinstance(voting, MultiMagNet)
    x = between(toy)[:60]
    ours, theirs, alone = guard(x), back(x), [back(x[i : i + 1]) for i in range(60)]
    assert torch.equal(theirs.answers, ours.answers) and torch.equal(theirs.accepted, ours.accepted)
    assert torch.equal(torch.cat([one.answers for one in alone]), ours.answers), "whatever else is in the batch"
    assert torch.equal(torch.cat([one.accepted for one in alone]), ours.accepted)
    torch.testing.assert_close(back.chances(x), guard.chances(x))
    assert len({tuple(row) for row in voting.drawn(x).tolist()}) > 5, "a draw for each sample"


def test_a_reformer_of_other_autoencoders_draws_apart(toy: Toy, repository: Repository) -> None:
    others = Repository(repository.members[:3], shape=(8,))
    guard = Guard(
        toy.classifier, [MultiMagNet(n=3, repository=repository)], MultiMagNetReformer(repository=others)
    ).fit(toy.train, toy.calibration, 0.1)
    assert guard.ensemble is None and guard.random


@pytest.mark.parametrize("detect", [True, False])
def test_in_expectation_an_attack_is_likelier_to_win_than_for_certain_alone(
    toy: Toy, repository: Repository, detect: bool
) -> None:
    guard = random_guard(toy, repository, detect=detect)
    attack, (x, y) = PGD(eps=0.15, steps=15, restarts=2), (toy.test.x[:80], toy.test.y[:80])
    told = {}
    for objective in (GuardObjective(guard), InExpectation(guard)):
        found = attack.run(objective, x, y).x_adv
        told[type(objective)] = float(guard.chances(found).scatter(1, y[:, None], 0).sum(1).mean())
    assert told[InExpectation] > told[GuardObjective] + 0.005
    assert any("in expectation" in each.name for each in variants_of(attack, guard, x, y))


def test_the_margin_in_expectation_is_the_lower_the_likelier_a_point_is_to_fall(
    toy: Toy, repository: Repository
) -> None:
    guard = random_guard(toy, repository)
    x, y = between(toy), toy.test.y[:150]
    chance = guard.chances(x).scatter(1, y[:, None], 0).sum(1)
    evaluation = InExpectation(guard).evaluate(x, y)
    assert torch.equal(evaluation.success, chance > 1 - 1e-9)
    assert torch.equal(evaluation.margin < 0, evaluation.success)
    likelier = chance[:, None] > chance + 0.25
    assert bool((evaluation.margin[:, None] < evaluation.margin)[likelier].all())
