"""Deep k-nearest neighbours: how far the nearest training states of the predicted class are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from salus.detectors.neighbours import ReferenceDetector


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

    def __init__(
        self,
        *,
        layers: Sequence[str] | str = ("penultimate",),
        neighbours: int = 5,
        max_samples: int = 500,
        seed: int = 0,
    ) -> None:
        super().__init__(layers, max_samples, seed)
        self.neighbours = neighbours
        self.check_whole(1, neighbours=neighbours)
        self.check_whole(self.least, max_samples=max_samples)

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
