"""The protocol ``as-published``: each training judged on its own attack, in the papers' units and in true ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from salus.classifier import Classifier
from salus.data import Dataset
from salus.hardening.ecg_atk_gan import ECGATKGAN
from salus.metrics import (
    confusion,
    macro_f1,
    paper_accuracy,
    paper_auc,
    per_class,
    proportion,
    score_auc,
    similarities,
    ssim,
)
from salus_studies.ecg_atk_gan.trainings import TrainedColumn


def judge(trained: TrainedColumn, test: Dataset, shown: Tensor) -> dict[str, Any]:
    """Count answers to what is shown of the test beats ``[N, C, L]``: the beats, or their attacked copies."""
    logits = trained.classifier.predict(shown)
    labels, right = logits.argmax(1), logits.argmax(1) == test.y
    changed = (shown != test.x).flatten(1).any(1)
    attacked = bool(changed.any())

    def among(rows: Tensor) -> float | None:
        return float(right[rows].double().mean()) if attacked and bool(rows.any()) else None

    areas = score_auc(test.y, logits.softmax(1), test.classes, test.groups)
    return {
        "n": len(test),
        "paper_accuracy": paper_accuracy(test.y, labels, len(test.classes)),
        "paper_auc": paper_auc(test.y, labels, test.classes),
        **proportion(right, groups=test.groups).named("accuracy"),
        "macro_f1": macro_f1(test.y, labels),
        "per_class": per_class(test.y, labels, test.classes, test.groups),
        "score_auc": {name: [rate.value, rate.low, rate.high] for name, rate in areas.items()},
        "confusion": confusion(test.y, labels, test.classes),
        "unchanged": float((~changed).double().mean()) if attacked else None,
        "accuracy_on_changed": among(changed),
        "accuracy_on_unchanged": among(~changed),
    }


def brief(classifier: Classifier, test: Dataset, shown: Tensor) -> dict[str, Any]:
    """Count answers to attacked copies of test beats ``[N, C, L]`` in the papers' unit and in the true one."""
    labels = classifier.predict(shown).argmax(1)
    return {
        "paper_accuracy": paper_accuracy(test.y, labels, len(test.classes)),
        "accuracy": float((labels == test.y).double().mean()),
        "unchanged": float((shown == test.x).flatten(1).all(1).double().mean()),
    }


def resemblance(gan: ECGATKGAN, test: Dataset, shown: Tensor, *, seed: int) -> dict[str, Any]:
    """Compare generated beats with what the generator was given, and with the clean beats (Table 3)."""
    synthetic = gan.synthesize(shown, test.y, seed=seed)

    def means(other: Tensor) -> dict[str, float]:
        figures = {name: float(values.nanmean()) for name, values in similarities(other, synthetic).items()}
        return {**figures, "ssim_range_2": float(ssim(other, synthetic, data_range=2.0).mean())}

    return {"n": len(test), "input": means(shown), "clean": means(test.x)}


def examples(gan: ECGATKGAN, test: Dataset, shown: Tensor) -> dict[str, Tensor]:
    """Choose the first test beat of each class, with its attacked copy and what is generated of that, ``[K, L]``."""
    rows = torch.tensor([int((test.y == label).nonzero()[0, 0]) for label in range(len(test.classes))])
    generated = gan.synthesize(shown[rows], test.y[rows])
    return {"clean": test.x[rows, 0], "attacked": shown[rows, 0], "generated": generated[:, 0]}
