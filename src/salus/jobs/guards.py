"""Making a guard for deployment."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from salus.audit.model import Network
from salus.audit.plan import Plan
from salus.audit.subject import Subject
from salus.errors import OptionError
from salus.guard import Guard
from salus.metrics import Commonest, commonest
from salus.storage import Store


@dataclass(frozen=True, eq=False)
class FittedBundle:
    """A guard as saved, and how it does on test inputs: ``n``, shares rejected and answered rightly.

    ``constant`` is what always giving the commonest answer would do there.
    """

    guard: Guard
    n: int
    rejected: float
    right: float
    constant: Commonest


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
    rejected, constant = (~verdict.accepted).float().mean(), commonest(splits.test.y, splits.test.classes)
    return FittedBundle(guard, len(splits.test), float(rejected), float(right.float().mean()), constant)
