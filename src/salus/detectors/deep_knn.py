"""Deep k-nearest neighbours: how far the nearest training states of the predicted class are."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.detectors.hidden import Layers, Seed
from salus.detectors.neighbours import Kept, ReferenceDetector
from salus.options import checked


class DeepKNN(ReferenceDetector):
    """Rejects an input whose hidden state is far from the training states of the class that the classifier predicts.

    The score under a class is the distance to the k-th nearest kept state of that class. Papernot and McDaniel (2018)
    count, over all layers, the nearest neighbours of other classes; the distance asks the same question, has a
    gradient, and does not tie.

    Args:
        layers: named layers of the classifier: ``logits``, ``penultimate`` (input of the last layer) or
            a module's name (averaged over positions; ``NAME/flat`` keeps them). Their standardised scores are added up.
        neighbours: k, which neighbour's distance counts.
        max_samples: samples kept of each class, drawn at random.
        seed: of the draws.
    """

    name: ClassVar[str] = "deep-knn"
    title: ClassVar[str] = "Deep k-NN"
    _needs: ClassVar[str] = "Give more, or fewer neighbours."

    @checked
    def __init__(
        self,
        *,
        layers: Layers = ("penultimate",),
        neighbours: Annotated[int, Field(ge=1, description="which neighbour's distance counts")] = 5,
        max_samples: Kept = 500,
        seed: Seed = 0,
    ) -> None:
        self.neighbours = neighbours
        super().__init__(layers, max_samples, seed)

    @property
    def least(self) -> int:
        """One more than k: a kept state is measured against the others."""
        return self.neighbours + 1

    def reference_scores(self, layer: str, squared: tuple[Tensor, ...]) -> Tensor:
        """Return the distance to the k-th nearest state of each class, ``[N, K]``."""
        kth = [each.topk(self.neighbours, largest=False, sorted=False).values.amax(1) for each in squared]
        return torch.stack(kth, dim=1).clamp_min(torch.finfo(torch.float32).tiny).sqrt()

    def describe(self) -> str:
        """Say what was fitted, for reports."""
        return (
            f"Distance to the neighbour number {self.neighbours} of the predicted class, of at most "
            f"{self.max_samples} kept, on {', '.join(self.layers)}; {self.rule}"
        )
