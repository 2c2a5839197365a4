"""Making a guard for deployment, and letting one judge a file."""

from __future__ import annotations

import csv
import io
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from salus.audit.model import Network
from salus.audit.plan import Plan
from salus.audit.subject import Subject
from salus.errors import DataError, OptionError
from salus.guard import Guard
from salus.storage import Store


@dataclass(frozen=True, eq=False)
class FittedBundle:
    """A guard as saved, and how it does on test inputs: ``n``, shares rejected and answered rightly."""

    guard: Guard
    n: int
    rejected: float
    right: float


def fit_bundle(plan: Plan, out: Path) -> FittedBundle:
    """Train or load the plan's classifier, fit its one guard and save both to a folder.

    Raises:
        SalusError: the plan, the data, the model or the folder cannot be used.
    """
    defences = plan.defences()
    if len(defences) != 1:
        raise OptionError(f"A bundle holds one guard; {len(defences)} were named. Join parts with A+B.")
    defence, store = defences[0], Store(out)
    store.check_free()
    subject = Subject.of(plan)
    splits = subject.splits
    defence.check(splits, subject.sketch(), plan.seed, trained_here=isinstance(subject.model, Network))
    with store.locked():
        store.claim({**subject.identity(), "defence": defence.spec}, plan.model_dump(mode="json"))
        guard = defence.fit(subject.classifier(out).classifier, splits, plan.seed, out / "trainings")
        guard.save(out)
        shutil.rmtree(out / "trainings", ignore_errors=True)
        for file in ("run.json", "training.json"):  # they served to go on after a kill, and are not part of the bundle
            (out / file).unlink(missing_ok=True)
    verdict = guard(splits.test.x)
    right = verdict.answers == splits.test.y
    return FittedBundle(guard, len(splits.test), float((~verdict.accepted).float().mean()), float(right.float().mean()))


def judge_file(bundle: Path, inputs: Path, *, factory: str | None = None) -> str:
    """Judge the ``x`` of an ``.npz`` file and return CSV: index, answer, accepted, probability, suspicion.

    Raises:
        BundleError: the bundle cannot be used.
        DataError: the file is none, or its x does not fit the guard.
    """
    guard = Guard.load(bundle, factory=factory)
    try:
        with np.load(inputs, allow_pickle=False) as file:
            x = torch.from_numpy(np.ascontiguousarray(file["x"], dtype=np.float32))
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{inputs} is no .npz file with an array x ({error}).") from error
    low, high = guard.bounds
    shape = tuple(guard.classifier.shape)
    if tuple(x.shape[1:]) != shape or len(x) == 0:
        raise DataError(f"{inputs}: x has shape {list(x.shape)}, the guard takes [N, {', '.join(map(str, shape))}].")
    inside = ((x >= low) & (x <= high)).flatten(1).all(1)
    if not bool(inside.all()):
        row = int((~inside).nonzero()[0])
        raise DataError(f"{inputs}: sample {row} has values outside the guard's bounds ({low:g}, {high:g}), or NaN.")
    verdict = guard(x)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["index", "answer", "accepted", "class", "probability", *verdict.scores])
    for i in range(len(x)):
        label = int(verdict.labels[i])
        name = guard.classifier.classes[label]
        accepted = bool(verdict.accepted[i])
        answer = [i, name if accepted else "rejected", str(accepted).lower(), name]
        scores = (f"{float(score[i]):.4f}" for score in verdict.scores.values())
        writer.writerow([*answer, f"{float(verdict.probabilities[i, label]):.6f}", *scores])
    return text.getvalue()
