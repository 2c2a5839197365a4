"""I-defender's verdicts on clean and attacked images, and what they come to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from salus.classifier import Classifier
from salus.conduct.modules import evaluating
from salus.detectors.base import Detector, predicted
from salus.metrics import auc, proportion, roc

#: Minus log of the share of natural training images of a class that scores above the paper's thresholds.
THRESHOLDS = {"id-95": -math.log(0.05), "id-99": -math.log(0.01)}
_BATCH = 512


@dataclass(frozen=True, eq=False)
class Seen:
    """What a classifier and its detectors said of N images.

    Attributes:
        labels: int64 ``[N]``, the classifier's.
        scores: detector -> ``[N]``, higher = more suspicious.
    """

    labels: Tensor
    scores: Mapping[str, Tensor]


@torch.no_grad()
def look(classifier: Classifier, detectors: Mapping[str, Detector], x: Tensor) -> Seen:
    """Score images ``[N, ...]`` by I-defenders, all in one pass.

    The score is the suspicion among the natural training images of the predicted class, so that a sweep of one
    threshold keeps the same share of every class, as the paper's ID-95 and ID-99 do.
    """
    layers = tuple(dict.fromkeys(layer for detector in detectors.values() for layer in detector.layers))
    labels, scores = [], []
    with evaluating(classifier):
        for part in x.split(_BATCH):
            states = classifier.states(part, layers)
            labels.append(states.logits.argmax(1))
            scores.append({name: detector.suspicion(states) for name, detector in detectors.items()})
    joined = {name: torch.cat([one[name] for one in scores]).cpu() for name in detectors}
    return Seen(torch.cat(labels).cpu(), joined)


@torch.no_grad()
def raw_scores(classifier: Classifier, detector: Detector, x: Tensor) -> Tensor:
    """Score images by a detector that has a decision of its own, above 0, ``[N]``."""
    with evaluating(classifier):
        parts = [classifier.states(part, detector.layers) for part in x.split(_BATCH)]
        return torch.cat([predicted(detector.class_scores(states), states) for states in parts]).cpu()


def fooled(clean: Tensor, attacked: Tensor, y: Tensor) -> Tensor:
    """Tell whose clean image is answered right and whose attacked image is not, bool ``[N]``."""
    return (clean == y.cpu()) & (attacked != y.cpu())


def answers(clean: Tensor, attacked: Tensor, y: Tensor) -> dict[str, Any]:
    """Count right answers ``[N]`` before and after an attack, and who was fooled."""
    y = y.cpu()
    return {
        "n": len(y),
        "fooled": int(fooled(clean, attacked, y).sum()),
        **proportion((clean == y).numpy()).named("clean_accuracy"),
        **proportion((attacked == y).numpy()).named("adversarial_accuracy"),
    }


def areas(clean: Tensor, attacked: Tensor, fooling: Tensor) -> dict[str, float | None]:
    """Areas under the ROC curve over all attacked images and over those that fooled ``[N]``."""
    return {
        **auc(clean.numpy(), attacked.numpy()).named("auc"),
        **auc(clean.numpy(), attacked[fooling].numpy()).named("auc_fooled"),
    }


def curve(clean: Tensor, attacked: Tensor) -> dict[str, list[float]] | None:
    """Draw the ROC curve over all attacked images."""
    return roc(clean.numpy(), attacked.numpy())


def at_threshold(clean: Tensor, attacked: Tensor, fooling: Tensor, threshold: float) -> dict[str, float | None]:
    """Count at a threshold: false alarms, attacked images caught, and the mean of accepted clean and caught attacked.

    That mean is the accuracy of detection on as many clean as attacked images.
    """
    alarms = float((clean > threshold).double().mean())
    caught = float((attacked > threshold).double().mean())
    of_fooled = float((attacked[fooling] > threshold).double().mean()) if bool(fooling.any()) else None
    return {
        "false_alarms": alarms,
        "caught": caught,
        "caught_fooled": of_fooled,
        "accuracy": (1 - alarms + caught) / 2,
        "accuracy_fooled": None if of_fooled is None else (1 - alarms + of_fooled) / 2,
    }
