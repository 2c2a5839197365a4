"""ECG-ATK-GAN's head for attacked beats, as a detector."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from salus.attacks import PGD
from salus.classifier import Classifier
from salus.detectors import DETECTORS, AttackedHead, build_detector
from salus.errors import CalibrationError, ModelError, OptionError
from salus.guard import Guard
from salus.models.ecg_atk_gan import Discriminator
from salus.threats import GuardObjective, adaptive, oblivious

if TYPE_CHECKING:
    from conftest import Toy

CLASSES = ("N", "S", "V")


def bumps(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """One bump a beat, at a place that its class decides."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    places = 8.0 * (y + 1) + torch.randn(n, generator=generator)
    x = 0.1 + 0.7 * torch.exp(-((torch.arange(32) - places[:, None]) ** 2) / 8)
    return (x + 0.05 * torch.rand(n, 32, generator=generator))[:, None], y


@dataclass(frozen=True)
class Trained:
    """A tiny discriminator whose heads tell classes, and beats with FGSM's kind of noise from clean ones."""

    classifier: Classifier
    calibration: Tensor
    x: Tensor
    y: Tensor

    def guard(self, rate: float = 0.1) -> Guard:
        detector = AttackedHead().fit(self.classifier, self.x, self.y).calibrate(self.calibration, rate)
        return Guard(self.classifier, [detector])


def noisy(x: Tensor, seed: int) -> Tensor:
    signs = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)).round() * 2 - 1
    return (x + 0.08 * signs).clamp(0, 1)


@pytest.fixture(scope="module")
def trained() -> Trained:
    x, y = bumps(300, 1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Discriminator(3, length=32, widths=(4, 8), dropout=0.0)
        optimiser = torch.optim.Adam(module.parameters(), 0.01)
        shown = torch.cat([x, noisy(x, 1)])
        labels, attacked = torch.cat([y, y]), torch.arange(600) // 300
        for _ in range(60):
            judged = module.judge(shown)
            loss = nn.functional.cross_entropy(judged.classes, labels)
            loss = loss + nn.functional.cross_entropy(judged.attacked, attacked)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    classifier = Classifier(
        module, CLASSES, shape=(1, 32), name="ecg-atk-gan",
        architecture={"name": "ecg-atk-gan", "options": {"widths": [4, 8], "dropout": 0.0}},
    )  # fmt: skip
    return Trained(classifier, bumps(600, 2)[0], *bumps(150, 3))


def test_the_score_is_the_difference_of_the_heads_logits_under_every_class(trained: Trained) -> None:
    detector = AttackedHead().fit(trained.classifier, trained.x, trained.y)
    module = trained.classifier.module
    assert isinstance(module, Discriminator)
    with torch.no_grad():
        judged = module.judge(trained.x)
    expected = judged.attacked[:, 1] - judged.attacked[:, 0]
    torch.testing.assert_close(detector.score(trained.x).detach(), expected)
    scores = detector.class_scores(trained.classifier.states(trained.x, detector.layers))
    assert scores.shape == (150, 3)
    assert all(torch.equal(scores[:, k], scores[:, 0]) for k in range(3))
    with torch.no_grad():
        assert bool(detector.score(noisy(trained.x, 5)).median() > detector.score(trained.x).median() + 1)


def test_the_score_has_a_gradient_in_the_input(trained: Trained) -> None:
    detector = AttackedHead().fit(trained.classifier, trained.x, trained.y)
    x = trained.x[:4].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(detector.score(x).sum(), x)
    assert bool(gradient.isfinite().all()) and float(gradient.abs().sum()) > 0


@pytest.mark.parametrize("rate", [0.02, 0.1])
def test_calibration_keeps_its_rate_on_fresh_beats_and_catches_what_the_head_learnt(
    trained: Trained, rate: float
) -> None:
    guard = trained.guard(rate)
    fresh = bumps(3000, 9)[0]
    assert float((~guard(fresh).accepted).float().mean()) == pytest.approx(rate, abs=0.5 * rate + 0.01)
    assert float((~guard(noisy(trained.x, 5)).accepted).float().mean()) > 0.8


def test_a_rate_that_the_samples_cannot_carry_is_refused(trained: Trained) -> None:
    with pytest.raises(CalibrationError, match="cannot carry"):
        AttackedHead().fit(trained.classifier, trained.x, trained.y).calibrate(trained.x, 0.001)


def test_a_guard_saves_and_loads_it(trained: Trained, tmp_path: Path) -> None:
    guard = trained.guard()
    guard.save(tmp_path)
    again = Guard.load(tmp_path)
    assert again.fingerprint() == guard.fingerprint()
    assert again.detectors[0].describe() == guard.detectors[0].describe()
    before, after = guard(trained.x), again(trained.x)
    assert torch.equal(before.accepted, after.accepted)
    torch.testing.assert_close(before.scores["attacked-head"], after.scores["attacked-head"])


def test_an_adaptive_attacker_gets_past_it_where_an_oblivious_one_is_caught(trained: Trained) -> None:
    guard = trained.guard()
    attack, x, y = PGD(eps=0.3, steps=20), trained.x[::4], trained.y[::4]
    blind = oblivious(attack, guard, x, y)
    answers = guard(blind.x_adv).answers
    fallen = (answers >= 0) & (answers != y)
    knowing = adaptive(attack, guard, x, y)
    assert bool((knowing.success >= fallen).all())
    assert float(knowing.success.float().mean()) > float(fallen.float().mean()) + 0.2
    margins = GuardObjective(guard).evaluate(trained.x, trained.y).class_margins
    assert margins is not None and margins.shape == (150, 3)
    assert bool(margins.isfinite().gather(1, ((trained.y + 1) % 3)[:, None]).all())


def test_a_classifier_without_the_head_is_refused_with_what_trains_one(toy: Toy, trained: Trained) -> None:
    with pytest.raises(ModelError, match=r"no layer 'attacked'.*salus harden ecg-atk-gan"):
        AttackedHead().fit(toy.classifier, toy.train.x, toy.train.y)
    wide = Discriminator(3, length=32, widths=(4,))
    wide.attacked = nn.Linear(wide.trunk.size, 3)
    with pytest.raises(ModelError, match=r"two values.*salus harden ecg-atk-gan"):
        AttackedHead().fit(Classifier(wide, CLASSES, shape=(1, 32)), trained.x, trained.y)


def test_the_command_line_knows_it_and_it_takes_no_options() -> None:
    assert DETECTORS["attacked-head"] is AttackedHead
    assert isinstance(build_detector("attacked-head", {}, seed=3), AttackedHead)
    with pytest.raises(OptionError, match="takes no options; leave 'layers' out"):
        build_detector("attacked-head", {"layers": "logits"})
