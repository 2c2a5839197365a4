"""The Mahalanobis detector: distance from the nearest class's mean in the hidden states (Lee et al., NeurIPS 2018)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.classifier import Classifier
from salus.data.packed import take
from salus.detectors.hidden import Layers, LayerwiseDetector, Seed, squared_distances
from salus.options import checked

_ALL_UP_TO = 512
_MAX_DIMENSIONS = 64
_SAMPLES_PER_DIMENSION = 5
#: Directions that hold less than this share of the variance are left out: float32 could not tell them from rounding.
_NEGLIGIBLE = 1e-5


class Mahalanobis(LayerwiseDetector):
    """Rejects an input whose hidden state lies far from the mean of every class.

    The score of a layer is ``min_c (h - mu_c)^T Sigma^-1 (h - mu_c)``: class means and one covariance for all
    classes, fitted to clean training samples (Eq. 1 and 2). It does not depend on the predicted class. Lee et al.
    weigh several layers by a logistic regression on attacked samples, and shift inputs by a gradient step; here the
    layers' scores, standardised on the training samples, are added up, so that no attack need be known.

    A layer too wide for its covariance to be known is modelled as its leading principal directions within classes
    and one variance for all others (Tipping and Bishop, 1999).

    Args:
        layers: named layers of the classifier: ``logits``, ``penultimate`` (input of the last layer) or
            a module's name (averaged over positions, as in the paper; ``NAME/flat`` keeps them).
        dimensions: principal directions of each layer that have a variance of their own. By default all of a layer of
            up to 512 values and 64 of a wider one, and no more than a fifth of the samples.
        max_samples: samples of each class used to fit, drawn at random beyond that.
        seed: of the draws.
    """

    name: ClassVar[str] = "mahalanobis"
    title: ClassVar[str] = "Mahalanobis"

    @checked
    def __init__(
        self,
        *,
        layers: Layers = ("penultimate",),
        dimensions: Annotated[
            Annotated[int, Field(ge=1)] | None,
            Field(description="directions of each layer that have a variance of their own"),
        ] = None,
        max_samples: Annotated[int, Field(ge=1, description="samples of each class that are fitted to")] = 2000,
        seed: Seed = 0,
    ) -> None:
        super().__init__(layers, seed)
        self.dimensions = dimensions
        self.max_samples = max_samples

    def fit(self, classifier: Classifier, x: Tensor, y: Tensor) -> Mahalanobis:
        """Fit means and covariances to clean training samples x ``[N, ...]`` with labels y ``[N]``.

        Raises:
            CalibrationError: a class has fewer than two samples.
            ModelError: the classifier has no such layer.
        """
        self.classifier_ = classifier
        self.notes_ = []
        rows = self.draw(y, self.max_samples, 2, "the covariance needs at least 2. Give more.")
        labels = y[rows.to(y.device)].cpu()
        with torch.no_grad():
            for layer, hidden in self.hidden(take(x, rows.to(x.device))).items():
                self._fit_layer(layer, hidden, labels)
                self.set_scale(layer, self.distances(layer, hidden).amin(1))
        return self

    def distances(self, layer: str, hidden: Tensor) -> Tensor:
        """Return the squared Mahalanobis distance of states ``[N, D]`` of a layer to each class's mean, ``[N, K]``."""
        mean, whiten, variance, means, rests, precision = (
            self.learnt(f"{layer}|{name}", hidden)
            for name in ("mean", "whiten", "variance", "means", "rests", "precision")
        )
        centred = hidden - mean
        coordinates = centred @ whiten  # [N, d], unit variance within classes
        inside = squared_distances(coordinates, means)  # [N, K]
        # By Pythagoras; a class mean's own rest is orthogonal to the principal directions already.
        length = centred.square().sum(1) - coordinates.square() @ variance  # [N]
        outside = torch.addmm(rests.square().sum(1), centred, rests.T, alpha=-2) + length[:, None]
        return inside + outside.clamp_min(0) * precision

    def layer_scores(self, layer: str, hidden: Tensor) -> Tensor:
        """Return the standardised distance to the nearest mean, ``[N, 1]``."""
        return self.standardised(layer, self.distances(layer, hidden).amin(1, keepdim=True))

    def _fit_layer(self, layer: str, hidden: Tensor, y: Tensor) -> None:
        from sklearn.decomposition import PCA

        h = hidden.double()  # [N, D]
        n, width = h.shape
        means = torch.stack([h[y == label].mean(0) for label in range(int(y.max()) + 1)])  # [K, D]
        within = h - means[y]
        limit = width if width <= _ALL_UP_TO else _MAX_DIMENSIONS
        count = min(width, n, self.dimensions or min(limit, max(1, n // _SAMPLES_PER_DIMENSION)))
        pca = PCA(count, random_state=self.seed).fit(within.numpy())
        variance = torch.from_numpy(pca.explained_variance_).double() * (n - 1) / n
        live = variance > 1e-9 * variance[0].clamp_min(1e-30)
        live[0] = True
        variance, directions = variance[live].clamp_min(1e-30), torch.from_numpy(pca.components_).double()[live]
        others, total = width - len(variance), within.square().sum() / n
        left = total - variance.sum()  # the variance in all other directions
        precision = others / left if others and left > _NEGLIGIBLE * total else torch.zeros_like(left)
        whiten = directions.T / variance.sqrt()  # [D, d]
        centred = means - h.mean(0)
        learnt = {
            "mean": h.mean(0),
            "whiten": whiten,
            "variance": variance,
            "means": centred @ whiten,
            "rests": centred - centred @ directions.T @ directions,
            "precision": precision,
        }
        # Laid out as they are saved: a guard that was loaded computes the same to the last digit.
        self.learnt_ |= {f"{layer}|{name}": value.float().contiguous() for name, value in learnt.items()}
        note = f"{layer}: {len(variance)} of {width} directions with a variance of their own"
        self.notes_.append(f"{note}, one variance for the others" if precision else note)

    def describe(self) -> str:
        """Say what was fitted, for reports."""
        return f"Mahalanobis distance on {', '.join(self.layers)}; {'; '.join(self.notes_)}; {self.rule}"
