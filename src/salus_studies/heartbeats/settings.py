"""The settings under which the two networks might be hardened, and how they compare on data that are not the test's.

Every setting learns from the training part and is judged on the parts ``validation`` and ``calibration`` (by patients
six others of DS1), clean and under PGD of 10 steps at eps 0.01. The one with the highest mean of both macro-F1 is
chosen. The test part is never looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from salus.attacks import PGD
from salus.classifier import Classifier
from salus.data import Splits
from salus.hardening import single_step
from salus.metrics import macro_f1, per_class
from salus.training import TrainingOptions, fit_classifier
from salus_studies.frame.markdown import Record

EPS = 0.01
#: What training attacks with, a little more than what is judged.
TRAINED_EPS = 0.012

_TRAINING = TrainingOptions(
    epochs=6,
    patience=6,
    keep="last",
    weight_decay=0.01,
    prior_shift=0.5,
    averaging=0.999,
    precision="bfloat16",
    balance="none",
)
TRAINING = {"patients": _TRAINING, "beats": replace(_TRAINING, epochs=8, patience=8)}
JUDGED_ON = {"patients": "six patients of DS1 held out", "beats": "held-out beats of the same patients"}


@dataclass(frozen=True, kw_only=True)
class HardeningSetting:
    """What a network reads, how large it is, and how it is trained.

    Attributes:
        name: on the page.
        inputs: the channels that it reads.
        sizes: options of the network ``ecg-context``.
        eps: of the attack in training.
        changes: of the options of training from those of its split.
        judged: whether the page judges its model on the test part.
    """

    name: str
    inputs: tuple[str, ...]
    sizes: Mapping[str, Any] = field(default_factory=dict)
    eps: float = TRAINED_EPS
    changes: Mapping[str, Any] = field(default_factory=dict)
    judged: bool = False

    def training(self, split: str, seed: int) -> TrainingOptions:
        """Give the options of its training."""
        return replace(TRAINING[split], seed=seed, **self.changes)


_SMALL = {"widths": [16, 32, 64], "positions": 4, "hidden": 64, "dropout": 0.4}
_DIFFERENCE = ("difference", "rhythm")
_EVERYTHING = ("beat", "usual", "difference", "previous", "next", "strip", "rhythm")

SETTINGS: dict[str, tuple[HardeningSetting, ...]] = {
    "patients": (
        HardeningSetting(name="beat, rhythm", inputs=("beat", "rhythm"), sizes=_SMALL),
        HardeningSetting(name="beat, difference, rhythm", inputs=("beat", *_DIFFERENCE), sizes=_SMALL),
        HardeningSetting(name="difference, rhythm", inputs=_DIFFERENCE, sizes=_SMALL),
        HardeningSetting(
            name="difference, rhythm; prior shift 0.8",
            inputs=_DIFFERENCE,
            sizes=_SMALL,
            changes={"prior_shift": 0.8},
            judged=True,
        ),
        HardeningSetting(
            name="difference, rhythm; 2 epochs", inputs=_DIFFERENCE, sizes=_SMALL, changes={"epochs": 2, "patience": 2}
        ),
    ),
    "beats": (
        HardeningSetting(name="beat, rhythm", inputs=("beat", "rhythm")),
        HardeningSetting(name="beat, difference, rhythm", inputs=("beat", *_DIFFERENCE)),
        HardeningSetting(name="all seven", inputs=_EVERYTHING),
        HardeningSetting(
            name="all seven; eps 0.015, prior shift 0.8", inputs=_EVERYTHING, eps=0.015, changes={"prior_shift": 0.8}
        ),
        HardeningSetting(
            name="all seven; wider, 24 epochs, prior shift 0.6",
            inputs=_EVERYTHING,
            sizes={"widths": [24, 48, 96, 128]},
            changes={"epochs": 24, "patience": 24, "keep": "loss", "prior_shift": 0.6},
            judged=True,
        ),
    ),
}


def judged_setting(split: str) -> HardeningSetting:
    """Find the setting whose model the page judges."""
    return next(setting for setting in SETTINGS[split] if setting.judged)


def train(setting: HardeningSetting, split: str, splits: Splits, seed: int) -> Classifier:
    """Train under a setting."""
    classifier, _ = fit_classifier(
        "ecg-context",
        splits.train,
        splits.validation,
        setting.training(split, seed),
        model_options=dict(setting.sizes),
        recipe=single_step(setting.eps),
    )
    return classifier


def judge_held_out(classifier: Classifier, splits: Splits, seed: int) -> dict[str, Any]:
    """Count a network's answers to held-out beats, clean and attacked."""
    x = torch.cat([splits.validation.x, splits.calibration.x])
    y = torch.cat([splits.validation.y, splits.calibration.y])
    attack = PGD(eps=EPS, steps=10, schedule="madry", seed=seed)
    x_adv = torch.cat([attack(classifier.module, *part) for part in zip(x.split(1024), y.split(1024), strict=True)])
    figures: dict[str, Any] = {}
    for word, inputs in (("clean", x), ("robust", x_adv)):
        answers: Tensor = classifier.predict(inputs).argmax(1)
        figures[f"{word}_accuracy"] = float((answers == y).double().mean())
        figures[f"{word}_macro_f1"] = macro_f1(y, answers)
        rows = per_class(y, answers, splits.train.classes)
        figures["sensitivity_attacked"] = {row["class"]: row["sensitivity"] for row in rows}
    return figures


def choose(rows: Sequence[Record]) -> list[dict[str, Any]]:
    """Mark the setting with the highest mean of both macro-F1."""
    best = max(rows, key=lambda row: float(row["clean_macro_f1"]) + float(row["robust_macro_f1"]))
    return [{**row, "chosen": row is best} for row in rows]
