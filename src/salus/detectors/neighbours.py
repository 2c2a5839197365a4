"""What detectors that compare a hidden state with those of clean training samples share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from salus.classifier import Classifier
from salus.data.packed import take
from salus.detectors.hidden import Layers, LayerwiseDetector, Seed, squared_distances
from salus.errors import OptionError

R = TypeVar("R", bound="ReferenceDetector")

Kept = Annotated[int, Field(ge=2, description="samples kept of each class, drawn at random")]

_ROWS = 1024


class ReferenceDetector(LayerwiseDetector):
    """Keeps a sample of each class's training states, and scores inputs by their distances to them.

    Distances are computed to all of the sample, by brute force, so time and the size of a saved guard grow with
    ``max_samples``, the classes and the layer's width. Scores are standardised on the training samples, each measured
    against the others, and several layers' scores are added up.

    Args:
        layers: named layers of the classifier: ``logits``, ``penultimate`` (input of the last layer) or
            a module's name (averaged over positions; ``NAME/flat`` keeps them).
        max_samples: samples kept of each class, drawn at random.
        seed: of the draws.
    """

    #: What the samples of each class are kept for, in a sentence on too few.
    _needs: ClassVar[str]

    def __init__(self, layers: Layers, max_samples: Kept, seed: Seed) -> None:
        super().__init__(layers, seed)
        self.max_samples = max_samples
        if max_samples < self.least:
            raise OptionError(
                f"{self.title}: max_samples must be a whole number from {self.least} up, not {max_samples!r}."
            )

    def fit(self: R, classifier: Classifier, x: Tensor, y: Tensor) -> R:
        """Keep the states of clean training samples x ``[N, ...]`` with labels y ``[N]``.

        Raises:
            CalibrationError: a class has too few samples.
            ModelError: the classifier has no such layer.
        """
        self.classifier_ = classifier
        self.notes_ = []
        rows = self.draw(y, self.max_samples, self.least, f"{self.title} needs at least {self.least}. {self._needs}")
        labels = y[rows.to(y.device)].cpu()
        rows = rows[labels.argsort(stable=True)]
        self.learnt_ = {"counts": torch.bincount(labels)}
        with torch.no_grad():
            for layer, hidden in self.hidden(take(x, rows.to(x.device))).items():
                centre = hidden.mean(0)
                self.learnt_ |= {f"{layer}|centre": centre, f"{layer}|states": hidden - centre}
                self.prepare(layer)
                self.set_scale(layer, self._of_the_kept(layer))
        return self

    @property
    @abstractmethod
    def least(self) -> int:
        """The fewest samples of a class that will do."""

    def prepare(self, layer: str) -> None:
        """Learn more from the kept states of a layer; nothing by default."""

    @abstractmethod
    def reference_scores(self, layer: str, squared: tuple[Tensor, ...]) -> Tensor:
        """Score inputs under each class ``[N, K]``, or whatever the class ``[N, 1]``.

        Args:
            layer: which layer.
            squared: for each class, the squared distances to its kept states, ``[N, n_c]``.
        """

    def layer_scores(self, layer: str, hidden: Tensor) -> Tensor:
        """Return the standardised scores of states ``[N, D]``."""
        centred = hidden - self.learnt(f"{layer}|centre", hidden)
        squared = squared_distances(centred, self.learnt(f"{layer}|states", hidden))
        return self.standardised(layer, self.reference_scores(layer, squared.split(self.counts, dim=1)))

    @property
    def counts(self) -> list[int]:
        """How many states are kept of each class."""
        counts: list[int] = self.learnt_["counts"].tolist()
        return counts

    def of_class(self, layer: str) -> tuple[Tensor, ...]:
        """Return each class's kept states, centred, ``[n_c, D]``."""
        parts: tuple[Tensor, ...] = self.learnt_[f"{layer}|states"].split(self.counts)
        return parts

    def _of_the_kept(self, layer: str) -> Tensor:
        """Score every kept state under its own class against all others, ``[M]``."""
        states, counts = self.learnt_[f"{layer}|states"], self.counts
        labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        found = []
        for rows in torch.arange(len(states)).split(_ROWS):
            squared = squared_distances(states[rows], states)
            squared[torch.arange(len(rows)), rows] = torch.inf  # no state is its own neighbour
            scores = self.reference_scores(layer, squared.split(counts, dim=1))
            found.append(scores.expand(-1, len(counts)).gather(1, labels[rows, None])[:, 0])
        return torch.cat(found)
