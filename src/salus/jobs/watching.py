"""Fitting the monitor of callers that a guard's bundle carries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from salus.audit.plan import Plan
from salus.audit.subject import load_splits
from salus.data import Dataset
from salus.data.packed import take
from salus.detectors.queries import MONITORS, InProcess, Monitor, Stream, save_monitor
from salus.errors import BundleError, CalibrationError, OptionError
from salus.guard import Guard
from salus.jobs.judging import open_guard
from salus.progress import progress

#: Where a bundle keeps its monitor.
FOLDER = "monitor"

#: The fewest inputs of a caller that teach what one sends.
_FEWEST = 20


@dataclass(frozen=True, eq=False)
class FittedMonitor:
    """A monitor that was fitted and saved.

    Attributes:
        monitor: it.
        folder: where it lies.
        test: callers of the test side, each sending its inputs in order.
        alarmed: how many of them raised the alarm.
        refused: share of their inputs that came after it.
    """

    monitor: Monitor
    folder: Path
    test: int
    alarmed: int
    refused: float


def fit_monitor(folder: Path, plan: Plan, spec: str, *, factory: str | None = None) -> FittedMonitor:
    """Fit a monitor to the groups of the training side, a group a caller, save it in a bundle, and try the test side.

    Args:
        folder: the guard's bundle.
        plan: the data, as they were loaded for training.
        spec: ``lifelike``, ``nearest:layer=penultimate``.
        factory: ``package.module:factory``, for a bundle around a model of one's own.

    Raises:
        BundleError: there is no guard, or it was not made from such data.
        CalibrationError: the data have no groups, or too few.
        OptionError: the monitor is unknown, or the plan names a model.
    """
    if plan.model is not None:
        raise OptionError("The model is the bundle's; name the data alone (--data), as they were loaded for training.")
    monitor: Monitor = MONITORS.parse(spec)
    guard = open_guard(folder, factory)
    splits = load_splits(plan)
    if guard.classifier.shape != tuple(splits.test.x.shape[1:]):
        raise BundleError(
            f"The guard in {folder} takes samples of shape {list(guard.classifier.shape)}, and those of "
            f"{splits.name!r} have {list(splits.test.x.shape[1:])}; name the data of its training."
        )
    parts = [part for part in (splits.train, splits.validation, splits.calibration) if len(part)]
    learnt = [stream for part in parts for stream in _streams(guard, part, splits.name)]
    if len(learnt) < 2:
        raise CalibrationError(
            f"The training side of {splits.name!r} has {len(learnt)} groups of {_FEWEST} samples or more, each of them "
            "a caller; a monitor needs two, and better twenty."
        )
    monitor.fit(learnt, classifier=guard.classifier)
    save_monitor(monitor, folder / FOLDER)
    alarmed, refused, count = 0, 0, 0
    test = _streams(guard, splits.test, splits.name)
    for stream in test:
        monitor.memory = InProcess()
        first = monitor.observe(stream.caller, stream.x, stream.clock, stream.answers).first
        alarmed += first is not None
        refused += 0 if first is None else len(stream.x) - first
        count += len(stream.x)
    return FittedMonitor(monitor, folder / FOLDER, len(test), alarmed, refused / max(count, 1))


def _streams(guard: Guard, data: Dataset, name: str) -> list[Stream]:
    """Let each group send its samples in the order of the data."""
    if data.groups is None:
        raise CalibrationError(
            f"Which samples of {name!r} one caller would send is not known: they have no groups; name the column or "
            "take data that have some (--group-by)."
        )
    groups = [int(group) for group in data.groups.unique()]
    found = []
    with progress(f"Judging what {len(groups)} callers send", len(groups)) as advance:
        for group in groups:
            rows: Tensor = (data.groups == group).nonzero()[:, 0]
            if len(rows) >= _FEWEST:
                x = take(data.x, rows)
                found.append(
                    Stream(f"{data.group_word} {group}", x, guard(x.to(guard.classifier.device)).answers.cpu())
                )
            advance()
    return found
