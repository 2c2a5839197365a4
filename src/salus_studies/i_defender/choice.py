"""Layer, components and covariance of I-defender, by rules that see clean images alone.

Three readings of a paper that names none of them:

- **likelihood**, fixed before any attack was run. Within a layer all candidates see the same principal components of
  its states, each scaled to unit variance over the training images, so that their likelihoods are of the same numbers:
  the highest mean log-likelihood of validation images under their true class is chosen. Between layers likelihoods are
  of different numbers, and no comparison of them is more than a convention. The one followed is the log-likelihood per
  component of the states so scaled: it does not change when a layer's states are rotated or scaled, and is that of one
  Gaussian for all classes, -(1 + log 2 pi) / 2, where the classes and their shapes tell nothing.
- **blends**, added after the likelihood's results were seen. Means of two validation images are no natural images; the
  candidate whose score tells them best from validation images is chosen, within layers and between them.
- **joint**: one mixture a class over the components of all layers side by side; the Gaussians and their covariance by
  likelihood. There is no layer to choose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from salus.classifier import Classifier
from salus.conduct.modules import evaluating
from salus.detectors import IDefender
from salus.detectors.idefender import Covariance
from salus_studies.i_defender.bench import Bench, Material, first
from salus_studies.i_defender.layers import JOINT, Layer

#: Principal components that candidates see of a layer at most: as many as IDefender keeps of its own accord.
DIMENSIONS = 32
COVARIANCES: tuple[Covariance, ...] = ("full", "diag")
LIKELIHOOD, BLENDS = "likelihood", "blends"
RULES = (LIKELIHOOD, BLENDS, JOINT)
_BATCH = 512


@dataclass(frozen=True)
class StateModel:
    """An I-defender: what of a classifier it models, and how."""

    layer: Layer
    components: Any  # a number of Gaussians a class, or what chooses it
    covariance: Covariance
    dimensions: int | None  # of each layer
    how: str

    @property
    def key(self) -> str:
        """Name it in stored results."""
        return f"{self.layer.name} {self.how}"

    def fit(self, classifier: Classifier, material: Material, samples: int, seed: int) -> IDefender:
        """Fit it, with the paper's rule for the thresholds."""
        return self.detector(samples, seed).fit(classifier, material.train.x, material.train.y)

    def detector(self, samples: int, seed: int) -> IDefender:
        """Build it, not yet fitted."""
        return IDefender(
            layers=self.layer.names,
            components=self.components,
            covariance=self.covariance,
            dimensions=self.dimensions,
            joint=len(self.layer.names) > 1,
            threshold="id-95",
            max_samples=samples,
            seed=seed,
        )

    def describe(self) -> dict[str, Any]:
        """Give it as plain values."""
        return {**asdict(self), "layer": self.layer.name, "title": self.layer.title, "key": self.key}


@dataclass(frozen=True, eq=False)
class Readings:
    """What the rules came to for one classifier.

    Attributes:
        chosen: rule -> the I-defender that it chooses.
        rows: every layer's, by each rule, the chosen ones among them.
    """

    chosen: Mapping[str, StateModel]
    rows: Sequence[StateModel]

    @property
    def keys(self) -> dict[str, str]:
        """Name the chosen ones in stored results, by rule."""
        return {rule: one.key for rule, one in self.chosen.items()}


class LayerChoice:
    """The choice for one classifier.

    Args:
        bench: where the steps are stored.
        material: the data.
        classifier: whose states are modelled.
        layers: what is chosen from, the joint one among them.
        network: names the classifier in results.
    """

    def __init__(
        self, bench: Bench, material: Material, classifier: Classifier, layers: Sequence[Layer], network: str
    ) -> None:
        self.bench, self.material, self.classifier, self.network = bench, material, classifier, network
        self.layers = layers
        self._states: _Seen | None = None

    def readings(self) -> Readings | None:
        """Choose by every rule; None where the time does not allow it."""
        records = [self._layer(layer) for layer in self.layers]
        if any(one["status"] != "done" for one in records):
            return None
        pairs = list(zip(self.layers, records, strict=True))
        single = [(layer, one) for layer, one in pairs if layer.name != JOINT]
        by_likelihood = max(single, key=lambda pair: float(pair[1]["per_component"]))
        by_blends = max(single, key=lambda pair: float(pair[1]["best_by_blends"]["blends"]))
        for layer, one in pairs:
            one["chosen"] = [
                rule
                for rule, (winner, _) in ((LIKELIHOOD, by_likelihood), (BLENDS, by_blends))
                if winner.name == layer.name
            ] + [JOINT] * (layer.name == JOINT)
        rows = [_model(layer, one["best"], one, LIKELIHOOD) for layer, one in pairs]
        rows += [_model(layer, one["best_by_blends"], one, BLENDS) for layer, one in single]
        found = {row.key: row for row in rows}
        chosen = {
            LIKELIHOOD: found[f"{by_likelihood[0].name} by {LIKELIHOOD}"],
            BLENDS: found[f"{by_blends[0].name} by {BLENDS}"],
            JOINT: found[f"{JOINT} by {LIKELIHOOD}"],
        }
        return Readings(chosen, rows)

    def _layer(self, layer: Layer) -> dict[str, Any]:
        scale, data = self.bench.scale, self.material.splits.name
        key = [
            self.classifier.fingerprint(),
            self.material.splits.train.fingerprint(),
            layer.names,
            scale.components,
            scale.choosing,
            scale.validation_images,
            self.bench.seed,
        ]

        def measure() -> dict[str, Any]:
            seen = self._seen()
            fits = candidates(seen.of(layer.names), self.classifier.classes, scale.components, self.bench.seed)
            return {"width": sum(seen.train[name].shape[1] for name in layer.names), **fits}

        blank = {"data": data, "network": self.network, "layer": layer.name, "title": layer.title}
        name = f"choice-{data}-{self.network}-{layer.name.replace('/', '-')}"
        return self.bench.record("choices", name, "choosing", key, measure, blank)

    def _seen(self) -> _Seen:
        """States of the training images that candidates are fitted to, of validation images, and of their blends."""
        if self._states is None:
            train, scale, seed = self.material.train, self.bench.scale, self.bench.seed
            order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed)).to(train.y.device)
            rows = [order[train.y[order] == label][: scale.choosing] for label in range(len(train.classes))]
            fitted, validation = train.subset(torch.cat(rows)), first(self.material.validation, scale.validation_images)
            names = tuple(dict.fromkeys(name for layer in self.layers for name in layer.names))
            mixed = blends(validation.x, seed)
            self._states = _Seen(
                hidden(self.classifier, names, fitted.x),
                fitted.y.cpu(),
                hidden(self.classifier, names, validation.x),
                validation.y.cpu(),
                hidden(self.classifier, names, mixed),
                *(self.classifier.predict(x).argmax(1).cpu() for x in (validation.x, mixed)),
            )
        return self._states


def _model(layer: Layer, best: Mapping[str, Any], record: Mapping[str, Any], rule: str) -> StateModel:
    dimensions = DIMENSIONS if len(layer.names) > 1 else int(record["dimensions"])
    return StateModel(layer, best["components"], best["covariance"], dimensions, f"by {rule}")


@dataclass(frozen=True, eq=False)
class Clean:
    """What candidates are fitted to and judged on: states ``[N, D]`` of one layer, or of several.

    Attributes:
        train: of training images, each layer's.
        y: their labels ``[N]``.
        validation: of validation images.
        y_validation: their labels ``[M]``.
        blends: of blends of two validation images.
        labels: the classifier's answers to the validation images ``[M]``.
        labels_of_blends: to the blends ``[M]``.
    """

    train: Sequence[Tensor]
    y: Tensor
    validation: Sequence[Tensor]
    y_validation: Tensor
    blends: Sequence[Tensor]
    labels: Tensor
    labels_of_blends: Tensor


@dataclass(frozen=True, eq=False)
class _Seen:
    train: Mapping[str, Tensor]
    y: Tensor
    validation: Mapping[str, Tensor]
    y_validation: Tensor
    blends: Mapping[str, Tensor]
    labels: Tensor
    labels_of_blends: Tensor

    def of(self, names: Sequence[str]) -> Clean:
        """Take some layers."""
        train, validation, mixed = ([of[name] for name in names] for of in (self.train, self.validation, self.blends))
        return Clean(train, self.y, validation, self.y_validation, mixed, self.labels, self.labels_of_blends)


def blends(x: Tensor, seed: int) -> Tensor:
    """Blend each of N samples with another, half and half; which others is drawn."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).to(x.device)
    other = torch.empty_like(order)
    other[order] = order.roll(1)
    return (x + x[other]) / 2


@torch.no_grad()
def hidden(classifier: Classifier, layers: Sequence[str], x: Tensor) -> dict[str, Tensor]:
    """Compute the states ``[N, D]`` of layers in one pass, kept in main memory."""
    with evaluating(classifier):
        seen = [classifier.states(part, layers).hidden for part in x.split(_BATCH)]
    return {layer: torch.cat([part[layer].cpu() for part in seen]) for layer in layers}


@torch.no_grad()
def candidates(clean: Clean, classes: Sequence[str], components: Sequence[int], seed: int) -> dict[str, Any]:
    """Fit every candidate to states, and compare them on states of validation images and of blends.

    Returns:
        ``candidates``, each with its mean log-likelihood and the AUC by which it tells blends; the ``best`` by
        likelihood and the ``best_by_blends``; the principal components that all of them see, ``dimensions``; and the
        best's likelihood ``per_component``.
    """
    from sklearn.metrics import roc_auc_score

    # The states themselves are the samples: a network that hands them on, layer by layer, lets IDefender read them.
    widths = [part.shape[1] for part in clean.train]
    carrier = Classifier(_SideBySide(widths, len(classes)), classes, shape=(sum(widths),))
    names = tuple(f"parts.{i}" for i in range(len(clean.train)))
    train, validation, mixed = (torch.cat(list(parts), 1) for parts in (clean.train, clean.validation, clean.blends))
    tried: list[dict[str, Any]] = []
    dimensions = 0
    for covariance in COVARIANCES:
        for count in components:
            detector = IDefender(
                layers=names,
                components=count,
                covariance=covariance,
                dimensions=DIMENSIONS,
                joint=len(names) > 1,
                threshold="id-95",
                max_samples=len(train),
                seed=seed,
            ).fit(carrier, train, clean.y)
            dimensions = sum(int(detector.learnt_[f"{name}|project"].shape[1]) for name in names)
            scores, odd = (detector.class_scores(carrier.states(x, names)) for x in (validation, mixed))  # [M, K]
            likelihood = -float(scores.gather(1, clean.y_validation[:, None]).double().mean())
            natural, mixture = (
                _suspicion(detector, *of) for of in ((scores, clean.labels), (odd, clean.labels_of_blends))
            )
            told = roc_auc_score([0] * len(natural) + [1] * len(mixture), torch.cat([natural, mixture]).numpy())
            tried.append(
                {"components": count, "covariance": covariance, "likelihood": likelihood, "blends": float(told)}
            )
    best = max(tried, key=lambda one: float(one["likelihood"]))
    return {
        "candidates": tried,
        "best": best,
        "best_by_blends": max(tried, key=lambda one: float(one["blends"])),
        "dimensions": dimensions,
        "per_component": best["likelihood"] / dimensions,
    }


def _suspicion(detector: IDefender, scores: Tensor, labels: Tensor) -> Tensor:
    """Return the suspicion of class scores ``[M, K]`` under labels ``[M]``, as images are judged."""
    if detector.reference_ is None:
        raise ValueError("the paper's rule sets the reference when it is fitted")
    return detector.reference_.suspicion(scores.gather(1, labels[:, None])[:, 0], labels)


class _Slice(nn.Module):
    def __init__(self, start: int, end: int) -> None:
        super().__init__()
        self.start, self.end = start, end

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.start : self.end]


class _SideBySide(nn.Module):
    """Shows each layer's states ``[N, D]`` of states that stand side by side; it answers nothing."""

    def __init__(self, widths: Sequence[int], classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.parts = nn.ModuleList(_Slice(*ends) for ends in pairwise(accumulate(widths, initial=0)))

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            part(x)
        return x.new_zeros(len(x), self.classes)
