from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from salus.attacks import PGD
from salus.classifier import Classifier
from salus.detectors import IDefender
from salus.detectors.idefender import Covariance
from salus.errors import CalibrationError, ModelError, OptionError

if TYPE_CHECKING:
    from conftest import Toy


@pytest.mark.parametrize("covariance", ["full", "tied", "diag"])
@pytest.mark.parametrize("components", [1, 3])
def test_scores_are_scikit_learns_log_likelihoods(toy: Toy, covariance: Covariance, components: int) -> None:
    detector = IDefender(components=components, covariance=covariance).fit(toy.classifier, toy.train.x, toy.train.y)
    states = toy.classifier.states(toy.test.x, ("penultimate",))
    got = -detector.class_scores(states).detach()
    tensors = detector.learnt_
    project, offset = tensors["penultimate|project"].double(), tensors["penultimate|offset"].double()

    def reduced(x: Tensor) -> np.ndarray:
        hidden = toy.classifier.states(x, ("penultimate",)).hidden["penultimate"]
        return (hidden.detach().double() @ project - offset).numpy()

    for label in range(3):
        peer = GaussianMixture(components, covariance_type=covariance, reg_covar=1e-4, random_state=0)
        peer.fit(reduced(toy.train.x[toy.train.y == label]))
        expected = torch.from_numpy(peer.score_samples(reduced(toy.test.x)))
        assert torch.allclose(got[:, label].double(), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("covariance", ["full", "tied", "diag"])
def test_states_wide_and_far_from_0_are_scored_to_a_ten_thousandth(covariance: Covariance) -> None:
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(900) % 3
    source = 2 * torch.randn(3, 40, generator=rng)[y] + torch.randn(900, 40, generator=rng)
    mixed = source @ torch.randn(40, 500, generator=rng) / 20
    states = 10 + mixed + 0.02 * torch.randn(900, 500, generator=rng)
    classifier = Classifier(nn.Identity(), ["a", "b", "c"], shape=(500,))
    detector = IDefender(layers=("logits",), components=2, covariance=covariance, dimensions=30)
    detector.fit(classifier, states, y)
    far = states + torch.randn(900, 500, generator=rng)
    project, offset = (detector.learnt_[f"logits|{name}"].double() for name in ("project", "offset"))
    for label in range(3):
        peer = GaussianMixture(2, covariance_type=covariance, reg_covar=1e-4, random_state=0)
        peer.fit((states[y == label].double() @ project - offset).numpy())
        for some in (states, far):
            expected = torch.from_numpy(peer.score_samples((some.double() @ project - offset).numpy()))
            got = -detector.layer_scores("logits", some)[:, label].double()
            assert float(((got - expected) / expected).abs().max()) < 1e-4


def test_the_score_is_minus_the_log_likelihood_under_the_predicted_class(toy: Toy) -> None:
    detector = toy.guard().detectors[0]
    states = toy.classifier.states(toy.test.x, detector.layers)
    expected = detector.class_scores(states)[torch.arange(len(toy.test)), states.logits.argmax(1)]
    assert torch.equal(detector.score(toy.test.x), expected)


def test_the_score_is_differentiable_in_the_input(toy: Toy) -> None:
    detector = toy.guard().detectors[0]
    x = toy.test.x[:50].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(detector.score(x).sum(), x)
    step = 1e-4 * gradient / gradient.norm(dim=1, keepdim=True)
    raised = detector.score(x.detach() + step) - detector.score(x.detach())
    # float32 scores of a few hundred carry about four digits of so small a step
    assert float((raised > 0).float().mean()) > 0.9


@pytest.mark.parametrize("components", ["bic", "likelihood"])
def test_the_number_of_gaussians_is_chosen_on_clean_data(toy: Toy, components: Literal["bic", "likelihood"]) -> None:
    detector = IDefender(components=components, layers=("logits",)).fit(toy.classifier, toy.train.x, toy.train.y)
    assert any("Gaussians for the classes" in note for note in detector.notes_)


def test_any_layers_can_be_named_and_their_likelihoods_add_up(toy: Toy) -> None:
    spelt: Any = ("logits+0", "logits", ["0"])  # what users write, read into names
    both, one, other = (
        IDefender(layers=layers, components=1).fit(toy.classifier, toy.train.x, toy.train.y) for layers in spelt
    )
    states = toy.classifier.states(toy.test.x, ("logits", "0"))
    total = one.class_scores(states) + other.class_scores(states)
    assert torch.allclose(both.class_scores(states), total, rtol=1e-4, atol=1e-3)


def test_dimensions_are_reduced_to_what_the_smallest_class_can_carry_and_it_says_so(toy: Toy) -> None:
    keep = torch.cat([(toy.train.y == k).nonzero()[:20, 0] for k in range(3)])
    detector = IDefender(components=1).fit(toy.classifier, toy.train.x[keep], toy.train.y[keep])
    assert "reduced to 4 principal components" in " ".join(detector.notes_)


def test_a_class_with_too_few_samples_is_named(toy: Toy) -> None:
    keep = torch.cat([(toy.train.y != 2).nonzero()[:, 0], (toy.train.y == 2).nonzero()[:1, 0]])
    with pytest.raises(CalibrationError, match="class 'c' has 1 training samples"):
        IDefender().fit(toy.classifier, toy.train.x[keep], toy.train.y[keep])


@pytest.mark.parametrize(("rule", "kept"), [("id-95", 0.95), ("id-99", 0.99)])
def test_the_papers_thresholds_keep_that_share_of_each_class(toy: Toy, rule: str, kept: float) -> None:
    detector = toy.guard(threshold=rule).detectors[0]
    states = toy.classifier.states(toy.train.x, detector.layers)
    for label in range(3):
        own = toy.train.y == label
        accepted = (detector.class_acceptance(states)[own, label] >= 0).float().mean()
        assert abs(float(accepted) - kept) < 0.015


def test_it_catches_most_of_an_attack_that_does_not_know_of_it(toy: Toy) -> None:
    guard = toy.guard(0.05)
    x_adv = PGD(eps=0.25, early_stop=False)(toy.classifier, toy.test.x, toy.test.y)
    fooled = toy.classifier.predict(x_adv).argmax(1) != toy.test.y
    assert float(fooled.float().mean()) > 0.5
    caught = ~guard(x_adv).accepted
    assert float(caught[fooled].float().mean()) > 0.3


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"components": 0}, "components"),
        ({"components": "aic"}, "aic"),
        ({"covariance": "spherical"}, "spherical"),
        ({"threshold": "id-90"}, "id-90"),
        ({"dimensions": 0}, "dimensions"),
        ({"layers": ()}, "layers"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], word: str) -> None:
    with pytest.raises(OptionError, match=word):
        IDefender(**options)


def test_an_unknown_layer_is_refused_with_the_nearest_names(toy: Toy) -> None:
    with pytest.raises(ModelError, match="penultimate"):
        IDefender(layers=("penultimat",)).fit(toy.classifier, toy.train.x, toy.train.y)


def test_it_says_that_it_is_not_fitted_or_not_calibrated(toy: Toy) -> None:
    with pytest.raises(CalibrationError, match="not fitted"):
        IDefender().score(toy.test.x)
    with pytest.raises(CalibrationError, match="not calibrated"):
        IDefender().fit(toy.classifier, toy.train.x, toy.train.y).detect(toy.test.x)


def test_layers_taken_jointly_are_one_mixture_over_the_components_of_all(toy: Toy) -> None:
    layers = ("logits", "penultimate")
    detector = IDefender(layers=layers, components=2, joint=True).fit(toy.classifier, toy.train.x, toy.train.y)

    def reduced(x: Tensor) -> np.ndarray:
        hidden = toy.classifier.states(x, layers).hidden
        parts = [
            hidden[layer].detach().double() @ detector.learnt_[f"{layer}|project"].double()
            - detector.learnt_[f"{layer}|offset"].double()
            for layer in layers
        ]
        return torch.cat(parts, 1).numpy()

    got = -detector.class_scores(toy.classifier.states(toy.test.x, layers)).detach()
    for label in range(3):
        peer = GaussianMixture(2, covariance_type="full", reg_covar=1e-4, random_state=0)
        peer.fit(reduced(toy.train.x[toy.train.y == label]))
        expected = torch.from_numpy(peer.score_samples(reduced(toy.test.x)))
        assert torch.allclose(got[:, label].double(), expected, rtol=1e-3, atol=1e-2)
    again = IDefender.restore(toy.classifier, detector.settings(), detector.calibrate(toy.test.x, 0.1).tensors())
    assert again.joint and torch.equal(again.score(toy.test.x), detector.score(toy.test.x))
    assert "joint: 2, 2, 2 Gaussians" in detector.describe()


def test_layers_taken_apart_are_saved_as_before_there_was_a_choice() -> None:
    assert "joint" not in IDefender().settings() and IDefender(joint=True).settings()["joint"] is True
