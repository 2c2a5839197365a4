"""What every detector shares: scores, a calibrated suspicion, a threshold, and how it is saved."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from salus.batches import rows_at_once
from salus.classifier import Classifier, States
from salus.detectors.calibration import ReferenceScores
from salus.errors import CalibrationError

D = TypeVar("D", bound="Detector")

#: The share of clean inputs that detectors may reject where nobody says, and enough samples carry it.
DEFAULT_FALSE_ALARM_RATE = 0.01


class Detector(ABC):
    """Scores inputs (higher = more suspicious) and rejects those above a calibrated threshold.

    A raw score means different things under different predicted classes. ``suspicion`` makes them comparable:
    minus the logarithm of the score's p-value among clean reference samples of the predicted class.

    Attributes:
        reference_: the clean reference scores, after calibration.
        threshold_: the suspicion above which an input is rejected.
        false_alarm_rate_: the share of clean inputs that the calibration allows to be rejected.
        trainings: where ``fit`` keeps networks that it trains, so that a stopped one goes on and equal ones train once.
        twins: how many detectors of the same name stand before it in its guard, which tells it; those that draw at
            random draw apart.
    """

    name: ClassVar[str]
    #: Its class scores are minus the logarithms of densities, one fitted to each class, as I-defender's Eq. 6 has them.
    likelihoods: ClassVar[bool] = False
    #: What it is among the mitigations of MITRE ATLAS.
    mitigations: ClassVar[tuple[str, ...]] = ("AML.M0015",)
    #: The hardening that trains what it reads of the classifier, where ordinary training does not.
    hardening: ClassVar[str | None] = None

    def __init__(self) -> None:
        self.classifier_: Classifier | None = None
        self.reference_: ReferenceScores | None = None
        self.threshold_ = math.nan
        self.false_alarm_rate_ = math.nan
        self.trainings: Path | None = None
        self.twins = 0

    @property
    @abstractmethod
    def layers(self) -> tuple[str, ...]:
        """The classifier's layers that the detector reads."""

    def check_classifier(self, classifier: Classifier) -> None:
        """Refuse a classifier that it cannot be fitted to, trained or not; any will do by default.

        Raises:
            ModelError: naming what is missing.
        """
        return

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
        return self._accepted(self.class_scores(states))

    def for_attackers(self, states: States) -> tuple[Tensor, Tensor]:
        """Return what an attacker who knows the detector works on; differentiable.

        Returns:
            ``class_acceptance``, and what to lower so that it rises, both ``[N, K]``: the class scores, or a stand-in
            where those have no gradient that leads anywhere.
        """
        scores = self.class_scores(states)
        return self._accepted(scores), scores

    def _accepted(self, scores: Tensor) -> Tensor:
        labels = torch.arange(scores.shape[1], device=scores.device).repeat(len(scores))
        return self.threshold_ - self._reference.suspicion(scores.reshape(-1), labels).reshape(scores.shape)

    @property
    def random(self) -> bool:
        """Whether its verdict is drawn."""
        return False

    def acceptance_probability(self, states: States) -> Tensor:
        """Return the probability over the detector's own draws that each input is accepted, float64 ``[N]``.

        0 or 1 where nothing is drawn.
        """
        with torch.no_grad():
            return (self.suspicion(states) <= self.threshold_).double()

    def detect(self, x: Tensor) -> Tensor:
        """Tell which inputs are rejected, bool ``[N]``."""
        with torch.no_grad():
            return ~(self.suspicion(self.classifier.states(x, self.layers)) <= self.threshold_)

    def calibrate(self: D, x_clean: Tensor, false_alarm_rate: float | None = None, *, seed: int = 0) -> D:
        """Set the threshold so that at most this share of clean inputs is rejected; see :func:`calibrate_together`."""
        calibrate_together([self], x_clean, false_alarm_rate, seed=seed)
        return self

    @property
    def own_rule(self) -> bool:
        """Whether a paper's own rule has set the threshold when the detector was fitted."""
        return False

    def check_rate(self, samples: int, false_alarm_rate: float) -> int:
        """Tell the rank of the threshold among half of so many calibration samples; 0 where a paper's rule sets it.

        Raises:
            CalibrationError: they are too few for the rate, so that the detector could never fire.
        """
        if self.own_rule:
            return 0
        if not 0 < false_alarm_rate < 1:
            raise CalibrationError(f"A false-alarm rate lies between 0 and 1, not at {false_alarm_rate:g}.")
        pooled = samples // 2
        rank = math.ceil((pooled + 1) * (1 - false_alarm_rate) - 1e-9)
        if rank > pooled or samples - pooled < 1:
            smallest = smallest_rate(samples)
            raise CalibrationError(
                f"{samples} calibration samples cannot carry a false-alarm rate of {false_alarm_rate:g}: "
                f"the detector could never fire. The smallest rate they carry is {smallest:g}; "
                f"ask for that (--false-alarm-rate {smallest:g}) or give more samples."
            )
        return rank

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


def smallest_rate(samples: int) -> float:
    """Return the smallest false-alarm rate that so many calibration samples carry, rounded up to four digits."""
    return math.ceil(1e4 / (samples // 2 + 1)) / 1e4


def default_rate(detectors: Sequence[Detector], samples: int) -> float:
    """Return the false-alarm rate where nobody asked for one: the default, or the smallest that the samples carry."""
    if all(detector.own_rule for detector in detectors):
        return DEFAULT_FALSE_ALARM_RATE
    smallest = smallest_rate(samples)
    return max(DEFAULT_FALSE_ALARM_RATE, smallest) if smallest < 1 else DEFAULT_FALSE_ALARM_RATE


def calibrate_together(
    detectors: Sequence[Detector],
    x_clean: Tensor,
    false_alarm_rate: float | None = None,
    *,
    seed: int = 0,
    batch_size: int = 512,
) -> None:
    """Set one threshold so that at most this share of clean inputs is rejected by any (conformal prediction).

    One half of ``x_clean`` turns each detector's scores into class-conditional p-values; the largest suspicion of
    all detectors on the other half sets their common threshold (Vovk et al., 2005). The promise holds for inputs
    exchangeable with these; neither half may have trained the classifier or a detector. Detectors that a paper's
    own rule has calibrated keep it, and their false alarms come on top.

    Args:
        detectors: fitted to one classifier.
        x_clean: clean inputs ``[N, ...]``.
        false_alarm_rate: of all of them together, between 0 and 1; None for that of :func:`default_rate`.
        seed: deals the inputs to the halves.
        batch_size: inputs at a time.

    Raises:
        CalibrationError: the samples are too few for the rate, or the rate is none.
    """
    free = [detector for detector in detectors if not detector.own_rule]
    if not free:
        return
    if false_alarm_rate is None:
        false_alarm_rate = default_rate(free, len(x_clean))
    rank = max(detector.check_rate(len(x_clean), false_alarm_rate) for detector in free)
    order = torch.randperm(len(x_clean), generator=torch.Generator().manual_seed(seed)).to(x_clean.device)
    second, first = order.split([len(x_clean) // 2, len(x_clean) - len(x_clean) // 2])
    layers = tuple(dict.fromkeys(layer for detector in free for layer in detector.layers))
    classifier, size = free[0].classifier, rows_at_once(x_clean, batch_size)
    with torch.no_grad():
        columns: list[list[Tensor]] = [[] for _ in free]
        labels = []
        for rows in first.split(size):
            states = classifier.states(x_clean[rows], layers)
            labels.append(states.logits.argmax(1))
            for scores, detector in zip(columns, free, strict=True):
                scores.append(predicted(detector.class_scores(states), states))
        for scores, detector in zip(columns, free, strict=True):
            detector.reference_ = ReferenceScores.fit(torch.cat(scores), torch.cat(labels), states.logits.shape[1])
        worst = []
        for rows in second.split(size):
            states = classifier.states(x_clean[rows], layers)
            worst.append(torch.stack([detector.suspicion(states) for detector in free]).amax(0))
    for detector in free:
        detector.threshold_ = float(torch.cat(worst).sort().values[rank - 1])
        detector.false_alarm_rate_ = false_alarm_rate


def predicted(class_scores: Tensor, states: States) -> Tensor:
    """Take each row's score under the predicted class, ``[N]``."""
    return class_scores.gather(1, states.logits.argmax(1, keepdim=True))[:, 0]
