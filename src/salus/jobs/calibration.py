"""MultiMagNet's calibration stage on one's own classifier and data, into a file that audits and guards name."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from salus.audit.plan import Plan
from salus.audit.subject import Loaded, Subject, load_splits
from salus.detectors.base import DEFAULT_FALSE_ALARM_RATE
from salus.detectors.multimagnet_calibration import blends, choose_by_accuracy, choose_on_clean, measure
from salus.detectors.multimagnet_grid import Calibration, Grid
from salus.errors import CalibrationError, OptionError
from salus.generative import Repository
from salus.storage import Store, find_device

#: Clean samples that the stage looks at, at most: the paper's V_leg.
MOST = 5000


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A calibration as saved.

    Attributes:
        calibration: what was found.
        path: where it lies.
        model: what to write after ``--model``, for audits of the same classifier.
        clean: how many clean samples it was chosen on.
        adversarial: how many attacked ones that fool the classifier, or blends.
    """

    calibration: Calibration
    path: Path
    model: str
    clean: int
    adversarial: int


def run_calibration(plan: Plan, repository: Path, out: Path, *, attack: str | None = None) -> Calibrated:
    """Score MultiMagNet's grid on the calibration part of the data, and save the best combination with all others.

    With an attack it is the combination of the highest accuracy on clean samples and on attacked ones that fool the
    classifier (Section 4.1.4); without, the one that is chosen on clean samples alone, see
    :func:`salus.detectors.multimagnet_calibration.choose_on_clean`. A built-in network is trained into the folder, or
    loaded where it was before.

    Args:
        plan: the data, the model and the false-alarm rate.
        repository: folder of trained autoencoders.
        out: the folder for ``calibration.json``, and for the classifier.
        attack: which attack to calibrate against, as in a plan.

    Raises:
        SalusError: the plan, the data, the model, the repository or the folder cannot be used.
    """
    store = Store(out)
    store.check_free()
    members, device = Repository.load(repository), find_device(plan.device)
    plan = plan if attack is None else plan.model_copy(update={"attack": (attack,)})
    splits = load_splits(plan)
    splits.need_training("MultiMagNet's calibration stage")
    engines = [] if attack is None else plan.attacks(splits.test)
    if len(engines) > 1:
        raise OptionError(f"Calibrate against one attack at one eps; {attack!r} has {len(engines)}. Name its eps.")
    n = min(len(splits.calibration), MOST)
    grid = _affordable(len(members), n)
    subject = Subject.of(plan, splits)
    subject.need_here()
    members.check_suits(tuple(splits.test.x.shape[1:]), splits.test.bounds)
    with store.locked():
        store.claim(subject.identity(), plan.model_dump(mode="json"))
        classifier = subject.classifier(out).classifier
        classifier.to(device)
        members = members.to(device)
        rows = torch.randperm(len(splits.calibration), generator=torch.Generator().manual_seed(plan.seed))[:n]
        x, y = splits.calibration.x[rows].to(device), splits.calibration.y[rows].to(device)
        clean = measure(classifier, members, x, grid.measures)
        if engines:
            x_adv = engines[0].run(classifier, x, y).x_adv
            fooled = (classifier.predict(x).argmax(1) == y) & (classifier.predict(x_adv).argmax(1) != y)
            if not bool(fooled.any()):
                raise CalibrationError(
                    f"{engines[0].title} fooled the classifier on none of {len(x)} samples; take a stronger attack."
                )
            against = measure(classifier, members, x_adv[fooled], grid.measures)
            calibration = choose_by_accuracy(clean, against, grid, attack=str(attack))
        else:
            labels = classifier.predict(x).argmax(1)
            against = measure(classifier, members, blends(x, labels, seed=plan.seed), grid.measures)
            rate = plan.false_alarm_rate or DEFAULT_FALSE_ALARM_RATE
            calibration = choose_on_clean(clean, against, grid, false_alarm_rate=rate)
        calibration.save(out / "calibration.json")
    words = [str(out)]
    if isinstance(subject.model, Loaded):
        words = [subject.model.source.text, *([] if plan.weights is None else ["--weights", str(plan.weights)])]
    model = shlex.join(words)
    return Calibrated(calibration, out / "calibration.json", model, len(clean), len(against))


def _affordable(members: int, samples: int) -> Grid:
    """Leave out of the grid what so many members cannot be drawn for, and rates that reject none of so many samples."""
    grid = Grid()
    sizes = tuple(n for n in grid.sizes if n <= members)
    rates = tuple(rate for rate in grid.drop_rates if rate * samples >= 1)
    if not sizes:
        raise CalibrationError(
            f"MultiMagNet draws {grid.sizes[0]} members at least, and the repository holds {members}; train more "
            "(salus autoencoders --members)."
        )
    if not rates:
        raise CalibrationError(
            f"{samples} calibration samples are too few for MultiMagNet's drop rates; give "
            f"{math.ceil(1 / max(grid.drop_rates))} or more."
        )
    return replace(grid, sizes=sizes, drop_rates=rates)
