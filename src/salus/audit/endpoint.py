"""An endpoint where an audit has a classifier and a guard: asked for answers, and for nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from salus.atomic import write_json
from salus.classifier import Classifier, refuse_chance
from salus.client.endpoint import Endpoint, connect, fit_to
from salus.client.options import EndpointOptions
from salus.data import Dataset
from salus.errors import ModelError
from salus.guard import Guard
from salus.verdict import Verdict, View

#: Samples from which on chance can be told from skill.
_FEW = 30


class EndpointClassifier(Classifier):
    """The classifier behind an endpoint.

    Called it gives log-probabilities ``[N, K]``, or, of a guard that may reject, labels int64 ``[N]``, which
    decision-based attacks alone take.

    Args:
        endpoint: where it is.
        shape: of one sample.
        bounds: lowest and highest value of it.
    """

    def __init__(self, endpoint: Endpoint, *, shape: Sequence[int], bounds: tuple[float, float]) -> None:
        super().__init__(nn.Identity(), endpoint.classes, shape=shape, bounds=bounds, name=endpoint.url)
        self.endpoint = endpoint

    def forward(self, x: Tensor) -> Tensor:
        """Ask about x ``[N, ...]``."""
        return self.endpoint(x)

    def predict(self, x: Tensor, batch_size: int = 512) -> Tensor:
        """Ask about x ``[N, ...]``, as many at a time as the endpoint takes."""
        return self.endpoint(x)

    def answers(self, x: Tensor) -> Tensor:
        """Ask for the final answers, int64 ``[N]``, -1 where the endpoint rejects."""
        return torch.from_numpy(self.endpoint.ask(x).labels).to(x.device)

    def fingerprint(self) -> str:
        """Return what tells the endpoint's model from others."""
        return self.endpoint.fingerprint()

    def save(self, folder: Path) -> None:
        """Write what the endpoint says of itself; its weights nobody has."""
        write_json(folder / "endpoint.json", self.endpoint.facts())


class EndpointGuard(Guard):
    """A guard, or a classifier that stands alone, behind an endpoint.

    Args:
        classifier: the classifier behind the endpoint.
    """

    classifier: EndpointClassifier

    def __init__(self, classifier: EndpointClassifier) -> None:
        card = classifier.endpoint.card
        super().__init__(classifier, name="none" if card.bare else card.name)
        self.endpoint = classifier.endpoint

    @property
    def bare(self) -> bool:
        """Whether it is a classifier that stands alone, as far as the endpoint says."""
        return self.endpoint.card.bare

    @property
    def rejects(self) -> bool:
        """Whether it may reject inputs."""
        return self.endpoint.card.rejects

    @property
    def local(self) -> bool:
        """No: it judges elsewhere."""
        return False

    @property
    def false_alarm_rate(self) -> float:
        """The share of clean inputs that may be rejected, as the endpoint says; 0 where it does not."""
        return self.endpoint.card.false_alarm_rate or 0.0

    def __call__(self, x: Tensor, *, batch_size: int = 512) -> Verdict:
        """Ask about x ``[N, ...]``; what is withheld of a rejected input is -1 or 0."""
        answers = self.endpoint.ask(x)
        labels = torch.from_numpy(answers.labels).to(x.device)
        probabilities = torch.from_numpy(answers.scores).to(x.device).exp().nan_to_num(0.0)
        return Verdict(labels, probabilities, labels >= 0, {}, {}, {})

    def view(self, x: Tensor) -> View:
        """Refuse: nobody sees inside.

        Raises:
            ModelError: always.
        """
        raise ModelError(f"{self.endpoint.url} gives answers alone; nobody sees inside.")

    def describe(self) -> dict[str, Any]:
        """Say what the endpoint says of it, as plain values for JSON."""
        card = self.endpoint.card
        parts = [f"detectors {', '.join(card.detectors)}"] if card.detectors else []
        parts += [f"purifier {card.purifier}"] if card.purifier else []
        known = "; ".join(parts) or "of unknown parts"
        return {
            **super().describe(),
            "text": f"served at {self.endpoint.url}: {known}",
            "purifier": card.purifier,
        }

    def refuse_chance(self, data: Dataset) -> None:
        """Refuse an endpoint that guesses these samples, before anybody attacks it.

        Raises:
            ModelError: it is no better than chance, as when the samples are prepared otherwise than its own were.
        """
        answers = self.classifier.answers(data.x).cpu()
        y, accepted = data.y.cpu(), answers >= 0
        if not bool(accepted.any()):
            raise ModelError(
                f"{self.endpoint.url} rejects all {len(y)} samples unattacked; are they prepared as its own were?"
            )
        if int(accepted.sum()) >= _FEW:
            refuse_chance(self.classifier.name, answers[accepted], y[accepted], len(data.classes))


@dataclass(frozen=True)
class EndpointModel:
    """A model behind HTTP.

    Attributes:
        url: of the model.
    """

    url: str

    def classes(self, options: EndpointOptions, named: tuple[str, ...]) -> tuple[str, ...]:
        """Ask what its classes are; ``named`` are those that it need not say.

        Raises:
            SalusError: it cannot be reached, or does not say.
        """
        return connect(self.url, options, classes=named).classes

    def read(self, test: Dataset, options: EndpointOptions) -> EndpointClassifier:
        """Reach it, and check that it takes these samples, whose classes are its own.

        Raises:
            SalusError: it cannot be reached or used, or the data do not fit it.
        """
        endpoint = connect(self.url, options, classes=test.classes)
        shape = tuple(test.x.shape[1:])
        fit_to(endpoint, shape, test.bounds, repr(test.provenance.name))
        return EndpointClassifier(endpoint, shape=shape, bounds=test.bounds)
