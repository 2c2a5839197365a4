"""What every detector shares: scores, a calibrated suspicion, a threshold, and how it is saved."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from salus.classifier import Classifier, States
from salus.detectors.calibration import ReferenceScores
from salus.errors import CalibrationError

D = TypeVar("D", bound="Detector")


class Detector(ABC):
    """Scores inputs (higher = more suspicious) and rejects those above a calibrated threshold.

    A raw score means different things under different predicted classes. ``suspicion`` makes them comparable:
    minus the logarithm of the score's p-value among clean reference samples of the predicted class.

    Attributes:
        reference_: the clean reference scores, after calibration.
        threshold_: the suspicion above which an input is rejected.
        false_alarm_rate_: the share of clean inputs that the calibration allows to be rejected.
    """

    name: ClassVar[str]

    def __init__(self) -> None:
        self.classifier_: Classifier | None = None
        self.reference_: ReferenceScores | None = None
        self.threshold_ = math.nan
        self.false_alarm_rate_ = math.nan

    @property
    @abstractmethod
    def layers(self) -> tuple[str, ...]:
        """The classifier's layers that the detector reads."""

    @abstractmethod
    def fit(self: D, classifier: Classifier, x: Tensor, y: Tensor) -> D:
        """Learn what clean training samples x ``[N, ...]`` with labels y ``[N]`` look like."""

    @abstractmethod
    def class_scores(self, states: States) -> Tensor:
        """Score each input under each class, ``[N, K]``, higher = more suspicious; differentiable."""

    @abstractmethod
    def describe(self) -> str:
        """Say in one sentence what was fitted."""

    @property
    def classifier(self) -> Classifier:
        """The classifier that the detector was fitted to."""
        if self.classifier_ is None:
            raise CalibrationError(f"{type(self).__name__} is not fitted yet: call fit(classifier, x, y) first.")
        return self.classifier_

    def score(self, x: Tensor) -> Tensor:
        """Score x ``[N, ...]`` under the class that the classifier predicts, ``[N]``; differentiable in x."""
        states = self.classifier.states(x, self.layers)
        return predicted(self.class_scores(states), states)

    def suspicion(self, states: States) -> Tensor:
        """Return minus log p of each input's score among clean ones of its predicted class, ``[N]``."""
        labels = states.logits.argmax(1)
        return self._reference.suspicion(predicted(self.class_scores(states), states), labels)

    def class_acceptance(self, states: States) -> Tensor:
        """Return how far inside the threshold each input would be under each class, ``[N, K]``.

        Positive = the detector would accept the input if the classifier said this class (I-defender, Eq. 5).
        """
        scores = self.class_scores(states)
        labels = torch.arange(scores.shape[1], device=scores.device).repeat(len(scores))
        return self.threshold_ - self._reference.suspicion(scores.reshape(-1), labels).reshape(scores.shape)

    def detect(self, x: Tensor) -> Tensor:
        """Tell which inputs are rejected, bool ``[N]``."""
        with torch.no_grad():
            return ~(self.suspicion(self.classifier.states(x, self.layers)) <= self.threshold_)

    def calibrate(self: D, x_clean: Tensor, false_alarm_rate: float = 0.01, *, seed: int = 0) -> D:
        """Set the threshold so that at most this share of clean inputs is rejected (conformal prediction).

        One half of ``x_clean`` turns scores into class-conditional p-values, the other sets one pooled
        threshold (Vovk et al., 2005). The promise holds for inputs exchangeable with these; neither half may
        have trained the classifier or the detector.

        Raises:
            CalibrationError: the samples are too few for the rate, or the rate is none.
        """
        rank = self.check_rate(len(x_clean), false_alarm_rate)
        pooled = len(x_clean) // 2
        scores, labels, classes = self._scores(x_clean)
        order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(seed)).to(scores.device)
        first, second = order[pooled:], order[:pooled]
        self.reference_ = ReferenceScores.fit(scores[first], labels[first], classes)
        suspicion = self.reference_.suspicion(scores[second], labels[second])
        self.threshold_ = float(suspicion.sort().values[rank - 1])
        self.false_alarm_rate_ = false_alarm_rate
        return self

    def check_rate(self, samples: int, false_alarm_rate: float) -> int:
        """Tell the rank of the threshold among half of so many calibration samples.

        Raises:
            CalibrationError: they are too few for the rate, so that the detector could never fire.
        """
        if not 0 < false_alarm_rate < 1:
            raise CalibrationError(f"A false-alarm rate lies between 0 and 1, not at {false_alarm_rate:g}.")
        pooled = samples // 2
        rank = math.ceil((pooled + 1) * (1 - false_alarm_rate) - 1e-9)
        if rank > pooled or samples - pooled < 1:
            smallest = math.ceil(1e4 / (pooled + 1)) / 1e4
            raise CalibrationError(
                f"{samples} calibration samples cannot carry a false-alarm rate of {false_alarm_rate:g}: "
                f"the detector could never fire. The smallest rate they carry is {smallest:g}; "
                f"ask for that (--false-alarm-rate {smallest:g}) or give more samples."
            )
        return rank

    def _scores(self, x: Tensor, batch_size: int = 512) -> tuple[Tensor, Tensor, int]:
        scores, labels = [], []
        with torch.no_grad():
            for part in torch.split(x, batch_size):
                states = self.classifier.states(part, self.layers)
                scores.append(predicted(self.class_scores(states), states))
                labels.append(states.logits.argmax(1))
        return torch.cat(scores), torch.cat(labels), states.logits.shape[1]

    @property
    def _reference(self) -> ReferenceScores:
        if self.reference_ is None:
            raise CalibrationError(f"{type(self).__name__} is not calibrated yet: call calibrate(x_clean) first.")
        return self.reference_

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return everything but tensors that rebuilds the detector, as plain values for JSON."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return the learnt tensors by name."""

    @classmethod
    @abstractmethod
    def restore(cls: type[D], classifier: Classifier, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> D:
        """Rebuild a detector from its settings and tensors."""


def predicted(class_scores: Tensor, states: States) -> Tensor:
    """Take each row's score under the predicted class, ``[N]``."""
    return class_scores.gather(1, states.logits.argmax(1, keepdim=True))[:, 0]
