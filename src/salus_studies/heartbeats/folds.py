"""Folds over the patients of DS1: settings are compared on people whom no network of the comparison has seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from salus.attacks import PGD
from salus.classifier import Classifier
from salus.data import Dataset, load
from salus.metrics import macro_f1, per_class
from salus_studies.heartbeats.goals import f1
from salus_studies.heartbeats.settings import EPS, HardeningSetting, train

#: Records of DS1, dealt beforehand so that each fold has S and V. Of its 415 F record 208 has 373: who is judged on
#: them has learnt from 42, so that no fold tells anything of F.
FOLDS = (
    (101, 118, 203, 215),
    (106, 209, 223, 115),
    (109, 201, 119, 230, 112),
    (108, 207, 205, 116, 122),
    (208, 114, 124, 220),
)


def all_of_ds1(inputs: tuple[str, ...], seed: int, place: dict[str, Any]) -> Dataset:
    """Load every beat of DS1, with its patient."""
    splits = load("mitdb", split="all-patients", inputs=inputs, seed=seed, **place)
    parts = (splits.train, splits.validation, splits.calibration)
    groups = torch.cat([part.groups for part in parts if part.groups is not None])
    return replace(
        splits.train, x=torch.cat([part.x for part in parts]), y=torch.cat([part.y for part in parts]), groups=groups
    )


def judge_folds(setting: HardeningSetting, seed: int, place: dict[str, Any]) -> dict[str, Any]:
    """Train without each fold, judge on it, and count the answers of all five together."""
    data = all_of_ds1(setting.inputs, seed, place)
    clean, robust = torch.zeros_like(data.y), torch.zeros_like(data.y)
    for fold in FOLDS:
        held = torch.isin(_groups(data), torch.tensor(fold))
        learning, judged = data.subset((~held).nonzero()[:, 0]), data.subset(held.nonzero()[:, 0])
        # Nothing is chosen by validation (keep=last); a few of the beats learnt from stand there.
        few = torch.from_numpy(np.random.default_rng(seed).permutation(len(learning))[:500])
        classifier = train(setting, learning, learning.subset(few), seed)
        clean[held], robust[held] = answers(classifier, judged, seed)
    robust = torch.where(clean == data.y, robust, clean)
    figures: dict[str, Any] = {}
    for word, given in (("clean", clean), ("robust", robust)):
        rows = per_class(data.y, given, data.classes)
        figures[f"{word}_accuracy"] = float((given == data.y).double().mean())
        figures[f"{word}_macro_f1"] = macro_f1(data.y, given)
        figures[f"{word}_f1"] = {row["class"]: f1(row) for row in rows}
        figures["sensitivity_attacked"] = {row["class"]: row["sensitivity"] for row in rows}
    return figures


def answers(classifier: Classifier, data: Dataset, seed: int) -> tuple[Tensor, Tensor]:
    """Ask for beats as they are and under PGD of 10 steps ``[N]``, ``[N]``."""
    attack = PGD(eps=EPS, steps=10, schedule="madry", seed=seed)
    parts = zip(data.x.split(1024), data.y.split(1024), strict=True)
    attacked = torch.cat([attack(classifier.module, *part) for part in parts])
    return classifier.predict(data.x).argmax(1), classifier.predict(attacked).argmax(1)


def _groups(data: Dataset) -> Tensor:
    if data.groups is None:
        raise ValueError("the beats of DS1 come with their patients")
    return data.groups
