"""The Mahalanobis detector, beside scikit-learn's covariance and a formula worked by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from sklearn.covariance import EmpiricalCovariance
from torch import Tensor, nn

from salus.classifier import Classifier
from salus.detectors import Mahalanobis
from salus.errors import OptionError

if TYPE_CHECKING:
    from conftest import Toy


def of_states(width: int, classes: int = 2) -> Classifier:
    """A classifier whose penultimate layer is its input."""
    return Classifier(nn.Linear(width, classes), tuple("abcdef"[:classes]), shape=(width,), name="linear")


def hidden(toy: Toy, x: Tensor, layer: str) -> Tensor:
    return toy.classifier.states(x, (layer,)).hidden[layer].detach()


@pytest.mark.parametrize("layer", ["penultimate", "logits", "2"])
def test_distances_are_scikit_learns_with_one_covariance_for_all_classes(toy: Toy, layer: str) -> None:
    detector = Mahalanobis(layers=(layer,), max_samples=10_000).fit(toy.classifier, toy.train.x, toy.train.y)
    train, test = (hidden(toy, x, layer).double() for x in (toy.train.x, toy.test.x))
    means = torch.stack([train[toy.train.y == k].mean(0) for k in range(3)])
    peer = EmpiricalCovariance(assume_centered=True).fit((train - means[toy.train.y]).numpy())
    expected = np.stack([peer.mahalanobis((test - means[k]).numpy()) for k in range(3)], axis=1)
    got = detector.distances(layer, test.float())
    torch.testing.assert_close(got.double(), torch.from_numpy(expected), rtol=1e-2, atol=1e-2)


def test_the_score_is_the_distance_to_the_nearest_mean_standardised_and_summed_over_layers(toy: Toy) -> None:
    detector = Mahalanobis(layers=("penultimate", "0")).fit(toy.classifier, toy.train.x, toy.train.y)

    def nearest(x: Tensor, layer: str) -> Tensor:
        return detector.distances(layer, hidden(toy, x, layer)).amin(1)

    total = torch.zeros(300)
    for layer in detector.layers:
        on_train = nearest(toy.train.x, layer)
        total += (nearest(toy.test.x, layer) - on_train.mean()) / on_train.std(correction=0)
    torch.testing.assert_close(detector.score(toy.test.x).detach(), total, rtol=1e-3, atol=1e-3)


def test_a_wide_layer_has_one_variance_for_all_but_its_leading_directions() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(400) % 2
    scale = torch.tensor([0.05, 0.04, *[0.01] * 18])
    x = 0.5 + 0.2 * y[:, None] + scale * torch.randn(400, 20, generator=generator)
    detector = Mahalanobis(dimensions=2).fit(of_states(20), x, y)
    assert "2 of 20 directions with a variance of their own, one variance for the others" in detector.notes_[0]
    means = torch.stack([x[y == k].double().mean(0) for k in range(2)])
    within = x.double() - means[y]
    values, vectors = torch.linalg.eigh(within.T @ within / 400)
    values[:-2] = values[:-2].mean()
    model = vectors @ values.diag() @ vectors.T  # the covariance of probabilistic PCA
    away = x[:50, None].double() - means
    expected = torch.einsum("nkd,de,nke->nk", away, model.inverse(), away)
    torch.testing.assert_close(detector.distances("penultimate", x[:50]).double(), expected, rtol=1e-3, atol=1e-2)


def test_directions_that_do_not_vary_are_left_out() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(200) % 2
    x = 0.5 + 0.1 * torch.randn(200, 6, generator=generator)
    x[:, 4] = 0.25  # a dead unit
    x[:, 5] = x[:, 0]
    detector = Mahalanobis().fit(of_states(6), x, y)
    assert "4 of 6 directions" in detector.notes_[0]
    kept = Mahalanobis().fit(of_states(5), torch.cat([x[:, :4], x[:, :1]], 1), y)
    distances = detector.distances("penultimate", x)
    assert bool(distances.isfinite().all())
    alone = kept.distances("penultimate", torch.cat([x[:, :4], x[:, :1]], 1))
    torch.testing.assert_close(distances, alone, rtol=1e-3, atol=1e-3)


def test_dimensions_that_make_no_sense_are_refused() -> None:
    with pytest.raises(OptionError, match="Mahalanobis: dimensions must be a whole number from 1 up or none, not 0"):
        Mahalanobis(dimensions=0)
