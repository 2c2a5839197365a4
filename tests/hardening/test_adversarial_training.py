"""Adversarial training: it makes harder to fool, its loss is the formula, and its draws are its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softmax

from salus.attacks import BIM, FGSM, PGD, DeepFool
from salus.data import Dataset, Provenance
from salus.errors import OptionError
from salus.hardening import AdversarialTraining, madry, single_step, trades
from salus.models import build_model
from salus.training import Recipe, TrainingOptions, seeded_module, train

EPS = 0.12


def tempting(n: int, seed: int = 0) -> Dataset:
    """One value that tells nine of ten, and twenty that tell more together, but by less than eps each."""
    rng = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    sign = 2.0 * y[:, None] - 1
    wrong = (torch.rand(n, 1, generator=rng) < 0.1).float()
    robust = 0.5 + 0.3 * sign * (1 - 2 * wrong)
    weak = 0.5 + 0.06 * sign + 0.06 * torch.randn(n, 20, generator=rng)
    return Dataset(torch.cat([robust, weak], 1).clamp(0, 1), y, ("a", "b"), Provenance("tempting", "made here"))


def taught(recipe: Recipe | None, **more: Any) -> nn.Module:
    module = seeded_module(lambda: build_model("mlp", (21,), 2, {"hidden": [16]}), 0)
    options = TrainingOptions(epochs=40, patience=40, batch_size=32, learning_rate=3e-2)
    train(module, tempting(320), tempting(160, 1), options, recipe=recipe, **more)
    return module


@pytest.fixture(scope="module")
def plain() -> nn.Module:
    """The network as usual."""
    return taught(None)


def accuracy(module: nn.Module, eps: float) -> float:
    test = tempting(200, 2)
    x = PGD(eps=eps, steps=20, restarts=2)(module, test.x, test.y) if eps else test.x
    return float((module(x).argmax(1) == test.y).double().mean())


@pytest.mark.parametrize(
    "recipe", [single_step(EPS), madry(EPS, steps=4), trades(EPS, steps=4)], ids=["single-step", "madry", "trades"]
)
def test_adversarial_training_leaves_more_right_answers_under_attack(plain: nn.Module, recipe: Recipe) -> None:
    hardened = taught(recipe)
    assert accuracy(plain, 0) > 0.95 and accuracy(plain, EPS) < 0.5
    assert accuracy(hardened, EPS) > accuracy(plain, EPS) + 0.3
    assert accuracy(hardened, EPS) > 0.75


class Seen(nn.Module):
    """A linear model that remembers what it was trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = seeded_module(lambda: nn.Linear(21, 2), 0)
        self.shown: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.shown.append(x.detach().clone())
        logits: Tensor = self.layer(x)
        return logits


def shown(recipe: AdversarialTraining, progress: float = 1.0, step: int = 0) -> Tensor:
    """What a step learns from, less the clean samples, ``[N, 21]``."""
    model, data = Seen().train(), tempting(16)
    recipe.step_loss(model, data.x, data.y, cross_entropy, progress, step)
    assert model.training
    return model.shown[-1][:16] - data.x


@pytest.mark.parametrize("make", [single_step, madry, trades])
def test_eps_grows_with_the_warmup_and_never_beyond(make: Callable[..., AdversarialTraining]) -> None:
    recipe = make(EPS, (-1.0, 2.0), warmup=0.4)
    reached = [float(shown(recipe, progress).abs().max()) for progress in (0.0, 0.1, 0.2, 0.4, 0.7, 1.0)]
    assert 0 < reached[0] < 0.01 * EPS
    for value, share in zip(reached[1:], (0.25, 0.5, 1, 1, 1), strict=True):
        assert 0.9 * share * EPS < value <= share * EPS + 1e-6
    assert float(shown(make(EPS, (-1.0, 2.0)), 0.0).abs().max()) > 0.9 * EPS, "no warmup, no growth"


def test_the_step_of_a_single_step_grows_with_eps() -> None:
    recipe = single_step(EPS, (-1.0, 2.0), warmup=1.0)
    early, late = shown(recipe, 0.1), shown(recipe, 1.0)
    assert torch.allclose(10 * early, late, atol=1e-5), "the same draws and gradients, ten times smaller"
    assert float((late.abs() < 0.999 * EPS).double().mean()) > 0.05, "not every value ends on the edge"


def test_every_step_has_draws_of_its_own_which_its_number_decides() -> None:
    recipe = single_step(EPS)
    assert torch.equal(shown(recipe, step=3), shown(recipe, step=3))
    assert not torch.equal(shown(recipe, step=3), shown(recipe, step=4))
    other = replace(recipe, attack=replace(recipe.attack, seed=7))
    assert not torch.equal(shown(other, step=3), shown(recipe, step=3))


def losses(recipe: AdversarialTraining) -> float:
    model, data = Seen().train(), tempting(16)
    return recipe.step_loss(model, data.x, data.y, cross_entropy, 1.0, 0).item()


def clean_loss() -> float:
    data = tempting(16)
    return cross_entropy(Seen()(data.x), data.y).item()


def test_trades_is_the_clean_loss_and_beta_times_the_divergence_between_both_answers() -> None:
    assert losses(trades(EPS, beta=0.0)) == pytest.approx(clean_loss(), abs=1e-6)
    data, model = tempting(16), Seen()
    x_adv = data.x + shown(trades(EPS))
    with torch.no_grad():
        clean, attacked = softmax(model(data.x), 1), softmax(model(x_adv), 1)
    divergence = float((clean * (clean.log() - attacked.log())).sum(1).mean())  # KL(f(x) || f(x')), Eq. 5
    assert divergence > 0
    assert losses(trades(EPS, beta=3.0)) == pytest.approx(clean_loss() + 3 * divergence, abs=1e-6)


def test_a_share_of_clean_samples_mixes_both_losses() -> None:
    attacked = losses(madry(EPS))
    assert attacked > clean_loss()
    mixed = losses(madry(EPS, clean_share=0.25))
    assert mixed == pytest.approx(0.75 * attacked + 0.25 * clean_loss(), abs=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_validation_is_attacked_at_the_full_eps_whatever_training_attacks_with(norm: Any) -> None:
    data, model = tempting(32), Seen().eval()
    seen = []
    for attack in (PGD(eps=EPS, norm=norm, steps=1, early_stop=False), PGD(eps=EPS, norm=norm, steps=9, seed=4)):
        recipe = AdversarialTraining(attack=attack, warmup=1.0)
        x = recipe.validation_inputs(model, data.x, data.y)
        change = (x - data.x).flatten(1)
        length = change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
        assert 0.9 * EPS < length.max() <= EPS + 1e-6
        assert x.min() >= 0 and x.max() <= 1
        assert cross_entropy(model(x), data.y) > cross_entropy(model(data.x), data.y)
        seen.append(x)
    assert torch.equal(*seen)


def test_validation_keeps_to_the_values_that_the_attack_may_change() -> None:
    mask = [False, *[True] * 20]
    recipe = AdversarialTraining(attack=PGD(eps=EPS, mask=mask, early_stop=False))
    data = tempting(16)
    for change in (recipe.validation_inputs(Seen().eval(), data.x, data.y) - data.x, shown(recipe)):
        assert not change[:, 0].any() and change[:, 1:].any()


def test_any_attack_with_an_eps_will_do() -> None:
    for attack in (FGSM(eps=EPS), BIM(eps=EPS, steps=3)):
        assert 0.9 * EPS < float(shown(AdversarialTraining(attack=attack)).abs().max()) <= EPS + 1e-6


def test_trainings_with_other_recipes_do_not_continue_each_other(tmp_path: Path) -> None:
    def stop(epoch: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        taught(single_step(EPS), checkpoint=tmp_path / "training", on_epoch=stop)
    for recipe in (single_step(EPS / 2), single_step(EPS, warmup=0.1), madry(EPS), None):
        said: list[str] = []
        with pytest.raises(KeyboardInterrupt):
            taught(recipe, checkpoint=tmp_path / "training", log=said.append, on_epoch=stop)
        assert "belongs to another training" in said[0]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"attack": DeepFool(eps=None)}, "eps above 0"),
        ({"attack": PGD(eps=0.0)}, "eps above 0"),
        ({"attack": PGD(eps=EPS, targeted=True)}, "without a target"),
        ({"loss": "mart"}, "loss must be 'madry' or 'trades', not 'mart'"),
        ({"beta": -1.0}, "beta must be a number from 0 up, not -1.0"),
        ({"beta": math.nan}, "beta must be a number from 0 up, not nan"),
        ({"clean_share": 1.0}, "clean_share must be a number from 0 to below 1, not 1.0"),
        ({"clean_share": -0.1}, "clean_share must be a number from 0 to below 1, not -0.1"),
        ({"warmup": 1.5}, "warmup must be a number from 0 to 1, not 1.5"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], word: str) -> None:
    with pytest.raises(OptionError, match=word):
        AdversarialTraining(**{"attack": PGD(eps=EPS), **options})
