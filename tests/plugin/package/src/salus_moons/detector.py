"""A detector of somebody else's."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.classifier import Classifier, States
from salus.detectors.fitted import FittedDetector
from salus.options import checked


class CentreDistance(FittedDetector):
    """Measures how far an input lies from the mean of its class.

    Args:
        power: of the distance.
    """

    name: ClassVar[str] = "centre-distance"
    title: ClassVar[str] = "Centre distance"

    @checked
    def __init__(
        self, *, power: Annotated[float, Field(gt=0, description="to which the distance is raised")] = 2.0
    ) -> None:
        super().__init__()
        self.power = power

    @property
    def layers(self) -> tuple[str, ...]:
        return ()

    def fit(self, classifier: Classifier, x: Tensor, y: Tensor) -> CentreDistance:
        self.classifier_ = classifier
        classes = range(len(classifier.classes))
        self.learnt_ = {"centres": torch.stack([x[y == label].flatten(1).mean(0) for label in classes])}
        return self

    def class_scores(self, states: States) -> Tensor:
        return torch.cdist(states.x.flatten(1), self.learnt("centres", states.x)).pow(self.power)

    def describe(self) -> str:
        return f"Distance to the mean of the predicted class, to the power {self.power:g}; {self.rule}"
