from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from salus.classifier import Classifier
from salus.data import load
from salus.errors import CalibrationError, ModelError
from salus.generative.wgan import WGANOptions, train_generator
from salus.guard import Guard
from salus.models import build_model
from salus.purifiers import DefenseGANPurifier, build_purifier
from salus.training import seeded_module

if TYPE_CHECKING:
    from conftest import Toy

QUICK: dict[str, Any] = {"restarts": 3, "iterations": 20, "epochs": 2, "width": 4}


@pytest.fixture(scope="module")
def guard(toy: Toy) -> Guard:
    return Guard(toy.classifier, [], DefenseGANPurifier(**QUICK)).fit(toy.train, toy.calibration)


def purifier_of(guard: Guard) -> DefenseGANPurifier:
    assert isinstance(guard.purifier, DefenseGANPurifier)
    return guard.purifier


def test_the_classifier_sees_what_the_generator_makes_of_an_input(guard: Guard, toy: Toy) -> None:
    x, purifier = toy.test.x[:30], purifier_of(guard)
    purified = purifier.purify(x)
    found = purifier.project(x)
    assert torch.equal(purified, purifier.generator(found.z))
    assert torch.allclose((purified - x).square().sum(1), found.distances.amin(1), rtol=1e-3, atol=1e-6)
    assert torch.equal(guard(x).labels, toy.classifier(purified).argmax(1))


def test_what_the_generator_makes_is_left_nearly_as_it_is(guard: Guard) -> None:
    generator = purifier_of(guard).generator
    z = 0.3 * torch.randn(20, generator.latent, generator=torch.Generator().manual_seed(0))
    purifier = DefenseGANPurifier(generator=generator, restarts=4, iterations=600)
    made = generator(z)
    moved, spread = (purifier.purify(made) - made).norm(dim=1), (made - made.mean(0)).norm(dim=1)
    assert float(moved.mean()) < 0.1 * float(spread.mean())


def test_attackers_see_the_gradient_of_every_step(guard: Guard, toy: Toy) -> None:
    x = toy.test.x[:60].clone().requires_grad_()
    logits = guard.view(x).logits
    assert torch.equal(logits, toy.classifier(purifier_of(guard).purify(x.detach())))
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), x)
    with torch.no_grad():
        risen = guard.view(x + 1e-3 * gradient.sign()).logits[:, 0] - logits[:, 0]
    told = 1e-3 * gradient.abs().sum(1)
    assert float((risen > 0).float().mean()) > 0.9
    assert 0.8 < float((risen / told).median()) < 1.25  # descents bend at every kink of the generator


def test_one_input_is_purified_as_it_is_among_others(guard: Guard, toy: Toy) -> None:
    x, purifier = toy.test.x[:12], purifier_of(guard)
    alone = torch.cat([purifier.purify(x[i : i + 1]) for i in range(12)])
    assert torch.allclose(alone, purifier.purify(x), atol=1e-4)


def test_a_saved_guard_gives_equal_verdicts(tmp_path: Path) -> None:
    splits = load("breast-cancer")
    module = seeded_module(lambda: build_model("mlp", (30,), 2), 0)
    own = {"name": "mlp", "options": {}}
    classifier = Classifier(module, splits.test.classes, shape=(30,), name="mlp", architecture=own)
    guard = Guard(classifier, [], DefenseGANPurifier(**QUICK)).fit(splits.train, splits.calibration)
    guard.save(tmp_path)
    loaded = Guard.load(tmp_path)
    x = splits.test.x[:50]
    assert torch.equal(loaded(x).probabilities, guard(x).probabilities)
    assert loaded.fingerprint() == guard.fingerprint()


def test_it_takes_a_folder_by_name_and_refuses_a_generator_of_other_samples(toy: Toy, tmp_path: Path) -> None:
    generator, _ = train_generator(torch.rand(20, 9), WGANOptions(epochs=1, width=2, latent=2))
    generator.save(tmp_path)
    named = build_purifier("defense-gan-purifier", {"generator": str(tmp_path)}, bounds=(0.0, 1.0), seed=3)
    assert isinstance(named, DefenseGANPurifier) and named.seed == 3
    with pytest.raises(ModelError, match=r"not of shape \[8\]"):
        named.fit(toy.classifier, toy.train.x, toy.train.y)
    with pytest.raises(CalibrationError, match="no generator yet"):
        DefenseGANPurifier().purify(toy.test.x)
