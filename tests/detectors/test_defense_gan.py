from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from salus.attacks import FGSM
from salus.classifier import Classifier
from salus.data import Dataset, load
from salus.detectors import DefenseGAN, build_detector
from salus.errors import CalibrationError, ModelError, OptionError
from salus.generative import projection
from salus.generative.generator import SampleGenerator
from salus.generative.wgan import WGANOptions, train_generator
from salus.guard import Guard
from salus.models import build_model
from salus.training import TrainingOptions, fit_classifier, seeded_module

if TYPE_CHECKING:
    from conftest import Toy

QUICK: dict[str, Any] = {"restarts": 3, "iterations": 20, "epochs": 2, "width": 4}


class Line(nn.Module):
    """G(z) = 0.5 + z u for a unit vector u of eight values."""

    shape, latent = (8,), 1

    def __init__(self) -> None:
        super().__init__()
        self.u = nn.Parameter(torch.full((8,), 8**-0.5))

    def forward(self, z: Tensor) -> Tensor:
        return 0.5 + z * self.u


def line() -> SampleGenerator:
    return SampleGenerator(Line(), width=1)  # type: ignore[arg-type] # stands in for a WGANGenerator


def detector_of(guard: Guard) -> DefenseGAN:
    (detector,) = guard.detectors
    assert isinstance(detector, DefenseGAN)
    return detector


@pytest.fixture(scope="module")
def guard(toy: Toy) -> Guard:
    return Guard(toy.classifier, [DefenseGAN(**QUICK)], name="toy").fit(toy.train, toy.calibration, 0.05)


def test_the_score_is_the_squared_distance_from_the_range_whatever_the_class(toy: Toy) -> None:
    detector = DefenseGAN(generator=line(), restarts=1, iterations=60, learning_rate=2.0)
    detector.fit(toy.classifier, toy.train.x, toy.train.y)
    states = toy.classifier.states(toy.test.x, detector.layers)
    scores = detector.class_scores(states)
    centred = toy.test.x - toy.test.x.mean(1, keepdim=True)  # what u does not reach
    assert scores.shape == (len(toy.test), 3)
    assert torch.allclose(scores, centred.square().sum(1, keepdim=True).expand(-1, 3), rtol=1e-3)
    assert torch.equal(detector.score(toy.test.x), scores[:, 0])


def test_its_gradient_is_that_of_the_distance_although_no_descent_is_unrolled(toy: Toy) -> None:
    detector = DefenseGAN(generator=line(), restarts=1, iterations=60, learning_rate=2.0)
    detector.fit(toy.classifier, toy.train.x, toy.train.y)
    x = toy.test.x[:4].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(detector.score(x).sum(), x)
    step = 0.05
    for place in range(8):
        aside = torch.zeros(8)
        aside[place] = step
        difference = (detector.score(x + aside) - detector.score(x - aside)) / (2 * step)  # exact for a square
        assert torch.allclose(gradient[:, place], difference, atol=1e-3)


def test_the_gradient_of_a_generators_distance_agrees_with_finite_differences(toy: Toy, guard: Guard) -> None:
    trained = detector_of(guard).generator
    detector = DefenseGAN(generator=trained, restarts=1, iterations=800, learning_rate=1.0)
    detector.fit(toy.classifier, toy.train.x, toy.train.y)
    x = toy.test.x[:32].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(detector.score(x).sum(), x)
    aside = 0.004 * torch.randn(8, generator=torch.Generator().manual_seed(0))
    rise = (detector.score(x + aside) - detector.score(x - aside)).detach()
    told = 2 * (gradient @ aside)
    near = (rise - told).abs() < 0.05 * told.abs().max()
    assert float(near.float().mean()) > 0.8, "all but those whose descent falls into another valley"


def test_a_verdict_does_not_depend_on_its_batch(guard: Guard, toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    x = toy.test.x[:40]
    together = guard(x)
    alone = torch.cat([guard(x[i : i + 1]).scores["defense-gan"] for i in range(40)])
    assert torch.allclose(alone, together.scores["defense-gan"], atol=1e-3)
    monkeypatch.setitem(projection.ROWS, "cpu", 8)
    chunked = guard(x)
    assert torch.allclose(chunked.scores["defense-gan"], together.scores["defense-gan"], atol=1e-3)
    assert torch.equal(chunked.accepted, together.accepted)


def test_false_alarms_keep_to_the_rate(guard: Guard, toy: Toy) -> None:
    assert float((~guard(toy.test.x).accepted).float().mean()) < 0.12


def test_a_saved_guard_gives_equal_verdicts(tmp_path: Path) -> None:
    splits = load("breast-cancer")
    module = seeded_module(lambda: build_model("mlp", (30,), 2), 0)
    own = {"name": "mlp", "options": {}}
    classifier = Classifier(module, splits.test.classes, shape=(30,), name="mlp", architecture=own)
    guard = Guard(classifier, [DefenseGAN(**QUICK)]).fit(splits.train, splits.calibration, 0.05)
    guard.save(tmp_path)
    loaded = Guard.load(tmp_path)
    one, other = guard(splits.test.x), loaded(splits.test.x)
    assert torch.equal(one.scores["defense-gan"], other.scores["defense-gan"])
    assert torch.equal(one.answers, other.answers)
    assert loaded.fingerprint() == guard.fingerprint()


def test_a_folder_named_on_the_command_line_does_what_its_generator_does(
    guard: Guard, toy: Toy, tmp_path: Path
) -> None:
    detector_of(guard).generator.save(tmp_path)
    named = build_detector("defense-gan", {"generator": str(tmp_path), "restarts": 3, "iterations": 20}, seed=0)
    named.fit(toy.classifier, toy.train.x, toy.train.y)
    x = toy.test.x[:20]
    assert torch.equal(named.score(x), guard.detectors[0].score(x))
    with pytest.raises(OptionError, match=r"restart.*did you mean 'restarts'"):
        build_detector("defense-gan", {"restart": 3})


def test_an_attacker_finds_the_generator_and_the_latents(guard: Guard, toy: Toy) -> None:
    detector = detector_of(guard)
    found = detector.project(toy.test.x[:5])
    z = found.z.clone().requires_grad_()
    made = detector.generator(z)
    assert torch.equal(made, found.x)
    (gradient,) = torch.autograd.grad(toy.classifier(made)[:, 0].sum(), z)
    assert bool((gradient != 0).any(1).all()), "a latent can be moved towards a class"


def test_a_generator_of_other_samples_is_refused(toy: Toy) -> None:
    generator, _ = train_generator(torch.rand(20, 9), WGANOptions(epochs=1, width=2, latent=2))
    with pytest.raises(ModelError, match=r"shape \[9\].*not of shape \[8\]"):
        DefenseGAN(generator=generator).fit(toy.classifier, toy.train.x, toy.train.y)
    with pytest.raises(CalibrationError, match="not fitted"):
        DefenseGAN(generator=generator).score(toy.test.x)


@pytest.mark.slow
@pytest.mark.skipif("SALUS_DATA" not in os.environ, reason="needs MNIST")
def test_it_tells_attacked_digits_from_clean_ones() -> None:
    """On small zeros and ones, whose generator is learnt in seconds."""
    splits = load("mnist")
    train, validation, test = map(_zeros_and_ones, (splits.train, splits.validation, splits.test), (1000, 300, 100))
    classifier, _ = fit_classifier("small-cnn", train, validation, TrainingOptions(epochs=4))
    options = WGANOptions(
        epochs=25, width=8, latent=16, critic_steps=3, batch_size=50, learning_rate=1e-3, betas=(0.5, 0.9)
    )
    generator, _ = train_generator(train.x, options)
    detector = DefenseGAN(generator=generator, restarts=4, iterations=60).fit(classifier, train.x, train.y)
    x_adv = FGSM(eps=0.3)(classifier, test.x, test.y)
    clean = detector.score(test.x)
    assert roc_auc_score([0] * 100 + [1] * 100, torch.cat([clean, detector.score(x_adv)])) > 0.85
    noise = 0.3 * torch.sign(torch.randn(test.x.shape, generator=torch.Generator().manual_seed(0)))
    scores = torch.cat([clean, detector.score((test.x + noise).clamp(0, 1))])
    assert roc_auc_score([0] * 100 + [1] * 100, scores) > 0.85, "noise of the same size is as far from the range"


def _zeros_and_ones(data: Dataset, most: int) -> Dataset:
    rows = (data.y < 2).nonzero()[:most, 0]
    few = data.subset(rows)
    return replace(few, x=nn.functional.avg_pool2d(few.x, 2))
