"""The question "malignant or not" at a threshold, and the attacker who wants exactly that answer changed."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any

import torch
from torch import Tensor, nn

from salus.attacks import PGD
from salus.classifier import Classifier
from salus.data import Dataset
from salus.metrics import proportion

#: Shares of malignant validation images that a threshold may miss.
MISSED = (0.05, 0.1, 0.15, 0.2, 0.3)


class PositiveOrNot(nn.Module):
    """Two logits, negative and positive: positive wins where its classes' probability is at least the threshold.

    Args:
        classifier: gives logits ``[N, K]``.
        positive: indices of the classes that mean disease.
        threshold: probability, above 0 and below 1.
    """

    def __init__(self, classifier: nn.Module, positive: Sequence[int], threshold: float) -> None:
        super().__init__()
        self.classifier = classifier
        self.positive = list(positive)
        self.shift = log(threshold / (1 - threshold))

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``[N, 2]``."""
        logits = self.classifier(x)
        ill = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device)
        ill[self.positive] = True
        sides = logits[:, ~ill].logsumexp(1) + self.shift, logits[:, ill].logsumexp(1)
        return torch.stack(sides, 1)


def probability(classifier: Classifier, data: Dataset, positive: Sequence[int]) -> Tensor:
    """Compute the probability of disease ``[N]``."""
    return classifier.predict(data.x).softmax(1)[:, list(positive)].sum(1)


def under_thresholds(
    classifier: Classifier,
    validation: Dataset,
    test: Dataset,
    positive_names: Sequence[str],
    *,
    eps: float,
    steps: int,
    restarts: int,
    seed: int,
) -> dict[str, Any]:
    """Miss rates clean and attacked, at the threshold of the plain answer and at some chosen on validation images.

    The attacker knows the threshold and attacks the two-class question itself: of malignant images to have them
    missed, of others to have them called malignant.

    Returns:
        ``rows``: of each threshold ``threshold``, ``allowed`` (the share missed that it was chosen for), and
        ``fnr``, ``fnr_attacked``, ``specificity``, ``specificity_attacked``, each with ``_low`` and ``_high``.
    """
    positive = [test.classes.index(name) for name in positive_names]
    on_validation = probability(classifier, validation, positive)
    ill_held = _ill(validation, positive)
    ill = _ill(test, positive)
    clean = probability(classifier, test, positive)
    attack = PGD(eps=eps, steps=steps, schedule="madry", restarts=restarts, seed=seed)
    rows = []
    for allowed in MISSED:
        threshold = min(max(float(on_validation[ill_held].quantile(allowed)), 1e-6), 1 - 1e-6)
        question = PositiveOrNot(classifier, positive, threshold)
        x_adv = attack(question, test.x, ill.long())
        attacked = Classifier(question, ("negative", "positive"), shape=classifier.shape).predict(x_adv).argmax(1) == 1
        called = clean >= threshold
        # A point that fell on its own stays fallen: an attacker may leave an input as it is.
        missed, alarmed = ~called | ~attacked, called | attacked
        row: dict[str, Any] = {"allowed": allowed, "threshold": threshold}
        for name, hits, of in (
            ("fnr", ~called, ill),
            ("fnr_attacked", missed, ill),
            ("specificity", ~called, ~ill),
            ("specificity_attacked", ~alarmed, ~ill),
        ):
            row |= proportion(hits, of, test.groups).named(name)
        rows.append(row)
    return {"rows": rows, "eps": eps, "steps": steps, "restarts": restarts, "n": len(test), "ill": int(ill.sum())}


def _ill(data: Dataset, positive: Sequence[int]) -> Tensor:
    return torch.isin(data.y, torch.tensor(list(positive), device=data.y.device))
