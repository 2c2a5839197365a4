"""One training of a sweep: what a task does, and what it leaves in its folder."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from salus.atomic import write_json, write_tensors
from salus.attacks import Attack
from salus.audit.model import Network
from salus.audit.networks import train_once
from salus.audit.plan import Plan
from salus.batches import in_batches
from salus.classifier import Classifier
from salus.data import Dataset, Splits
from salus.engines.folders import Files, filled
from salus.hardening.base import WORKING, HardeningTask, Method
from salus.jobs.harden import HARDENING, attack_facts, finished_hardening, hardening_facts, trained_into
from salus.metrics import proportion
from salus.storage import Store, find_device
from salus.training import TrainingOptions

#: Which samples were answered rightly.
HITS = "judged.safetensors"

#: Samples that are judged side by side.
_BATCH = 1024


@dataclass(frozen=True, eq=False)
class Parts:
    """The data that trainings of a sweep see: neither the test part nor the calibration part.

    Attributes:
        train: the training part.
        validation: decides when a training stops, and judges where there are no folds.
        fold: of each training sample, int64 ``[N]``; None where there are no folds.
        folds: how many there are.
    """

    train: Dataset
    validation: Dataset
    fold: Tensor | None = None
    folds: int | None = None

    def judged(self, fold: int | None) -> Dataset:
        """Give the samples that judge: a fold, or the validation part."""
        if fold is None or self.fold is None:
            return self.validation
        return self.train.subset((self.fold == fold).nonzero()[:, 0])

    def splits(self, fold: int | None) -> Splits:
        """Give a training its parts; the samples that judge stand where others have the test's and calibration's."""
        judged, train = self.judged(fold), self.train
        if fold is not None and self.fold is not None:
            train = train.subset((self.fold != fold).nonzero()[:, 0])
        return Splits(train, self.validation, judged, judged)

    def words(self, fold: int | None) -> str:
        """Name the samples that judge."""
        return "the validation part" if fold is None else f"fold {fold + 1} of {self.folds} of the training part"


@dataclass(frozen=True, eq=False)
class Training:
    """What a task is to train, all of it read and checked by the owner.

    Attributes:
        spec: the setting as the command line takes it.
        method: the same, read.
        task: what the method is told, but for the plain classifier.
        plan: of the data, for the record.
        data: what is told of the data.
        identity: what decides all that comes of it.
        seed: of the training, where one was named.
        fold: that is kept from it.
        judge: the attack.
    """

    spec: str
    method: Method
    task: HardeningTask
    plan: Plan
    data: Mapping[str, Any]
    identity: Mapping[str, Any]
    seed: int | None
    fold: int | None
    judge: Attack


def train_member(
    folder: Path | None, training: Training, parts: Parts, victim: Classifier | None
) -> tuple[None, Files]:
    """Train and judge, as a task of an engine; see :func:`salus.engines.folders.filled`.

    Args:
        folder: where results go.
        training: what is trained.
        parts: on what.
        victim: the plain classifier that attacked copies are computed on; None for methods without.
    """
    return filled(folder, lambda place: _train(place, training, parts, victim))


def train_plain(
    folder: Path | None, network: Network, training: TrainingOptions, device: str, parts: Parts, fold: int | None
) -> tuple[None, Files]:
    """Train a plain classifier, on which attacked copies are computed, as a task of an engine.

    Args:
        folder: where it is kept.
        network: which.
        training: how.
        device: where.
        parts: on what.
        fold: that is kept from it.
    """

    def fill(place: Path) -> None:
        splits = parts.splits(fold)
        train_once(network.name, network.options, splits, training, device, place, "plain classifier")

    return filled(folder, fill)


@dataclass(frozen=True, eq=False)
class FinishedTraining:
    """A finished training.

    Attributes:
        facts: what its ``hardening.json`` holds.
        clean: which samples it answers rightly, bool ``[N]``.
        robust: which of them under attack too, bool ``[N]``.
    """

    facts: dict[str, Any]
    clean: Tensor
    robust: Tensor


def finished_member(folder: Path, identity: Mapping[str, Any]) -> FinishedTraining | None:
    """Read what a finished training left; None where it is not finished, damaged, or of something else."""
    finished = finished_hardening(folder)
    if finished is None:
        return None
    try:
        hits = load_tensors((folder / HITS).read_bytes())
        clean, robust = hits["clean"].bool(), hits["robust"].bool()
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))["identity"]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None
    if record != json.loads(json.dumps(identity, default=str)) or finished[1]["judged"]["n"] != len(clean):
        return None
    return FinishedTraining(finished[1], clean, robust)


def _train(folder: Path, training: Training, parts: Parts, victim: Classifier | None) -> None:
    device, judge = find_device(training.plan.device), training.judge
    store, began = Store(folder, "hardening"), time.monotonic()
    with store.locked():
        store.claim(training.identity, training.plan.model_dump(mode="json"))
        if finished_member(folder, training.identity) is None:
            task = replace(training.task, victim=victim)
            classifier, outcome = trained_into(folder, training.method, parts.splits(training.fold), task)
            told = {"method": training.method.name, "options": training.method.settings()}
            recipe = {"spec": training.spec, "command": "", **told, "attack": attack_facts(task.attack)}
            facts = hardening_facts(classifier, training.plan, training.data, recipe, outcome)
            data = parts.judged(training.fold)
            clean, robust = _judge(classifier.to(device), data, judge)
            write_tensors(folder / HITS, {"clean": clean.to(torch.uint8), "robust": robust.to(torch.uint8)})
            figures = {
                **proportion(clean, groups=data.groups).named("clean_accuracy"),
                **proportion(robust, groups=data.groups).named("robust_accuracy"),
            }
            on = {"on": parts.words(training.fold), "attack": attack_facts(judge), "n": len(data)}
            facts["judged"] = {**on, **figures, "training_seed": training.seed, "fold": training.fold}
            facts["seconds"] = round(time.monotonic() - began, 1)
            write_json(folder / HARDENING, facts)
        shutil.rmtree(folder / WORKING, ignore_errors=True)


def _judge(classifier: Classifier, data: Dataset, attack: Attack) -> tuple[Tensor, Tensor]:
    """Attack samples, and return which are answered rightly clean, and which attacked too, bool ``[N]`` each."""
    y = data.y.cpu()
    clean = classifier.predict(data.x).argmax(1).cpu() == y
    device = classifier.device
    pairs = zip(in_batches(data.x, _BATCH), in_batches(data.y, _BATCH), strict=True)
    batches = ((x.to(device), labels.to(device)) for x, labels in pairs)
    results = attack.stream(classifier, batches)
    answers = torch.cat([classifier.predict(result.x_adv).argmax(1).cpu() for result in results])
    return clean, clean & (answers == y)
