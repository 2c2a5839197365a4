"""The settings under which the two networks might be hardened, and how they compare on data that are not the test's.

By beats, every setting learns from the training part and is judged on the parts ``validation`` and ``calibration``; by
patients it is judged on five folds of DS1's patients in turn (see ``folds``). Each is judged clean and under PGD of 10
steps at eps 0.01. By beats the one with the highest mean of both macro-F1 is chosen, by patients likewise over N, S and
V. The test part is never looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from salus.attacks import PGD
from salus.classifier import Classifier
from salus.data import Dataset, Splits
from salus.errors import OptionError
from salus.hardening import distillation, madry, noise_to_signal, single_step, trades
from salus.metrics import macro_f1, per_class
from salus.training import GaussianNoise, RandomGains, Recipe, TrainingOptions, fit_classifier
from salus_studies.frame.markdown import Record
from salus_studies.heartbeats.measured import mean_f1

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
TRAINING = {
    "patients": replace(
        _TRAINING, epochs=3, patience=3, learning_rate=5e-3, averaging=0.99, precision="float32", prior_shift=0.2
    ),
    "beats": replace(_TRAINING, epochs=8, patience=8),
}
JUDGED_ON = {
    "patients": "five folds of DS1's patients, each judged by a network that has not seen them",
    "beats": "held-out beats of the same patients",
}
#: How the beats of a split are dealt: by patients all of DS1 teaches.
DEALT = {"patients": "all-patients", "beats": "beats"}


#: How a network is hardened; not all of them stand among the settings below, see ``rivals``.
Method = Literal[
    "single-step", "noise-to-signal", "ordinary", "madry", "trades", "adversarial-distillation", "smoothing"
]
#: Steps of the attack in training where there are several, and the noise of smoothing: twice what is judged.
STEPS, SIGMA = 5, 2 * EPS
#: Sizes of the network that teaches another of ``ecg-hierarchical``: twice the usual.
TEACHER = {"widths": [32, 48, 64], "hidden": 96}


@dataclass(frozen=True, kw_only=True)
class HardeningSetting:
    """What a network reads, how large it is, and how it is trained.

    Attributes:
        name: on the page.
        inputs: the channels that it reads.
        network: which learns.
        sizes: options of the network.
        gains: whether waves are stretched, turned over and left out at random in training.
        method: of hardening; ``ordinary`` for none.
        eps: of the attack in training.
        changes: of the options of training from those of its split.
        judged: whether the page judges its model on the test part.
    """

    name: str
    inputs: tuple[str, ...]
    network: str = "ecg-context"
    sizes: Mapping[str, Any] = field(default_factory=dict)
    gains: bool = False
    method: Method = "single-step"
    eps: float = TRAINED_EPS
    changes: Mapping[str, Any] = field(default_factory=dict)
    judged: bool = False

    def training(self, split: str, seed: int) -> TrainingOptions:
        """Give the options of its training."""
        return replace(TRAINING[split], seed=seed, **self.changes)


_DIFFERENCE = ("difference", "rhythm")
_EVERYTHING = ("beat", "usual", "difference", "previous", "next", "strip", "rhythm")
_TWO_LEADS = ("departure", "second-departure", "timing")


def _staged(name: str, inputs: tuple[str, ...] = _TWO_LEADS, **more: Any) -> HardeningSetting:
    return HardeningSetting(name=name, inputs=inputs, network="ecg-hierarchical", **{"gains": True, **more})


SETTINGS: dict[str, tuple[HardeningSetting, ...]] = {
    "patients": (
        _staged("two stages, one lead", ("departure", "timing")),
        _staged("two stages, two leads"),
        _staged("as 2, prior shift 0", changes={"prior_shift": 0.0}),
        _staged("as 2, prior shift 0.5", changes={"prior_shift": 0.5}, judged=True),
        _staged("as 2, waves as they are in training", gains=False),
        _staged("as 2, eps 0.02", eps=0.02),
        _staged("as 2, noise-to-signal ratio 0.4 (Ma and Liang, 2022)", method="noise-to-signal", eps=EPS),
        _staged("as 2, not hardened", method="ordinary"),
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


def recipe(setting: HardeningSetting, teacher: Classifier | None = None) -> Recipe | None:
    """Say what each step of a setting's training lowers; a teacher goes with distillation alone."""
    gains = RandomGains() if setting.gains else None
    if setting.method == "ordinary":
        return gains
    if setting.method == "smoothing":
        return GaussianNoise(std=SIGMA, first=gains)
    if setting.method == "single-step":
        return single_step(setting.eps, augmentation=gains)
    if setting.method == "noise-to-signal":
        return noise_to_signal(setting.eps, augmentation=gains)
    if setting.method == "madry":
        return madry(setting.eps, steps=STEPS, augmentation=gains)
    if setting.method == "trades":
        return trades(setting.eps, steps=STEPS, augmentation=gains)
    if teacher is None:
        raise OptionError(f"Setting {setting.name!r} learns from a teacher, and there is none.")
    return distillation(setting.eps, teacher, steps=STEPS, augmentation=gains)


def train(
    setting: HardeningSetting, learning: Dataset, validation: Dataset, seed: int, split: str = "patients"
) -> Classifier:
    """Train under a setting; where it learns from a teacher, a network of twice its widths is hardened first."""
    teacher = None
    if setting.method == "adversarial-distillation":
        wider = replace(setting, method="single-step", sizes=TEACHER)
        teacher = train(wider, learning, validation, seed, split)
    classifier, _ = fit_classifier(
        setting.network,
        learning,
        validation,
        setting.training(split, seed),
        model_options=dict(setting.sizes),
        recipe=recipe(setting, teacher),
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
    """Mark the setting with the highest sum of both mean F1; see :func:`~salus_studies.heartbeats.measured.mean_f1`."""
    best = max(rows, key=lambda row: mean_f1(row, "clean") + mean_f1(row, "robust"))
    return [{**row, "chosen": row is best} for row in rows]
