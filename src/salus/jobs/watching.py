"""Fitting the monitor of callers that a guard's bundle carries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from salus.audit.plan import Plan
from salus.audit.subject import load_splits
from salus.audit.watching import fit_to_training, honest_streams, tried
from salus.detectors.queries import MONITORS, Monitor, save_monitor
from salus.errors import BundleError, OptionError
from salus.jobs.judging import open_guard

#: Where a bundle keeps its monitor.
FOLDER = "monitor"


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
    """Fit a monitor to the callers of the training side, save it in a bundle, and try those of the test side.

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
    fit_to_training(monitor, guard, splits)
    save_monitor(monitor, folder / FOLDER)
    honest = tried(monitor, honest_streams(guard, splits.test, splits.name))
    return FittedMonitor(monitor, folder / FOLDER, honest.callers, honest.alarmed, honest.share)
