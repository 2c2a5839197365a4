"""What holds for every detector of hidden states, and for feature squeezing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from salus.attacks import BIM
from salus.detectors import DETECTORS, Detector, IDefender, build_detector
from salus.errors import CalibrationError, ModelError, OptionError
from salus.guard import Guard
from salus.training import TrainingOptions, fit_classifier

if TYPE_CHECKING:
    from conftest import Toy

OPTIONS: dict[str, dict[str, Any]] = {
    "mahalanobis": {"layers": "penultimate+1"},
    "deep-knn": {"layers": "penultimate+1", "max_samples": 100},
    "lid": {"layers": "penultimate+1", "max_samples": 100},
    "kde": {"layers": "penultimate+1", "max_samples": 100},
    "feature-squeezing": {"bits": "2+3"},
    "safetynet": {"layers": "penultimate+1", "attack": "bim:eps=0.2+steps=5", "max_samples": 60},
    "subnetwork": {"layers": "penultimate+1", "attack": "bim:eps=0.2+steps=5", "widths": "16+8", "epochs": 15},
}
STEPPED = {"feature-squeezing", "safetynet"}  # their gradients stand in for steps that have none
OF_LAYERS = sorted(set(OPTIONS) - {"feature-squeezing"})


@pytest.fixture(scope="module")
def fitted(toy: Toy) -> dict[str, Detector]:
    made = {name: build_detector(name, options, seed=3) for name, options in OPTIONS.items()}
    state = torch.random.get_rng_state()
    parameters = list(toy.classifier.parameters())
    grads = [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]
    for detector in made.values():
        detector.fit(toy.classifier, toy.train.x, toy.train.y).calibrate(toy.calibration.x, 0.05)
    assert torch.equal(torch.random.get_rng_state(), state), "global random state is neither read nor changed"
    kept = zip(parameters, grads, strict=True)
    assert all(p.grad is not None and torch.equal(p.grad, grad) for p, grad in kept)
    return made


@pytest.mark.parametrize("name", OPTIONS)
def test_each_is_known_by_its_name(name: str) -> None:
    assert DETECTORS[name].name == name


@pytest.mark.parametrize("name", OPTIONS)
def test_scores_are_finite_and_one_for_each_class(fitted: dict[str, Detector], toy: Toy, name: str) -> None:
    states = toy.classifier.states(toy.test.x, fitted[name].layers)
    scores = fitted[name].class_scores(states)
    assert scores.shape == (300, 3)
    assert bool(scores.isfinite().all())
    told_apart = not all(torch.equal(scores[:, 0], scores[:, k]) for k in range(3))
    assert told_apart == (name in ("deep-knn", "kde")), "of these two alone the score depends on the class"


@pytest.mark.parametrize("name", OPTIONS)
def test_a_verdict_does_not_depend_on_its_batch(fitted: dict[str, Detector], toy: Toy, name: str) -> None:
    together = fitted[name].score(toy.test.x[:40])
    alone = torch.cat([fitted[name].score(x[None]) for x in toy.test.x[:40]])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", OPTIONS)
def test_false_alarms_keep_to_the_rate_and_an_attack_that_fools_is_seen(
    fitted: dict[str, Detector], toy: Toy, name: str
) -> None:
    detector = fitted[name]
    assert float(detector.detect(toy.test.x).float().mean()) < 0.05 + 0.05
    x_adv = BIM(eps=0.2, early_stop=False)(toy.classifier, toy.test.x, toy.test.y)
    fooled = toy.classifier.predict(x_adv).argmax(1) != toy.test.y
    assert float(fooled.float().mean()) > 0.5
    with torch.no_grad():
        clean, attacked = detector.score(toy.test.x), detector.score(x_adv[fooled])
    if name == "feature-squeezing":
        return  # rounded to two or three bits, eight numbers say little
    assert float((attacked[:, None] > clean).float().mean()) > 0.7, "the area under the ROC curve"


@pytest.mark.parametrize("name", sorted(set(OPTIONS) - STEPPED))
def test_the_gradient_is_that_of_the_score(fitted: dict[str, Detector], toy: Toy, name: str) -> None:
    x = toy.test.x[:60].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(fitted[name].score(x).sum(), x)
    step = 1e-4 * gradient / gradient.norm(dim=1, keepdim=True)
    with torch.no_grad():
        rise = fitted[name].score(x + step) - fitted[name].score(x - step)
    expected = 2 * (gradient * step).sum(1)
    # Neighbours and active units change here and there within the step.
    assert float((((rise - expected) / expected).abs() < 0.1).float().mean()) > 0.7


@pytest.mark.parametrize("name", sorted(STEPPED))
def test_a_stand_in_gradient_points_an_attacker_somewhere(fitted: dict[str, Detector], toy: Toy, name: str) -> None:
    x = toy.test.x[:60].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(fitted[name].score(x).sum(), x)
    assert float((gradient.abs().sum(1) > 0).float().mean()) > 0.9
    step = 0.05 * gradient.sign()
    with torch.no_grad():
        rise = fitted[name].score(x + step) - fitted[name].score(x - step)
    assert float((rise > 0).float().mean()) > 0.7


def test_a_guard_saves_and_loads_them_all(toy: Toy, tmp_path: Path) -> None:
    classifier, _ = fit_classifier("mlp", toy.train, toy.calibration, TrainingOptions(epochs=10))
    options = {name: {**given, "layers": "penultimate+trunk.0"} for name, given in OPTIONS.items()}
    del options["feature-squeezing"]["layers"]
    guard = Guard(classifier, [build_detector(name, given) for name, given in options.items()])
    guard.fit(toy.train, toy.calibration, 0.1).save(tmp_path)
    again = Guard.load(tmp_path)
    assert again.fingerprint() == guard.fingerprint()
    assert [d.describe() for d in again.detectors] == [d.describe() for d in guard.detectors]
    before, after = guard(toy.test.x), again(toy.test.x)
    assert torch.equal(before.accepted, after.accepted)
    assert 0 < int((~before.accepted).sum()) < 100
    for name, scores in before.scores.items():
        assert torch.equal(after.scores[name], scores), name


@pytest.mark.parametrize("name", OPTIONS)
def test_it_says_that_it_is_not_fitted(toy: Toy, name: str) -> None:
    with pytest.raises(CalibrationError, match="not fitted"):
        build_detector(name, OPTIONS[name]).score(toy.test.x)


@pytest.mark.parametrize("name", OF_LAYERS)
def test_layers_that_are_none_are_refused(toy: Toy, name: str) -> None:
    with pytest.raises(OptionError, match=r"layers must be names, joined by \+, not"):
        build_detector(name, {**OPTIONS[name], "layers": ()})
    with pytest.raises(ModelError, match="no layer 'penultimat'; did you mean 'penultimate'"):
        build_detector(name, {**OPTIONS[name], "layers": "penultimat"}).fit(toy.classifier, toy.train.x, toy.train.y)


@pytest.mark.parametrize("name", OF_LAYERS)
@pytest.mark.parametrize(("option", "value"), [("max_samples", 0), ("max_samples", "all"), ("seed", -1)])
def test_numbers_that_make_no_sense_are_refused(name: str, option: str, value: object) -> None:
    with pytest.raises(OptionError, match=f"{option} must be a whole number"):
        build_detector(name, {**OPTIONS[name], option: value})


@pytest.mark.parametrize("name", sorted(set(OF_LAYERS) - {"safetynet", "subnetwork"}))
def test_a_class_with_too_few_samples_is_named(toy: Toy, name: str) -> None:
    keep = torch.cat([(toy.train.y != 2).nonzero()[:, 0], (toy.train.y == 2).nonzero()[:1, 0]])
    with pytest.raises(CalibrationError, match="class 'c' has 1 training samples"):
        build_detector(name, OPTIONS[name]).fit(toy.classifier, toy.train.x[keep], toy.train.y[keep])


def test_the_same_seed_draws_the_same_samples_and_another_seed_others(toy: Toy) -> None:
    def fit(seed: int) -> Detector:
        detector = build_detector("deep-knn", OPTIONS["deep-knn"], seed=seed)
        return detector.fit(toy.classifier, toy.train.x, toy.train.y)

    first, again, other = (fit(seed).score(toy.test.x) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_restored_i_defender_keeps_the_settings_it_was_saved_with(toy: Toy) -> None:
    detector = toy.guard(threshold="id-95", layers="logits").detectors[0]
    again = IDefender.restore(toy.classifier, detector.settings(), detector.tensors())
    assert again.settings() == detector.settings()
    assert torch.equal(again.score(toy.test.x), detector.score(toy.test.x))
