"""A detector that reads the classifier's hidden states: which layers, which training samples, and their states."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from salus.batches import rows_at_once
from salus.classifier import States
from salus.detectors.fitted import FittedDetector
from salus.errors import CalibrationError

#: Options that detectors of hidden states share.
Layers = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    Field(min_length=1, description="hidden layers that are read"),
]
Seed = Annotated[int, Field(ge=0, description="decides every random draw")]

_BATCH = 512


class HiddenStateDetector(FittedDetector):
    """Reads the states of named layers.

    Args:
        layers: names; see :meth:`salus.classifier.Classifier.states`.
        seed: of every random draw.
    """

    def __init__(self, layers: Layers, seed: Seed) -> None:
        super().__init__()
        self._layers = layers
        self.seed = seed

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers whose states are read."""
        return self._layers

    def draw(self, y: Tensor, most: int, least: int, needs: str) -> Tensor:
        """Draw up to ``most`` samples of each class; return their positions, rising.

        Args:
            y: labels ``[N]``.
            most: samples of a class.
            least: the fewest that will do.
            needs: what needs them, and what else would help, for the error message.

        Raises:
            CalibrationError: a class has fewer than ``least``.
        """
        generator = torch.Generator().manual_seed(self.seed)
        y = y.cpu()
        rows = []
        for label, name in enumerate(self.classifier.classes):
            own = (y == label).nonzero()[:, 0]
            if len(own) < least:
                raise CalibrationError(f"{self.title}: class {name!r} has {len(own)} training samples; {needs}")
            rows.append(own[torch.randperm(len(own), generator=generator)[:most]])
        return torch.cat(rows).sort().values

    @torch.no_grad()
    def hidden(self, x: Tensor) -> dict[str, Tensor]:
        """Compute the states ``[N, D]`` of each layer, batch by batch, and keep them in main memory."""
        parts: dict[str, list[Tensor]] = {layer: [] for layer in self._layers}
        for batch in torch.split(x, rows_at_once(x, _BATCH)):
            states = self.classifier.states(batch, self._layers)
            for layer in self._layers:
                parts[layer].append(states.hidden[layer].cpu())
        return {layer: torch.cat(batches) for layer, batches in parts.items()}


class LayerwiseDetector(HiddenStateDetector):
    """Scores each layer by itself; the scores of several layers add up."""

    @abstractmethod
    def layer_scores(self, layer: str, hidden: Tensor) -> Tensor:
        """Score the states ``[N, D]`` of one layer under each class ``[N, K]``, or whatever the class ``[N, 1]``."""

    def class_scores(self, states: States) -> Tensor:
        """Return the sum of the layers' scores under each class, ``[N, K]``; differentiable."""
        first, *others = (self.layer_scores(layer, states.hidden[layer]) for layer in self._layers)
        return sum(others, first).expand(-1, states.logits.shape[1])

    def set_scale(self, layer: str, scores: Tensor) -> None:
        """Keep the mean and the deviation of clean training samples' scores ``[N]`` of a layer."""
        scores = scores.double()
        deviation = scores.std(correction=0).clamp_min(1e-12)
        self.learnt_[f"{layer}|scale"] = torch.stack([scores.mean(), deviation]).float()

    def standardised(self, layer: str, scores: Tensor) -> Tensor:
        """Bring a layer's scores to mean 0 and deviation 1 on clean training samples: no layer drowns another."""
        mean, deviation = self.learnt(f"{layer}|scale", scores).unbind()
        return (scores - mean) / deviation


def squared_distances(points: Tensor, centres: Tensor) -> Tensor:
    """Return squared Euclidean distances of points ``[N, D]`` to centres ``[M, D]``, ``[N, M]``.

    Through one matrix product, forwards and backwards; ``torch.cdist`` takes its gradient without one. Both should lie
    around the origin, for the digits' sake.
    """
    products = torch.addmm(centres.square().sum(1), points, centres.T, alpha=-2)
    return (products + points.square().sum(1, keepdim=True)).clamp_min(0)
