"""Layer, components and covariance of I-defender, chosen on the likelihood of clean validation images alone.

Within a layer all candidates see the same principal components of its states, each scaled to unit variance over the
training images, so that their likelihoods are of the same numbers and comparable: the highest mean log-likelihood of
validation images under their true class is chosen. Between layers likelihoods are of different numbers, and no
comparison of them is more than a convention. The one followed here is the log-likelihood per component of the states
so scaled: it does not change when a layer's states are rotated or scaled, and is that of one Gaussian for all classes,
-(1 + log 2 pi) / 2, where the classes and their shapes tell nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from salus.classifier import Classifier
from salus.conduct.modules import evaluating
from salus.detectors import IDefender
from salus.detectors.idefender import Covariance
from salus_studies.i_defender.bench import Bench, Material, first

#: Principal components that candidates see at most: as many as IDefender keeps of its own accord.
DIMENSIONS = 32
COVARIANCES: tuple[Covariance, ...] = ("full", "diag")
_BATCH = 512


@dataclass(frozen=True)
class Layer:
    """A layer of a network, in Salus's words and in a reader's."""

    name: str
    title: str


@dataclass(frozen=True)
class StateModel:
    """An I-defender: what of a classifier it models, and how."""

    layer: Layer
    components: Any  # a number of Gaussians a class, or what chooses it
    covariance: Covariance
    dimensions: int | None
    how: str

    @property
    def key(self) -> str:
        """Name it in stored results."""
        return f"{self.layer.name} {self.how}"

    def fit(self, classifier: Classifier, material: Material, samples: int, seed: int) -> IDefender:
        """Fit it, with the paper's rule for the thresholds."""
        detector = IDefender(
            layers=(self.layer.name,),
            components=self.components,
            covariance=self.covariance,
            dimensions=self.dimensions,
            threshold="id-95",
            max_samples=samples,
            seed=seed,
        )
        return detector.fit(classifier, material.train.x, material.train.y)

    def describe(self) -> dict[str, Any]:
        """Give it as plain values."""
        return {**asdict(self), "layer": self.layer.name, "title": self.layer.title, "key": self.key}


_LOGITS = Layer("logits", "logits, the only fully connected layer")
MODEL_F = (
    _LOGITS,
    Layer("trunk.1/flat", "second convolution, flattened"),
    Layer("trunk.1", "second convolution, averaged over positions"),
    Layer("trunk.0", "first convolution, averaged over positions"),
)
WIDE_RESNET = (
    _LOGITS,
    Layer("penultimate", "input of the last layer, averaged over positions"),
    Layer("groups.1", "second group, averaged over positions"),
    Layer("stem", "first convolution, averaged over positions"),
)

#: Set beside the choice, whatever it is.
FIXED = (
    StateModel(MODEL_F[0], "bic", "full", None, "fixed"),
    StateModel(MODEL_F[1], 1, "diag", None, "fixed"),
    StateModel(MODEL_F[2], 5, "full", None, "fixed"),
    StateModel(MODEL_F[3], "bic", "full", None, "fixed"),
)


class LayerChoice:
    """The choice for one classifier.

    Args:
        bench: where the steps are stored.
        material: the data.
        classifier: whose states are modelled.
        layers: what is chosen from.
    """

    def __init__(self, bench: Bench, material: Material, classifier: Classifier, layers: Sequence[Layer]) -> None:
        self.bench, self.material, self.classifier = bench, material, classifier
        self.layers = {layer.name: layer for layer in layers}
        self._states: tuple[dict[str, Tensor], Tensor, dict[str, Tensor], Tensor] | None = None

    def within_layers(self) -> list[StateModel] | None:
        """Choose within each layer; None where the time does not allow one of them."""
        settings = []
        for layer in self.layers.values():
            done = self._layer(layer)
            if done["status"] == "done":
                best = done["best"]
                settings.append(
                    StateModel(layer, best["components"], best["covariance"], done["dimensions"], "by likelihood")
                )
        return settings if len(settings) == len(self.layers) else None

    def of_all(self, settings: Sequence[StateModel]) -> StateModel:
        """Choose between the layers."""
        records = {one["layer"]: one for one in self.bench.sections["choices"] if one["data"] == self._data}
        chosen = max(settings, key=lambda one: float(records[one.layer.name]["per_component"]))
        for one in records.values():
            one["chosen"] = one["layer"] == chosen.layer.name
        return chosen

    @property
    def _data(self) -> str:
        return self.material.splits.name

    def _layer(self, layer: Layer) -> dict[str, Any]:
        scale = self.bench.scale
        key = [
            self.classifier.fingerprint(),
            self.material.splits.train.fingerprint(),
            layer.name,
            scale.components,
            scale.choosing,
            scale.validation_images,
            self.bench.seed,
        ]

        def measure() -> dict[str, Any]:
            train, y, validation, y_validation = self._seen()
            fits = candidates(
                train[layer.name],
                y,
                validation[layer.name],
                y_validation,
                self.classifier.classes,
                scale.components,
                self.bench.seed,
            )
            return {"width": train[layer.name].shape[1], **fits}

        blank = {"data": self._data, "layer": layer.name, "title": layer.title}
        name = f"choice-{self._data}-{layer.name.replace('/', '-')}"
        return self.bench.record("choices", name, "choosing", key, measure, blank)

    def _seen(self) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor], Tensor]:
        """States of the training images that candidates are fitted to, and of the validation images."""
        if self._states is None:
            train, scale = self.material.train, self.bench.scale
            rng = torch.Generator().manual_seed(self.bench.seed)
            order = torch.randperm(len(train), generator=rng).to(train.y.device)
            rows = [order[train.y[order] == label][: scale.choosing] for label in range(len(train.classes))]
            fitted = train.subset(torch.cat(rows))
            validation = first(self.material.validation, scale.validation_images)
            names = tuple(self.layers)
            self._states = (
                hidden(self.classifier, names, fitted.x),
                fitted.y.cpu(),
                hidden(self.classifier, names, validation.x),
                validation.y.cpu(),
            )
        return self._states


@torch.no_grad()
def hidden(classifier: Classifier, layers: Sequence[str], x: Tensor) -> dict[str, Tensor]:
    """Compute the states ``[N, D]`` of layers in one pass, kept in main memory."""
    with evaluating(classifier):
        seen = [classifier.states(part, layers).hidden for part in x.split(_BATCH)]
    return {layer: torch.cat([part[layer].cpu() for part in seen]) for layer in layers}


def candidates(
    train: Tensor,
    y: Tensor,
    validation: Tensor,
    y_validation: Tensor,
    classes: Sequence[str],
    components: Sequence[int],
    seed: int,
) -> dict[str, Any]:
    """Fit every candidate to states ``[N, D]`` and compare the likelihoods of validation states ``[M, D]``.

    Returns:
        ``candidates``, each with its mean log-likelihood; the ``best`` of them; the principal components that all of
        them see, ``dimensions``; and the best's likelihood ``per_component``.
    """
    # The states themselves are the samples: a classifier that hands them on lets IDefender read them.
    states = Classifier(nn.Identity(), classes, shape=train.shape[1:], name="states")
    tried: list[Mapping[str, Any]] = []
    dimensions = 0
    for covariance in COVARIANCES:
        for count in components:
            detector = IDefender(
                layers=("logits",),
                components=count,
                covariance=covariance,
                dimensions=min(DIMENSIONS, train.shape[1]),
                max_samples=len(train),
                seed=seed,
            ).fit(states, train, y)
            dimensions = int(detector.learnt_["logits|project"].shape[1])
            with torch.no_grad():
                scores = detector.layer_scores("logits", validation)  # [M, K]
            likelihood = -float(scores.gather(1, y_validation[:, None]).double().mean())
            tried.append({"components": count, "covariance": covariance, "likelihood": likelihood})
    best = max(tried, key=lambda one: float(one["likelihood"]))
    return {
        "candidates": tried,
        "best": best,
        "dimensions": dimensions,
        "per_component": best["likelihood"] / dimensions,
    }
