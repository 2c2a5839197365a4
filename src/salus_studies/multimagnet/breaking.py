"""Attackers who know the whole deployment: detector and reformer of one draw, in L-infinity and in L2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from salus.attacks import PGD
from salus.audit.cell import Attempt, Cell
from salus.audit.measure import measure_cell
from salus.classifier import Classifier
from salus.detectors import MultiMagNet
from salus.detectors.multimagnet_grid import Calibration
from salus.generative import Repository
from salus.guard import Guard
from salus.metrics import proportion
from salus.purifiers import MultiMagNetReformer
from salus.threats import ThreatModel
from salus.threats.models import Adaptive, Oblivious
from salus_studies.multimagnet.bench import MagNetBench
from salus_studies.multimagnet.published import PARAMETERS

#: Lengths in L2 that an attacker who knows the defence may go: on MNIST half of what the eps of FGSM comes to there, on
#: CIFAR-10 a third.
LENGTHS = {"mnist": 2.0, "cifar10": 0.5}
#: Images of a step.
TOGETHER = 20


class Breaking:
    """Attacks on MultiMagNet as it would be deployed.

    The configuration is the one for all attacks, the draw is one for each image, and the reformer is a member of the
    ensemble that judged it (Section 4.2.5).

    Args:
        bench: where steps are stored, and what they are of.
        classifier: what is defended.
        repository: by whom.
    """

    def __init__(self, bench: MagNetBench, classifier: Classifier, repository: Repository) -> None:
        self.bench, self.classifier, self.repository = bench, classifier, repository

    def guard(self, calibration: Calibration) -> Guard:
        """Put detector and reformer together."""
        seed = self.bench.seed
        detector = MultiMagNet(calibration=calibration, repository=self.repository, draw_seed=seed)
        reformer = MultiMagNetReformer(repository=self.repository, draw_seed=seed)
        few = self.bench.dealt.drawn
        for part in (detector, reformer):
            part.fit(self.classifier, few.x, few.y)
        return Guard(self.classifier, [detector], reformer, name="multimagnet")

    def all(self, calibration: Calibration | None) -> None:
        """Attack in both norms, by who knows the defence and by who does not."""
        if calibration is None:
            self.bench.record("adaptive", {"status": "not run", "reason": self.bench.reason})
            return
        guard = self.guard(calibration)
        for engine in self.engines():
            for threat in (Oblivious(), Adaptive()):
                self.attacked(guard, engine, threat)

    def engines(self) -> tuple[PGD, PGD]:
        """Make PGD in L-infinity, at the eps that Table 1 gives FGSM, and in L2."""
        dataset, steps, seed = self.bench.name, self.bench.scale.adaptive_steps, self.bench.seed
        linf = PGD(eps=PARAMETERS[dataset, "fgsm"]["eps"], steps=steps, schedule="madry", seed=seed)
        return linf, PGD(norm="l2", eps=LENGTHS[dataset], steps=steps, seed=seed)

    def attacked(self, guard: Guard, engine: PGD, threat: ThreatModel) -> None:
        """Attack the first test images, a few at a time, each time a step; their rates are pooled."""
        drawn = self.bench.dealt.drawn
        count = min(self.bench.scale.adaptive, len(drawn))
        blank = {"threat_model": threat.name, "norm": engine.norm, "eps": engine.eps}
        pieces = []
        for start in range(0, count, TOGETHER):
            rows = torch.arange(start, min(start + TOGETHER, count))
            cell = Cell(drawn.subset(rows), guard, Attempt(engine, threat))

            def measured(cell: Cell = cell) -> dict[str, Any]:
                return measure_cell(cell, guard(cell.data.x))

            name = f"guarded-{threat.name}-{engine.norm}-{start}"
            record = self.bench.do(name, f"guarded {threat.name}", cell.key(), measured, blank=blank)
            if record["status"] != "done":
                self.bench.record("adaptive", {**record, **blank})
                return
            pieces.append(record)
        self.bench.record("adaptive", {**pooled(pieces), **blank, "status": "done", "reason": None})


def pooled(pieces: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Put together what several steps counted of different images, each over all of its own."""
    n = sum(piece["n"] for piece in pieces)
    record: dict[str, Any] = {"n": n, "seconds": round(sum(piece["seconds"] for piece in pieces), 1)}
    for name in ("clean_accuracy", "robust_accuracy", "rejected_clean", "rejected_adversarial"):
        hits = torch.cat([torch.full((piece["n"],), piece[name], dtype=torch.float64) for piece in pieces])
        record |= proportion(hits).named(name)
    return record
