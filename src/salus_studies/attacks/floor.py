"""How near any attack may hope to come: what attacks that see gradients reach on the samples of the query table."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from salus.attacks import ATTACKS, Attack
from salus_studies.attacks.contenders import Task
from salus_studies.attacks.counting import measure
from salus_studies.attacks.peers.own import scaled
from salus_studies.attacks.subjects import Subject
from salus_studies.frame.steps import Steps

#: Attacks that see gradients, and the passes a sample that each of them has.
SEEING, PASSES = ("carlini-wagner-l2", "ddn", "dual-averaging"), 2000


def run(steps: Steps, subject: Subject, rows: Tensor) -> None:
    """Attack the samples at these rows by each, and keep the nearest of all for each sample."""
    task = Task(norm="l2", budget=PASSES, classes=subject.classes)
    attacks = {name: scaled(ATTACKS.own[name], task, 0.0, {}) for name in SEEING}
    key = [subject.key, rows.tolist(), {name: repr(attack) for name, attack in attacks.items()}]
    steps.do(f"{subject.name}-floor", "floor", key, partial(_work, subject, rows, attacks))


def _work(subject: Subject, rows: Tensor, attacks: dict[str, Attack]) -> dict[str, Any]:
    x, y = subject.x[rows], subject.y[rows]
    distances = {}
    for name, attack in attacks.items():
        found = attack.run(subject.model, x, y)
        distances[name] = torch.where(found.success, measure("l2", found.x_adv, x), torch.inf)
    nearest = torch.stack(list(distances.values())).amin(0)
    return {
        "part": "floor",
        "model": subject.name,
        "passes": PASSES,
        "samples": len(rows),
        "median": _median(nearest),
        "each": {name: _median(distance) for name, distance in distances.items()},
    }


def _median(distance: Tensor) -> float:
    return float(distance.quantile(0.5, interpolation="nearest"))
