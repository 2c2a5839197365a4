"""The protocol ``honest``: every attack at full strength on the trained model itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from salus.attacks import BIM, FGSM, PGD, Attack, AutoAttack, Boundary, CarliniWagnerLinf, HopSkipJump
from salus.audit.cell import Attempt, Cell
from salus.audit.measure import measure_cell
from salus.data import Dataset
from salus.detectors import AttackedHead
from salus.guard import Guard
from salus.metrics import confusion, proportion
from salus.threats import THREAT_MODELS
from salus_studies.ecg_atk_gan.attacked import EPS
from salus_studies.ecg_atk_gan.scales import GANScale
from salus_studies.ecg_atk_gan.trainings import TrainedColumn

#: What the models whose robustness is looked at were trained on: nothing, and the papers' strongest attack.
TRAINED_ON = ("none", "pgd")
FALSE_ALARM_RATE = 0.05

LENGTH = 280


@dataclass(frozen=True, eq=False)
class Planned:
    """A cell and how many of the drawn test beats of each class it takes; None for all that were drawn."""

    attack: Attack | None
    threat_model: str | None
    guarded: bool
    beats: int | None


def planned(architecture: str, scale: GANScale, seed: int) -> Iterator[Planned]:
    """List the cells of one trained model, the cheap ones first."""
    yield Planned(None, None, False, None)
    pgd = PGD(eps=EPS, steps=40, schedule="madry", restarts=5, seed=seed)
    gradient: list[Attack] = [
        FGSM(eps=EPS, seed=seed),
        BIM(eps=EPS, steps=40, schedule="madry", seed=seed),
        pgd,
        CarliniWagnerLinf(eps=EPS, seed=seed),
    ]
    for attack in gradient:
        yield Planned(attack, "white-box", False, None)
    if architecture == "proposed":
        yield Planned(None, None, True, None)
        for threat in ("oblivious", "adaptive"):
            yield Planned(pgd, threat, True, None)
    yield Planned(AutoAttack(eps=EPS, seed=seed), "white-box", False, scale.query_beats)
    asking: list[Attack] = [
        Boundary(eps=EPS * LENGTH**0.5, queries=scale.queries, seed=seed),  # in L2: as far as a corner of the box
        HopSkipJump(eps=EPS, norm="linf", queries=scale.queries, seed=seed, directions="chen-2020"),
    ]
    for attack in asking:
        yield Planned(attack, "decision-only", False, scale.query_beats)


def guards(trained: TrainedColumn, calibration: Dataset, *, seed: int) -> tuple[Guard, Guard | None]:
    """Make the bare classifier and, where it has the head for it, the guard by its attacked/clean head."""
    bare = Guard(trained.classifier, name="none")
    if trained.gan is None:
        return bare, None
    head = AttackedHead().fit(trained.classifier, calibration.x, calibration.y)
    head.calibrate(calibration.x, FALSE_ALARM_RATE, seed=seed)
    return bare, Guard(trained.classifier, [head], name="attacked-head")


def cell(plan: Planned, bare: Guard, guarded: Guard | None, data: Dataset) -> Cell:
    """Make the audit's cell of what is planned."""
    guard = guarded if plan.guarded and guarded is not None else bare
    if plan.attack is None or plan.threat_model is None:
        return Cell(data, guard)
    return Cell(data, guard, Attempt(plan.attack, THREAT_MODELS[plan.threat_model]()))


def count(cell: Cell, facts: Mapping[str, Any], natural: Mapping[str, int]) -> dict[str, Any]:
    """Measure a cell, and weight what is counted to the prevalence of the whole test part.

    Of rare classes all beats are drawn and of common ones few, so that every class says something. Each beat then
    counts for as many as it stands for: ``clean_accuracy``, ``robust_accuracy`` with their intervals over patients,
    and the confusion matrix. Sensitivities are of one class each, and need no weights.

    Args:
        cell: what is measured.
        facts: which it is.
        natural: beats of each class in the whole test part.
    """
    clean, stored = cell.guard(cell.data.x), list[Mapping[str, Tensor]]()
    record = measure_cell(cell, clean, stored.append)
    y, classes, groups = cell.data.y.cpu(), cell.data.classes, cell.data.groups
    good = (clean.accepted & (clean.answers == cell.data.y)).cpu()
    answers = torch.cat([part["label"].cpu() for part in stored])
    accepted = torch.cat([part["accepted"].cpu() for part in stored])
    here = torch.bincount(y, minlength=len(classes)).double()
    stands_for = torch.tensor([float(natural[name]) for name in classes], dtype=torch.float64) / here.clamp(min=1)
    weights = (stands_for / stands_for.max())[y]
    record |= proportion(good, weights, groups).named("clean_accuracy")
    if cell.attempt is not None:
        kept = good & ~(accepted & (answers != y))
        record |= proportion(kept, weights, groups).named("robust_accuracy")
    table, shares = confusion(y, torch.where(accepted, answers, -1), classes), stands_for.tolist()
    return {
        **record,
        **facts,
        "confusion": {
            "matrix": [[one * share for one in row] for row, share in zip(table["matrix"], shares, strict=True)],
            "rejected": [one * share for one, share in zip(table["rejected"], shares, strict=True)],
        },
        "weighted": "to the prevalence of the whole test part",
        "natural": dict(natural),
    }
