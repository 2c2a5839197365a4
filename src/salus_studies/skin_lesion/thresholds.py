"""The question "malignant or not" at a threshold, and the attacker who wants exactly that answer changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from salus.attacks import PGD, SideObjective
from salus.classifier import Classifier
from salus.data import Dataset
from salus.metrics import proportion

#: Shares of malignant validation images that a threshold may miss.
MISSED = (0.05, 0.1, 0.15, 0.2, 0.3)


def log_odds(classifier: Classifier, x: Tensor, positive: Sequence[int]) -> Tensor:
    """Compute the log-odds of disease, ``logsumexp`` of its classes' logits less that of the others, ``[N]``."""
    logits = classifier.predict(x).double()
    ill = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device)
    ill[list(positive)] = True
    return logits[:, ill].logsumexp(1) - logits[:, ~ill].logsumexp(1)


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
    """Miss rates clean and attacked, at thresholds chosen on validation images.

    The attacker knows the threshold, and it changes nothing: of malignant images the log-odds of disease are driven
    down as far as they go, of others up, and what crosses a threshold has fallen there. So one attack without early
    stop, from several starts, serves every threshold. Attacked are all malignant images and as many others.

    Returns:
        ``rows``: of each threshold ``threshold`` (a probability), ``allowed`` (the share missed that it was chosen
        for), and ``fnr``, ``fnr_attacked``, ``specificity``, ``specificity_attacked``, each with ``_low`` and
        ``_high``; ``auc``, the area under the clean images' curve; ``n``, how many images were attacked.
    """
    positive = [test.classes.index(name) for name in positive_names]
    on_validation = log_odds(classifier, validation.x, positive)
    everything = log_odds(classifier, test.x, positive)
    rows = _attacked_rows(test, positive, seed)
    data = test.subset(rows)
    ill, clean = _ill(data, positive), everything[rows]
    sign = torch.where(ill, 1.0, -1.0).to(clean)  # how the attacker counts: low is what is wanted
    worst = sign * clean
    attack = PGD(eps=eps, steps=steps, early_stop=False, seed=seed)
    for start in range(restarts):
        x_adv = replace(attack, seed=seed + start)(SideObjective(classifier, positive), data.x, data.y)
        worst = torch.minimum(worst, sign * log_odds(classifier, x_adv, positive))
    attacked, ill_everywhere = sign * worst, _ill(test, positive)
    found = []
    for allowed in MISSED:
        threshold = on_validation[_ill(validation, positive)].quantile(allowed)
        row: dict[str, Any] = {"allowed": allowed, "threshold": float(threshold.sigmoid())}
        for name, hits, of, groups in (
            ("fnr", everything < threshold, ill_everywhere, test.groups),
            ("fnr_attacked", attacked < threshold, ill, data.groups),
            ("specificity", everything < threshold, ~ill_everywhere, test.groups),
            ("specificity_attacked", attacked < threshold, ~ill, data.groups),
        ):
            row |= proportion(hits, of, groups).named(name)
        found.append(row)
    facts = {"eps": eps, "steps": steps, "restarts": restarts, "n": len(data), "ill": int(ill.sum())}
    return {"rows": found, "auc": area(everything, ill_everywhere), **facts}


def area(scores: Tensor, ill: Tensor) -> float | None:
    """Compute the area under the curve of scores ``[N]`` for ``ill [N]``; None where there is one kind alone."""
    from sklearn.metrics import roc_auc_score

    if bool(ill.all()) or not bool(ill.any()):
        return None
    return float(roc_auc_score(ill.cpu().numpy(), scores.cpu().numpy()))


def _attacked_rows(data: Dataset, positive: Sequence[int], seed: int) -> Tensor:
    """Choose all images of disease, and as many of the others."""
    ill = _ill(data, positive)
    others = (~ill).nonzero()[:, 0]
    order = torch.randperm(len(others), generator=torch.Generator().manual_seed(seed)).to(others.device)
    return torch.cat([ill.nonzero()[:, 0], others[order[: int(ill.sum())]]]).sort().values


def _ill(data: Dataset, positive: Sequence[int]) -> Tensor:
    return torch.isin(data.y, torch.tensor(list(positive), device=data.y.device))
