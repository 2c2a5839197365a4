"""Giving a model or a guard that was saved without a preprocessor the one of its training data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from salus.audit.model import stored_checksum, stored_fingerprint
from salus.audit.plan import Plan
from salus.audit.subject import load_splits
from salus.classifier import check_classifier
from salus.data import Splits
from salus.errors import BundleError, OptionError
from salus.guard import Guard
from salus.jobs.judging import open_guard
from salus.metrics import commonest
from salus.preprocessing import Preprocessor

#: How many times the rate that it promises a guard may reject of what are to be its own calibration samples.
_SLACK = 1.5


@dataclass(frozen=True)
class Attached:
    """A preprocessor that was attached, and how its data were checked, in words."""

    preprocessor: Preprocessor
    check: str


def attach_preprocessor(folder: Path, plan: Plan, *, factory: str | None = None) -> Attached:
    """Fit a preprocessor to the training data of a model or guard, and save it with that.

    Args:
        folder: of the guard, the audit, the hardening or the model.
        plan: the data as they were loaded for training, seed and all.
        factory: ``package.module:function``, for a model of one's own.

    Raises:
        BundleError: the folder holds nothing, has a preprocessor, or was not made from these data.
        OptionError: the plan names a model.
    """
    if plan.model is not None:
        raise OptionError("The model is the folder's; name the data alone (--data), as they were loaded for training.")
    guard = open_guard(folder, factory)
    if guard.preprocessor is not None:
        raise BundleError(
            f"{folder} has a preprocessor ({guard.preprocessor.describe()}); make the guard anew to have another."
        )
    splits = load_splits(plan)
    check = _check(folder, guard, splits)
    preprocessor = splits.test.preprocessor
    if preprocessor is None:
        raise BundleError(
            f"How the samples of {splits.name!r} were made is not known, so that there is none to attach."
        )
    guard.classifier.preprocessor = preprocessor
    if (folder / "guard.json").exists():
        guard.save(folder)
    else:
        guard.classifier.save(folder)
    return Attached(preprocessor, check)


def _check(folder: Path, guard: Guard, splits: Splits) -> str:
    """Check that the data are those that the model and its guard were made from; say how.

    Raises:
        BundleError: they are not, or nothing tells.
    """
    classifier, test = guard.classifier, splits.test
    for what, own, theirs in (
        ("classes", classifier.classes, test.classes),
        ("bounds", classifier.bounds, test.bounds),
        ("shape of a sample", classifier.shape, tuple(test.x.shape[1:])),
    ):
        if own != theirs:
            raise BundleError(f"{folder} was not made from these data: its {what} are {own}, theirs {theirs}.")
    stored = stored_fingerprint(folder)
    if stored is not None:
        if stored != test.fingerprint():
            raise BundleError(
                f"{folder} was not made from these data as they were loaded here: the fingerprint of its test samples "
                f"is {stored[:12]}, theirs {test.fingerprint()[:12]}; name the same file, options and seed as in "
                "training."
            )
        checksum = stored_checksum(folder)
        scaled = getattr(test.preprocessor, "scaling", None) is not None
        if scaled and checksum not in (None, test.provenance.checksum):
            raise BundleError(
                f"{folder} was made from another file than this: their samples agree once they are scaled, which those "
                "in other units do too; name the file of training itself."
            )
        return "the fingerprint of their test samples is the one that the folder holds"
    check_classifier(classifier, test)  # refuses one that guesses
    learnt = splits.train if len(splits.train) else test
    right = float((classifier.predict(learnt.x).argmax(1) == learnt.y).float().mean())
    part = "training" if len(splits.train) else "test"
    answers = f"answers {right:.1%} of their {part} samples rightly ({commonest(learnt.y, learnt.classes)})"
    if not guard.detectors:
        return f"the folder holds no fingerprint; it {answers}"
    splits.need_training("a check of the guard's calibration")
    rejected = float((~guard(splits.calibration.x).accepted).float().mean())
    if rejected > _SLACK * guard.false_alarm_rate:
        raise BundleError(
            f"{folder} was not calibrated on these data as they were loaded here: it rejects {rejected:.1%} of their "
            f"calibration samples, and {guard.false_alarm_rate:.1%} at most of its own."
        )
    return (
        f"the folder holds no fingerprint; it rejects {rejected:.1%} of their calibration samples, where "
        f"{guard.false_alarm_rate:.1%} was promised, and {answers}"
    )
