"""MultiMagNet: its draws, its votes, what holds whatever is drawn, and what it is for."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from salus.attacks import FGSM
from salus.classifier import Classifier
from salus.data import load
from salus.detectors import MultiMagNet, build_detector
from salus.detectors.divergence import jensen_shannon, log_probabilities, reconstruction_error
from salus.detectors.reconstruction import Metric
from salus.errors import CalibrationError, ModelError, OptionError
from salus.generative import Member, Repository
from salus.generative.member_draws import MemberDraws
from salus.guard import Guard
from salus.metrics import auc
from salus.models import build_model
from salus.models.autoencoders import IMAGES, TABLES, AutoencoderSpec, build_autoencoder
from salus.purifiers import MultiMagNetReformer, build_purifier

if TYPE_CHECKING:
    from conftest import Toy


def repository_of(x: Tensor, specs: tuple[AutoencoderSpec, ...], steps: int, size: int) -> Repository:
    """Train small autoencoders for a moment."""
    members = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for spec in specs:
            module = build_autoencoder(x.shape[1:], spec)
            optimiser = torch.optim.Adam(module.parameters(), 0.01)
            for _ in range(steps):
                some = x[torch.randint(len(x), (size,))]
                optimiser.zero_grad()
                (module((some + spec.noise * torch.randn_like(some)).clamp(0, 1)) - some).square().mean().backward()
                optimiser.step()
            members.append(Member(spec, module, 0.0))
    return Repository(members, shape=x.shape[1:])


class Counted(Repository):
    """Counts what each member is asked to reconstruct."""

    def __init__(self, of: Repository) -> None:
        super().__init__(of.members, shape=of.shape, bounds=of.bounds)
        self.calls: Counter[int] = Counter()
        self.inputs: Counter[int] = Counter()

    def reconstruct(self, member: int, x: Tensor) -> Tensor:
        self.calls[member] += 1
        self.inputs[member] += len(x)
        return super().reconstruct(member, x)


@pytest.fixture(scope="module")
def repository(toy: Toy) -> Repository:
    return repository_of(toy.train.x, TABLES[:7], 100, 32)


@pytest.fixture(scope="module")
def odd(toy: Toy) -> Tensor:
    """Inputs of which some are clean, some somewhat off, some absurd."""
    generator = torch.Generator().manual_seed(5)
    shift = torch.linspace(0, 0.5, 150)[:, None] * torch.randn(150, 8, generator=generator)
    return (toy.test.x[:150] + shift).clamp(0, 1)


def fitted(toy: Toy, repository: Repository, rate: float = 0.1, **options: object) -> MultiMagNet:
    options = {"n": 3, "draw_seed": 1, "repository": repository, **options}
    detector = MultiMagNet(**options).fit(toy.classifier, toy.train.x, toy.train.y)  # type: ignore[arg-type]
    return detector if detector.own_rule else detector.calibrate(toy.calibration.x, rate)


RULES = [
    pytest.param({"metric": "re"}, id="conformal-re"),
    pytest.param({"metric": "jsd", "temperature": 3}, id="conformal-jsd"),
    pytest.param({"threshold": "drop-rate", "drop_rate": 0.1}, id="MTA"),
    pytest.param({"threshold": "drop-rate", "drop_rate": 0.005, "approach": "minTA", "metric": "jsd"}, id="minTA"),
]


def votes_against(detector: MultiMagNet, x: Tensor, ensembles: Tensor) -> Tensor:
    """Count member by member who votes against; bool ``[N, E]`` for ensembles ``[E, n]``."""
    repository, c = detector.repository_, detector.combination
    assert repository is not None
    logits = detector.classifier(x).detach()
    rows = []
    for i in range(len(repository)):
        made = repository.reconstruct(i, x)
        if c.metric == "re":
            rows.append(reconstruction_error(x, made))
        else:
            both = (
                log_probabilities(part, c.temperature or 1) for part in (logits, detector.classifier(made).detach())
            )
            rows.append(jensen_shannon(*both))
    rejected = torch.zeros(len(x), len(ensembles), dtype=torch.bool)
    for column, ensemble in enumerate(ensembles.tolist()):
        against = torch.zeros(len(x))
        for i in ensemble:
            if detector.own_rule:
                own = detector.tensors()["thresholds"]
                against += rows[i] > (own[i] if c.approach == "MTA" else own[ensemble].min())
            else:
                assert detector._members is not None and detector.reference_ is not None
                u = detector._members.suspicion(rows[i], torch.full((len(x),), i))
                against += detector.reference_.suspicion(u, logits.argmax(1)) > detector.threshold_
        rejected[:, column] = against > len(ensemble) / 2
    return rejected


# Draws.


@pytest.mark.parametrize("seed", [None, 3])
def test_every_choice_of_members_is_equally_likely(seed: int | None) -> None:
    n = 20_000
    drawn = MemberDraws(seed)(torch.rand(n, 4, generator=torch.Generator().manual_seed(0)), 6, 3)
    counts = Counter(tuple(sorted(row)) for row in drawn.tolist())
    expected = list(combinations(range(6), 3))
    assert set(counts) == set(expected)
    chi2 = sum((counts[one] - n / 20) ** 2 / (n / 20) for one in expected)
    assert chi2 < 19 + 7 * math.sqrt(2 * 19)


def test_with_a_seed_a_draw_depends_on_the_sample_alone() -> None:
    x = torch.rand(200, 3, 5, generator=torch.Generator().manual_seed(0))
    together = MemberDraws(3)(x, 9, 5)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    assert torch.equal(MemberDraws(3)(x[order], 9, 5), together[order])
    draws = MemberDraws(3)
    assert torch.equal(torch.cat([draws(part, 9, 5) for part in x.split(7)]), together)
    assert not torch.equal(MemberDraws(4)(x, 9, 5), together)
    assert not torch.equal(MemberDraws(3, stream=1)(x, 9, 5), together)
    nearly = x.clone()
    nearly[:, 0, 0] = torch.nextafter(nearly[:, 0, 0], torch.ones(()))
    assert float((MemberDraws(3)(nearly, 9, 1) != together[:, :1]).float().mean()) > 0.5


def test_without_a_seed_nothing_can_be_foreseen_and_global_random_state_plays_no_part() -> None:
    x = torch.zeros(100, 4)
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first = MemberDraws(None)(x, 9, 3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.equal(MemberDraws(None)(x, 9, 3), first)
    assert len(first.unique(dim=0)) > 50  # each row its own, though the rows are the same


@pytest.mark.parametrize("seed", [None, 3])
def test_one_draw_can_serve_a_hundred_inputs_across_batches(seed: int | None) -> None:
    draws = MemberDraws(seed, 100)
    drawn = torch.cat([draws(part, 10, 3) for part in torch.rand(1000, 4).split(64)])
    groups = drawn.reshape(10, 100, 3)
    assert bool((groups == groups[:, :1]).all())
    assert len(groups[:, 0].unique(dim=0)) > 5


# Votes.


@pytest.mark.parametrize("options", RULES)
def test_the_vote_is_the_majority_of_the_members_drawn(
    toy: Toy, repository: Repository, odd: Tensor, options: dict[str, Any]
) -> None:
    detector = fitted(toy, repository, **options)
    drawn = detector.draws(odd, 7, 3)
    each = votes_against(detector, odd, drawn).diagonal()
    assert torch.equal(detector.detect(odd), each)
    assert 0.1 < float(each.float().mean()) < 0.95


@pytest.mark.parametrize("options", RULES)
def test_the_probability_of_acceptance_is_exact_and_agrees_with_drawing_many_times(
    toy: Toy, repository: Repository, odd: Tensor, options: dict[str, Any]
) -> None:
    detector = fitted(toy, repository, **options)
    states = toy.classifier.states(odd, ())
    got = detector.acceptance_probability(states)
    every = votes_against(detector, odd, torch.tensor(list(combinations(range(7), 3))))
    torch.testing.assert_close(got, 1 - every.double().mean(1))
    assert int(((got > 0) & (got < 1)).sum()) > 5
    detector.draws = MemberDraws(None)
    rounds = torch.stack([~detector.detect(odd) for _ in range(200)]).double().mean(0)
    assert float((rounds - got).abs().max()) < 5 * 0.5 / math.sqrt(200)
    sure = (got == 0) | (got == 1)
    assert torch.equal(rounds[sure], got[sure])


@pytest.mark.parametrize("options", RULES)
def test_an_attacker_sees_what_holds_whatever_is_drawn(
    toy: Toy, repository: Repository, odd: Tensor, options: dict[str, Any]
) -> None:
    detector = fitted(toy, repository, **options)
    states = toy.classifier.states(odd, ())
    acceptance = detector.class_acceptance(states).detach()
    assert acceptance.shape == (150, 3)
    predicted = acceptance.gather(1, states.logits.argmax(1, keepdim=True))[:, 0]
    chance = detector.acceptance_probability(states)
    assert torch.equal(predicted >= 0, chance == 1)
    assert 5 < int((chance == 1).sum()) < 145


@pytest.mark.parametrize("options", RULES)
def test_going_up_the_gradient_brings_certain_acceptance_nearer(
    toy: Toy, repository: Repository, odd: Tensor, options: dict[str, Any]
) -> None:
    detector = fitted(toy, repository, **options)
    x = odd[60:].clone().requires_grad_()

    def acceptance(points: Tensor) -> Tensor:
        return detector.class_acceptance(toy.classifier.states(points, ()))[:, 0]

    (gradient,) = torch.autograd.grad(acceptance(x).sum(), x)
    step = 1e-3 * gradient / gradient.norm(dim=1, keepdim=True).clamp_min(1e-9)
    with torch.no_grad():
        raised = acceptance(x + step) - acceptance(x)
    assert float((raised > 0).float().mean()) > 0.9


@pytest.mark.parametrize("options", RULES)
def test_with_one_member_it_is_magnet(toy: Toy, repository: Repository, odd: Tensor, options: dict[str, Any]) -> None:
    detector = fitted(toy, repository, **{**options, "n": 1})
    drawn = detector.draws(odd, 7, 1)[:, 0]
    rejected = detector.detect(odd)
    for member in range(7):
        alone = fitted(toy, repository.only(member), **{**options, "n": 1})
        if detector.own_rule:
            expected = alone.detect(odd)
        else:  # its calibration is of all members together
            expected = votes_against(detector, odd, torch.tensor([[member]]))[:, 0]
        assert torch.equal(rejected[drawn == member], expected[drawn == member])


def test_only_the_members_drawn_reconstruct_and_each_input_once(toy: Toy, repository: Repository) -> None:
    counted = Counted(repository)
    detector = fitted(toy, counted)
    states = toy.classifier.states(toy.test.x, ())
    drawn = detector.draws(toy.test.x, 7, 3)
    counted.calls.clear()
    counted.inputs.clear()
    detector.suspicion(states)
    assert counted.inputs == Counter(drawn.flatten().tolist())
    assert sum(counted.inputs.values()) == 3 * 300

    few = fitted(toy, counted, draws=10_000)
    few.draws = MemberDraws(1, 10_000)
    members = set(MemberDraws(1, 10_000)(toy.test.x, 7, 3)[0].tolist())
    counted.calls.clear()
    few.suspicion(states)
    assert counted.calls == Counter(dict.fromkeys(members, 1))

    everyone = fitted(toy, counted, n=7)
    counted.calls.clear()
    counted.inputs.clear()
    everyone.suspicion(states)
    assert counted.calls == Counter(dict.fromkeys(range(7), 1))
    assert set(counted.inputs.values()) == {300}


def test_with_all_members_nothing_is_left_to_chance(toy: Toy, repository: Repository, odd: Tensor) -> None:
    detector = fitted(toy, repository, n=7, draw_seed=None)
    states = toy.classifier.states(odd, ())
    accepted = detector.class_acceptance(states).gather(1, states.logits.argmax(1, keepdim=True))[:, 0]
    with torch.no_grad():
        suspicion = detector.suspicion(states)
    torch.testing.assert_close(accepted.detach(), detector.threshold_ - suspicion, rtol=1e-4, atol=1e-4)


# As a part of a guard.


@pytest.mark.parametrize("options", RULES)
def test_with_a_seed_a_verdict_does_not_depend_on_the_other_samples(
    toy: Toy, repository: Repository, odd: Tensor, options: dict[str, Any]
) -> None:
    guard = Guard(toy.classifier, [fitted(toy, repository, **options)])
    together = guard(odd)
    alone = [guard(odd[i : i + 1]) for i in range(60)]
    assert torch.equal(torch.cat([one.answers for one in alone]), together.answers[:60])
    assert together.suspicion is not None
    suspicion = torch.cat([one.suspicion for one in alone if one.suspicion is not None])
    torch.testing.assert_close(suspicion, together.suspicion[:60], rtol=1e-3, atol=1e-4)


def test_without_a_seed_verdicts_on_borderline_inputs_differ(toy: Toy, repository: Repository, odd: Tensor) -> None:
    guard = Guard(toy.classifier, [fitted(toy, repository, draw_seed=None)])
    verdicts = torch.stack([guard(odd).accepted for _ in range(20)])
    assert bool((verdicts.any(0) & ~verdicts.all(0)).any())


@pytest.mark.parametrize("draws", ["sample", 1])
def test_two_in_one_guard_with_the_same_seed_draw_independently(
    toy: Toy, repository: Repository, odd: Tensor, draws: str | int
) -> None:
    twins = [fitted(toy, repository, draw_seed=5, draws=draws) for _ in range(2)]
    guard = Guard(toy.classifier, twins)
    x = (odd[:, None] + 1e-4 * torch.rand(150, 40, 8, generator=torch.Generator().manual_seed(0))).flatten(0, 1)
    first, second = guard(x.clamp(0, 1)).rejected_by.values()
    assert not torch.equal(first, second)
    # Over near copies of an input, both accept as often as the product of their chances says.
    both = (~first & ~second).reshape(150, 40).double().mean(1)
    expected = guard.chances(odd).sum(1)
    assert int(((expected > 0) & (expected < 1)).sum()) > 20
    assert float((both - expected).mean().abs()) < 0.01
    assert float((both - expected).abs().max()) < 5 * 0.5 / math.sqrt(40)


@pytest.mark.parametrize("rate", [0.05, 0.2])
@pytest.mark.parametrize("metric", ["re", "jsd"])
def test_calibration_keeps_its_rate_on_fresh_inputs(toy: Toy, repository: Repository, metric: str, rate: float) -> None:
    detector = fitted(toy, repository, rate, metric=metric, draw_seed=None)
    rejected = torch.stack([detector.detect(toy.test.x) for _ in range(10)]).float().mean()
    assert float(rejected) == pytest.approx(rate, abs=0.03 + rate / 3)


def test_the_papers_rule_says_how_many_clean_inputs_it_rejects(toy: Toy, repository: Repository) -> None:
    strict = fitted(toy, repository, threshold="drop-rate", drop_rate=0.1, approach="minTA", draw_seed=None)
    own = fitted(toy, repository, threshold="drop-rate", drop_rate=0.1, draw_seed=None)
    assert strict.false_alarm_rate_ > own.false_alarm_rate_ > 0.02
    for detector in (strict, own):
        rejected = torch.stack([detector.detect(toy.train.x) for _ in range(20)]).float().mean()
        # Draws that nobody can foresee: five standard deviations of 18,000 of them.
        assert float(rejected) == pytest.approx(detector.false_alarm_rate_, abs=0.02)
    # Each member alone rejects exactly its drop rate of the 900 samples.
    one = fitted(toy, repository, n=1, threshold="drop-rate", drop_rate=0.1)
    assert one.false_alarm_rate_ == pytest.approx(0.1)


@pytest.mark.parametrize("options", RULES)
def test_a_guard_saves_and_loads_it_with_its_reformer(
    toy: Toy, repository: Repository, odd: Tensor, tmp_path: Path, options: dict[str, Any]
) -> None:
    with torch.random.fork_rng():
        classifier = Classifier(
            build_model("mlp", (8,), 3, {}), ("a", "b", "c"), shape=(8,), architecture={"name": "mlp", "options": {}}
        )
    reformer = MultiMagNetReformer(repository=repository, draw_seed=2).fit(classifier, toy.train.x, toy.train.y)
    guard = Guard(classifier, [fitted(replace(toy, classifier=classifier), repository, **options)], reformer)
    guard.save(tmp_path)
    again = Guard.load(tmp_path)
    assert again.fingerprint() == guard.fingerprint()
    assert again.detectors[0].describe() == guard.detectors[0].describe()
    ours, theirs = guard(odd), again(odd)
    assert torch.equal(ours.answers, theirs.answers)
    assert ours.suspicion is not None and theirs.suspicion is not None
    assert torch.equal(ours.suspicion, theirs.suspicion)
    assert torch.equal(ours.probabilities, theirs.probabilities)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("options", RULES)
def test_an_input_that_is_no_number_is_never_accepted(
    toy: Toy, repository: Repository, options: dict[str, Any], value: float
) -> None:
    x = toy.test.x[:4].clone()
    x[2, 3] = value
    detector = fitted(toy, repository, **options)
    assert bool(detector.detect(x)[2])
    assert float(detector.acceptance_probability(toy.classifier.states(x, ()))[2]) == 0


def test_the_reformer_rebuilds_each_input_by_one_random_member(toy: Toy, repository: Repository) -> None:
    x = toy.test.x
    reformer = MultiMagNetReformer(repository=repository).fit(toy.classifier, toy.train.x, toy.train.y)
    each = torch.stack([repository.reconstruct(i, x) for i in range(7)])  # [m, N, 8]
    made = reformer.purify(x)
    nearest = (made - each).abs().amax(2).min(0)
    assert float(nearest.values.max()) < 1e-6
    assert int(torch.bincount(nearest.indices, minlength=7).min()) > 15  # of 43 expected
    assert not torch.equal(reformer.purify(x), made)
    torch.testing.assert_close(torch.stack(reformer.outcomes(x)), each)
    mean = torch.stack([reformer.purify(x) for _ in range(400)]).mean(0)
    assert float((mean - each.mean(0)).abs().max()) < 6 * float(each.std(0).max()) / 20

    seeded = build_purifier("multimagnet-reformer", {"draw-seed": 4, "repository": repository})
    seeded.fit(toy.classifier, toy.train.x, toy.train.y)
    torch.testing.assert_close(seeded.purify(x)[:9], seeded.purify(x[:9]))


def test_a_random_guard_is_attacked_through_all_of_its_reconstructions(toy: Toy, repository: Repository) -> None:
    reformer = MultiMagNetReformer(repository=repository).fit(toy.classifier, toy.train.x, toy.train.y)
    guard = Guard(toy.classifier, [fitted(toy, repository)], reformer)
    x = toy.test.x[:20].clone().requires_grad_()
    view = guard.view(x)
    (gradient,) = torch.autograd.grad(view.logits.sum(), x)
    assert bool(gradient.isfinite().all()) and float(gradient.abs().sum()) > 0
    assert view.draws.shape == (7, 20, 3)
    assert view.class_acceptance is not None and view.class_acceptance.shape == (20, 3)


# Mistakes.


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"n": 4}, "odd number of members"),
        ({"n": 0}, "odd"),
        ({"metric": "mse"}, "'re' or 'jsd'"),
        ({"metric": "jsd", "temperature": 0.5}, "temperature"),
        ({"threshold": "id-95"}, "'conformal' or 'drop-rate'"),
        ({"drop_rate": 1}, "drop_rate"),
        ({"approach": "minMTA"}, "'MTA' or 'minTA'"),
        ({"draws": 0}, "draws"),
        ({"draw_seed": -1}, "draw_seed"),
        ({"seed": 1.5}, "seed"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], word: str) -> None:
    with pytest.raises(OptionError, match=word):
        build_detector("multimagnet", options)


def test_more_members_than_there_are_cannot_be_drawn(toy: Toy, repository: Repository) -> None:
    with pytest.raises(OptionError, match="n = 9 of 7"):
        fitted(toy, repository, n=9)


def test_autoencoders_for_other_samples_are_refused(toy: Toy) -> None:
    other = repository_of(torch.rand(20, 5), TABLES[:3], 1, 4)
    with pytest.raises(ModelError, match=r"shape \[5\]"):
        fitted(toy, other)


def test_it_says_that_it_is_not_fitted_or_not_calibrated(toy: Toy, repository: Repository) -> None:
    states = toy.classifier.states(toy.test.x, ())
    with pytest.raises(CalibrationError, match="not fitted"):
        MultiMagNet().class_scores(states)
    with pytest.raises(CalibrationError, match="not calibrated"):
        MultiMagNet(n=3, repository=repository).fit(toy.classifier, toy.train.x, toy.train.y).suspicion(states)
    with pytest.raises(CalibrationError, match="not fitted"):
        MultiMagNetReformer().purify(toy.test.x)


# What it is for.


@pytest.fixture(scope="module")
def digits() -> SimpleNamespace:
    """A classifier of small digits, three autoencoders, and digits that fool the classifier."""
    splits = load("digits")
    train = splits.train
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = build_model("small-cnn", tuple(train.x.shape[1:]), 10, {})
        optimiser = torch.optim.Adam(module.parameters(), 0.01)
        for _ in range(50):
            some = torch.randint(len(train), (64,))
            optimiser.zero_grad()
            nn.functional.cross_entropy(module(train.x[some]), train.y[some]).backward()
            optimiser.step()
    classifier = Classifier(module.eval(), train.classes, shape=train.x.shape[1:])
    repository = repository_of(train.x, (IMAGES[0], IMAGES[1], IMAGES[2]), 60, 64)
    attacked = FGSM(eps=0.25)(classifier, splits.test.x, splits.test.y)
    fooled = classifier.predict(attacked).argmax(1) != splits.test.y
    return SimpleNamespace(classifier=classifier, repository=repository, splits=splits, attacked=attacked[fooled])


@pytest.mark.parametrize("metric", ["re", "jsd"])
def test_on_digits_it_catches_what_fools_the_classifier(digits: SimpleNamespace, metric: Metric) -> None:
    classifier, splits = digits.classifier, digits.splits
    detector = MultiMagNet(n=3, metric=metric, temperature=5, repository=digits.repository, draw_seed=0)
    detector.fit(classifier, splits.train.x, splits.train.y).calibrate(splits.calibration.x, 0.05)
    with torch.no_grad():
        clean, found = (detector.suspicion(classifier.states(x, ())) for x in (splits.test.x, digits.attacked))
    area = auc(clean, found).value
    assert area is not None and area > 0.8
