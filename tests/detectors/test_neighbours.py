"""Detectors that compare states with those of training samples, beside scikit-learn and formulas worked by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from sklearn.neighbors import KernelDensity, NearestNeighbors
from torch import Tensor

from salus.detectors import KDE, LID, DeepKNN
from salus.detectors.neighbours import ReferenceDetector
from salus.errors import OptionError

if TYPE_CHECKING:
    from conftest import Toy

LAYER = "penultimate"


def states(toy: Toy, x: Tensor) -> np.ndarray:
    return toy.classifier.states(x, (LAYER,)).hidden[LAYER].detach().double().numpy()


def raw(detector: ReferenceDetector, toy: Toy, x: Tensor) -> Tensor:
    """Undo the standardisation."""
    mean, deviation = detector.learnt_[f"{LAYER}|scale"]
    scores = detector.class_scores(toy.classifier.states(x, (LAYER,))).detach()
    unscaled: Tensor = scores * deviation + mean
    return unscaled.double()


@pytest.mark.parametrize("neighbours", [1, 7])
def test_deep_knn_is_scikit_learns_distance_to_the_kth_neighbour_of_each_class(toy: Toy, neighbours: int) -> None:
    detector = DeepKNN(neighbours=neighbours).fit(toy.classifier, toy.train.x, toy.train.y)
    train, test = states(toy, toy.train.x), states(toy, toy.test.x)
    for label in range(3):
        peer = NearestNeighbors(n_neighbors=neighbours).fit(train[toy.train.y.numpy() == label])
        expected = torch.from_numpy(peer.kneighbors(test)[0][:, -1])
        torch.testing.assert_close(raw(detector, toy, toy.test.x)[:, label], expected, rtol=1e-3, atol=1e-3)


def test_kept_states_are_measured_against_the_others_of_their_class(toy: Toy) -> None:
    detector = DeepKNN(neighbours=3).fit(toy.classifier, toy.train.x, toy.train.y)
    train, y = states(toy, toy.train.x), toy.train.y.numpy()
    own = np.concatenate(
        [NearestNeighbors(n_neighbors=4).fit(train[y == k]).kneighbors(train[y == k])[0][:, -1] for k in range(3)]
    )
    mean, deviation = detector.learnt_[f"{LAYER}|scale"]
    assert float(mean) == pytest.approx(own.mean(), rel=1e-3)
    assert float(deviation) == pytest.approx(own.std(), rel=1e-3)


def test_lid_is_the_maximum_likelihood_estimate_over_the_nearest_distances(toy: Toy) -> None:
    detector = LID(neighbours=10).fit(toy.classifier, toy.train.x, toy.train.y)
    distances = NearestNeighbors(n_neighbors=10).fit(states(toy, toy.train.x)).kneighbors(states(toy, toy.test.x))[0]
    expected = -1 / np.log(distances / distances[:, -1:]).mean(1)
    got = raw(detector, toy, toy.test.x)[:, 0]
    # Distances are taken in float32, and processors round them differently: the closest of them tell it most.
    torch.testing.assert_close(got, torch.from_numpy(expected), rtol=0.03, atol=5e-3)
    assert float((got / torch.from_numpy(expected) - 1).abs().median()) < 1e-3


@pytest.mark.parametrize("dimensions", [2, 6])
def test_lid_finds_the_dimension_of_a_flat_sheet(toy: Toy, dimensions: int) -> None:
    generator = torch.Generator().manual_seed(0)
    flat = torch.zeros(3000, 8)
    flat[:, :dimensions] = torch.rand(3000, dimensions, generator=generator)
    detector = LID(neighbours=30)
    inside = torch.full((200, 8), 0.0)
    inside[:, :dimensions] = 0.5 + 0.1 * torch.rand(200, dimensions, generator=generator)
    scores = detector.reference_scores(LAYER, (torch.cdist(inside, flat).square(),))
    assert float(scores.mean()) == pytest.approx(dimensions, rel=0.15)


def test_kde_is_scikit_learns_kernel_density_of_each_class(toy: Toy) -> None:
    detector = KDE().fit(toy.classifier, toy.train.x, toy.train.y)
    train, test = states(toy, toy.train.x), states(toy, toy.test.x)
    scores = raw(detector, toy, toy.test.x)
    for label, bandwidth in enumerate(detector.learnt_[f"{LAYER}|bandwidths"].tolist()):
        # With leaves this large its tree sums over all states; with smaller ones it loses digits far away.
        peer = KernelDensity(bandwidth=bandwidth, leaf_size=1000).fit(train[toy.train.y.numpy() == label])
        expected = torch.from_numpy(peer.score_samples(test))
        torch.testing.assert_close(-scores[:, label], expected, rtol=1e-3, atol=1e-2)


def test_kdes_bandwidth_makes_states_likeliest_that_were_held_out(toy: Toy) -> None:
    detector = KDE(max_samples=60).fit(toy.classifier, toy.train.x, toy.train.y)
    own = detector.of_class(LAYER)[1].double().numpy()
    chosen = float(detector.learnt_[f"{LAYER}|bandwidths"][1])

    def held_out(bandwidth: float) -> float:
        each = [KernelDensity(bandwidth=bandwidth).fit(np.delete(own, i, 0)) for i in range(len(own))]
        return float(np.mean([peer.score_samples(own[i : i + 1])[0] for i, peer in enumerate(each)]))

    best = held_out(chosen)
    assert best >= held_out(chosen * 2**0.25) - 1e-6
    assert best >= held_out(chosen / 2**0.25) - 1e-6


def test_kde_stays_finite_where_a_class_repeats_one_state(toy: Toy) -> None:
    x, y = toy.train.x.clone(), toy.train.y
    x[y == 0] = x[y == 0][:1]
    detector = KDE().fit(toy.classifier, x, y)
    scores = detector.class_scores(toy.classifier.states(toy.test.x, (LAYER,)))
    assert bool(scores.isfinite().all())


def test_no_more_than_max_samples_of_each_class_are_kept(toy: Toy) -> None:
    detector = DeepKNN(max_samples=50).fit(toy.classifier, toy.train.x, toy.train.y)
    assert detector.counts == [50, 50, 50]
    assert detector.learnt_[f"{LAYER}|states"].shape == (150, 16)


@pytest.mark.parametrize("cls", [DeepKNN, LID, KDE])
def test_a_training_sample_itself_gets_a_score_and_a_gradient(toy: Toy, cls: type) -> None:
    detector = cls().fit(toy.classifier, toy.train.x, toy.train.y)
    x = toy.train.x[:20].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(detector.score(x).sum(), x)
    assert bool(detector.score(x).isfinite().all()) and bool(gradient.isfinite().all())


@pytest.mark.parametrize(
    ("cls", "options", "words"),
    [
        (DeepKNN, {"neighbours": 0}, "neighbours must be a whole number from 1 up"),
        (DeepKNN, {"neighbours": 10, "max_samples": 10}, "max_samples must be a whole number from 11 up"),
        (LID, {"neighbours": 1}, "neighbours must be a whole number from 2 up"),
        (LID, {"neighbours": 40, "max_samples": 20}, "max_samples must be a whole number from 21 up"),
        (KDE, {"max_samples": 1}, "max_samples must be a whole number from 2 up"),
    ],
)
def test_options_that_make_no_sense_are_refused(cls: type, options: dict[str, int], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        cls(**options)
