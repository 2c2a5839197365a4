"""MagNet: what its two detectors measure, the paper's rule, the reformer, and that both survive being saved."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from scipy.spatial.distance import jensenshannon
from torch import Tensor

from salus.classifier import Classifier
from salus.detectors import MagNet
from salus.errors import CalibrationError, OptionError
from salus.generative import Repository, RepositoryOptions, hold_out, train_repository
from salus.guard import Guard
from salus.metrics import auc
from salus.models import build_model
from salus.purifiers import Reformer

if TYPE_CHECKING:
    from conftest import Toy


@pytest.fixture(scope="module")
def repository(toy: Toy) -> Repository:
    return train_repository(toy.train, toy.calibration, RepositoryOptions(size=2, epochs=30))


def noise(x: Tensor) -> Tensor:
    return torch.rand(x.shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("norm", [1, 2])
def test_the_error_is_the_mean_of_the_differences_to_a_power(toy: Toy, repository: Repository, norm: Any) -> None:
    detector = MagNet(norm=norm, member=1, repository=repository).fit(toy.classifier, toy.train.x, toy.train.y)
    x = toy.test.x[:20]
    apart = (repository.reconstruct(1, x) - x).abs() ** norm
    torch.testing.assert_close(detector.score(x), apart.mean(1))
    states = toy.classifier.states(x, ())
    assert bool((detector.class_scores(states) == detector.score(x)[:, None]).all())  # no class is told apart


@pytest.mark.parametrize("temperature", [1.0, 10.0, 40.0])
def test_the_divergence_is_scipys(toy: Toy, repository: Repository, temperature: float) -> None:
    detector = MagNet(metric="jsd", temperature=temperature, repository=repository)
    detector.fit(toy.classifier, toy.train.x, toy.train.y)
    x = noise(toy.test.x[:30])
    logits = [toy.classifier.predict(each).double() for each in (x, repository.reconstruct(0, x))]
    p, q = ((each / temperature).softmax(1).numpy() for each in logits)
    expected = torch.tensor(jensenshannon(p, q, axis=1) ** 2).float()
    torch.testing.assert_close(detector.score(x), expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("metric", ["re", "jsd"])
def test_noise_is_told_from_clean_samples(toy: Toy, repository: Repository, metric: Any) -> None:
    detector = MagNet(metric=metric, repository=repository).fit(toy.classifier, toy.train.x, toy.train.y)
    detector.calibrate(toy.calibration.x, 0.1)
    if metric == "re":
        rate = auc(detector.score(toy.test.x), detector.score(noise(toy.test.x))).value
        assert rate is not None and rate > 0.8
    assert float(detector.detect(toy.test.x).float().mean()) < 0.2


@pytest.mark.parametrize("drop_rate", [0.05, 0.29])
def test_the_papers_rule_rejects_that_share_of_what_training_held_out(toy: Toy, drop_rate: float) -> None:
    detector = MagNet(threshold="drop-rate", drop_rate=drop_rate, epochs=3)
    detector.fit(toy.classifier, toy.train.x, toy.train.y)
    _, held_out = hold_out(len(toy.train.x), 0)
    rejected = detector.detect(toy.train.x[held_out])
    assert int(rejected.sum()) == math.floor(drop_rate * len(held_out) + 1e-9)
    assert detector.own_rule and detector.false_alarm_rate_ == drop_rate


def test_a_drop_rate_that_drops_nobody_is_refused_with_the_smallest_that_would(
    toy: Toy, repository: Repository
) -> None:
    detector = MagNet(threshold="drop-rate", drop_rate=1e-6, repository=repository)
    with pytest.raises(CalibrationError, match="the smallest rate they carry is"):
        detector.fit(toy.classifier, toy.train.x, toy.train.y)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"metric": "mse"}, "'re' or 'jsd'"),
        ({"norm": 3}, "norm must be 1 or 2"),
        ({"temperature": 0}, "a number above 0"),
        ({"drop_rate": 1}, "a number between 0 and 1, not 1"),
        ({"threshold": "none"}, "'conformal' or 'drop-rate'"),
        ({"member": -1}, "from 0 up"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        MagNet(**options)


def test_a_member_that_is_not_there_is_named(toy: Toy, repository: Repository) -> None:
    with pytest.raises(OptionError, match="holds autoencoders 0 to 1"):
        MagNet(member=2, repository=repository)
    with pytest.raises(OptionError, match="There are autoencoders 0 to 9"):
        MagNet(member=12).fit(toy.classifier, toy.train.x, toy.train.y)


def test_the_reformer_answers_with_its_members_reconstruction(toy: Toy, repository: Repository) -> None:
    reformer = Reformer(member=repository.names[1], repository=repository)
    reformer.fit(toy.classifier, toy.train.x, toy.train.y)
    x = toy.test.x[:20].clone().requires_grad_()
    made = reformer.purify(x)
    torch.testing.assert_close(made, repository.reconstruct(1, x), rtol=0, atol=0)
    through = torch.autograd.grad(toy.classifier(reformer.outcomes(x)[0]).sum(), x)[0]
    exact = torch.autograd.grad(toy.classifier(repository.reconstruct(1, x)).sum(), x)[0]
    torch.testing.assert_close(through, exact, rtol=0, atol=0)
    right = toy.classifier.predict(made.detach()).argmax(1) == toy.test.y[:20]
    assert float(right.float().mean()) > 0.8


def test_a_reformer_that_is_not_fitted_says_so(toy: Toy) -> None:
    with pytest.raises(CalibrationError, match="fit"):
        Reformer().purify(toy.test.x)


@pytest.mark.parametrize("threshold", ["conformal", "drop-rate"])
@pytest.mark.parametrize("metric", ["re", "jsd"])
def test_saved_and_loaded_it_says_the_same(
    toy: Toy, repository: Repository, tmp_path: Path, metric: Any, threshold: Any
) -> None:
    detector = MagNet(metric=metric, repository=repository, threshold=threshold, drop_rate=0.1)
    with torch.random.fork_rng():
        network = build_model("mlp", (8,), 3, {})
    classifier = Classifier(network, toy.train.classes, shape=(8,), architecture={"name": "mlp", "options": {}})
    guard = Guard(classifier, [detector], Reformer(member=1, repository=repository))
    guard.fit(toy.train, toy.calibration, 0.05).save(tmp_path / "guard")
    loaded = Guard.load(tmp_path / "guard")
    x = torch.cat([toy.test.x[:40], noise(toy.test.x[:40])])
    assert bool((loaded(x).answers == guard(x).answers).all())
    assert loaded.fingerprint() == guard.fingerprint()
    assert bool((guard(x).answers == -1).any()) and bool((guard(x).answers >= 0).any())
