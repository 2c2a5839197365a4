"""The experiments on one set of data, step by step, each stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from salus.classifier import Classifier
from salus.detectors.multimagnet_calibration import Measured, blends, choose_on_clean, measure
from salus.detectors.multimagnet_grid import Calibration
from salus.generative import Repository
from salus.progress import progress
from salus.storage import digest
from salus_studies.multimagnet import attacked as attacks
from salus_studies.multimagnet import observed
from salus_studies.multimagnet.attacked import RETUNED, SURROGATE, WHITE_BOX, AttackedImages
from salus_studies.multimagnet.bench import MagNetBench
from salus_studies.multimagnet.breaking import Breaking
from salus_studies.multimagnet.cells import Arm, AttackedCells, changes
from salus_studies.multimagnet.draws import Side
from salus_studies.multimagnet.judging import FALSE_ALARM_RATE, JudgingPlan, judged
from salus_studies.multimagnet.published import ATTACKS

#: Images of each attack that are drawn on the page.
PICTURES = 2


@dataclass(frozen=True, eq=False)
class _Fooled:
    """One attack in one arm: the attacked images of both parts, and what the members made of them."""

    made: Mapping[str, AttackedImages]
    measured: Mapping[str, Measured]


def run_experiments(bench: MagNetBench) -> None:
    """Do all that there is time for on one set of data; its records and images to be drawn are left on the bench."""
    with progress(f"MultiMagNet, {bench.name}", 4 + 3 * len(ATTACKS)) as advance:
        advance(0, note="classifier")
        classifier = bench.classifier()
        advance(1, note="autoencoders")
        repository = bench.repository() if classifier is not None else None
        advance(1, note="surrogate")
        surrogate = bench.surrogate() if repository is not None else None
        advance(1)
        if classifier is None or repository is None:
            for attack in ATTACKS:
                bench.absent(attack, bench.reason)
            bench.record("adaptive", {"status": "not run", "reason": bench.reason})
            return
        experiments = MagNetExperiments(bench, classifier, surrogate, repository)
        sides = experiments.clean_sides()
        general = experiments.general(sides[0]) if sides else None
        for attack in ATTACKS:
            advance(0, note=attack)
            experiments.attack(attack, sides, general)
            advance(3)
        advance(0, note="attackers who know it")
        Breaking(bench, classifier, repository).all(general)
        advance(1)


class MagNetExperiments:
    """The experiments on a classifier and its autoencoders.

    Args:
        bench: where steps are stored, and what they are of.
        classifier: what is attacked.
        surrogate: what is attacked in its place; None where it was not trained.
        repository: the members that defend the classifier.
    """

    def __init__(
        self, bench: MagNetBench, classifier: Classifier, surrogate: Classifier | None, repository: Repository
    ) -> None:
        self.bench, self.classifier, self.surrogate, self.repository = bench, classifier, surrogate, repository
        self.cells = AttackedCells(bench, classifier)
        self.print = digest([classifier.fingerprint(), [member.key for member in repository.members]])

    # What members measure.

    def observe(self, name: str, x: Tensor, of: Any) -> Measured | None:
        """Let every member see these images once, or read what they measured; ``of`` tells the images apart."""
        path = self.bench.folder / "measured" / f"{self.bench.name}-{name}.safetensors"
        measures = observed.measures(self.bench.scale.grid)

        def look() -> dict[str, Any]:
            observed.write(path, measure(self.classifier, self.repository, x, measures))
            return {"n": len(x)}

        if not path.exists():
            self.bench.steps.forget(f"{self.bench.name}-measured-{name}")
        record = self.bench.do(f"measured-{name}", "measuring", [self.print, self.bench.prints, measures, of], look)
        return observed.read(path, self.repository.names) if record["status"] == "done" else None

    def clean_sides(self) -> tuple[Measured, Side] | None:
        """Measure V_leg and the legitimate half of D."""
        legitimate, drawn = self.bench.dealt.legitimate, self.bench.dealt.drawn
        first = self.observe("legitimate", legitimate.x, "V_leg")
        second = self.observe("drawn", drawn.x, "D_leg")
        if first is None or second is None:
            return None
        return first, Side(second, attacks.is_right(self.classifier, drawn.x, drawn.y).cpu(), drawn.y.cpu())

    def general(self, legitimate: Measured) -> Calibration | None:
        """Choose one configuration for all attacks, on clean images alone."""
        path = self.bench.folder / "calibrations" / f"{self.bench.name}-clean.json"
        data = self.cells.validation
        blended = self.observe("blends", blends(data.x, data.y, seed=self.bench.seed), "blends")
        if blended is None:
            return None

        def choose() -> dict[str, Any]:
            calibration = choose_on_clean(legitimate, blended, self.bench.scale.grid, false_alarm_rate=FALSE_ALARM_RATE)
            calibration.save(path)
            return {"configuration": "clean", "attack": None, "arm": None, **calibration.best.row()}

        if not path.exists():
            self.bench.steps.forget(f"{self.bench.name}-calibrated-clean")
        key = [self.print, self.bench.prints, asdict(self.bench.scale.grid), FALSE_ALARM_RATE]
        self.bench.record("chosen", self.bench.do("calibrated-clean", "choosing", key, choose, always=True))
        return Calibration.load(path)

    # What is attacked.

    def attack(self, name: str, sides: tuple[Measured, Side] | None, general: Calibration | None) -> None:
        """Attack as Table 1 has it in every arm and, where none meets Table 6, retuned; calibrate, draw and count."""
        met, own = False, None
        for arm_name in attacks.arms(name):
            against = self.surrogate if arm_name == SURROGATE else self.classifier
            if against is None or sides is None:
                self.bench.absent(name, self.bench.reason, arm_name)
                continue
            how = attacks.settings(self.bench.name, name, arm_name, iterations=self.bench.setting.iterations)
            arm = Arm(name, arm_name, how, against)
            made = self.cells.made(arm)
            if made is None:
                self.bench.absent(name, self.bench.reason, arm_name)
                return
            fooled = self.seen(arm, made)
            self.judge(arm, fooled, sides, general)
            met |= attacks.agrees(self.bench.name, name, made["validation"].accuracy)
            own = (arm, made, fooled) if arm_name == WHITE_BOX else own
        if not met and own is not None and sides is not None:
            self.retune(*own, sides, general)

    def retune(
        self,
        arm: Arm,
        made: Mapping[str, AttackedImages],
        fooled: _Fooled | None,
        sides: tuple[Measured, Side],
        general: Calibration | None,
    ) -> None:
        """Make the white-box attack as strong as Table 6 asks for, and judge that."""
        eps = self.cells.fitted(arm, made)
        weakened = None if eps is None else self.cells.retuned(arm, made, eps)
        if weakened is None:
            self.bench.absent(arm.attack, self.bench.reason, RETUNED)
            return
        images, kept = weakened
        retuned = Arm(arm.attack, RETUNED, {**arm.how, "retuned": eps}, arm.against)
        self.judge(
            retuned, self._held(images, kept, fooled, sides) if kept else self.seen(retuned, images), sides, general
        )

    def _held(
        self,
        images: Mapping[str, AttackedImages],
        kept: Mapping[str, Tensor],
        fooled: _Fooled | None,
        sides: tuple[Measured, Side],
    ) -> _Fooled | None:
        """Measure a CW that is held to a length: what was measured on clean images stands for those that stay."""
        if fooled is None:
            return None
        legitimate, drawn = sides
        few = observed.first(legitimate, len(self.cells.validation))
        clean = {"validation": few, "test": drawn.measured}
        self.picture("cw", RETUNED, images["test"])
        return _Fooled(images, {part: observed.mixed(kept[part], fooled.measured[part], clean[part]) for part in clean})

    def seen(self, arm: Arm, made: Mapping[str, AttackedImages]) -> _Fooled | None:
        """Let the members measure the attacked images of both parts."""
        measured = {}
        for part, one in made.items():
            measured[part] = self.observe(f"{arm.attack}-{arm.name}-{part}", one.x, [part, *arm.key()])
        self.picture(arm.attack, arm.name, made["test"])
        there = {part: one for part, one in measured.items() if one is not None}
        return _Fooled(made, there) if len(there) == len(made) else None

    # What is counted.

    def judge(
        self, arm: Arm, fooled: _Fooled | None, sides: tuple[Measured, Side], general: Calibration | None
    ) -> None:
        """Calibrate on validation images, draw ensembles for the test images, and count."""
        name = arm.attack
        if fooled is None:
            self.bench.absent(name, self.bench.reason, arm.name)
            return
        legitimate, drawn = sides
        attacked = Side(fooled.measured["test"], fooled.made["test"].right.cpu(), drawn.y)
        path = self.bench.folder / "calibrations" / f"{self.bench.name}-{name}-{arm.name}.json"
        best = None if general is None else general.best.combination
        plan = JudgingPlan(self.bench.name, name, best, self.bench.reason)

        def count() -> dict[str, Any]:
            validation = fooled.measured["validation"]
            calibration, rows = judged(
                plan, legitimate, validation, drawn, attacked, self.bench.scale, seed=self.bench.seed
            )
            calibration.save(path)
            return rows

        if not path.exists():
            self.bench.steps.forget(f"{self.bench.name}-judged-{name}-{arm.name}")
        key = [
            self.print,
            self.bench.prints,
            changes(fooled.made),
            asdict(self.bench.scale.grid),
            self.bench.scale.experiments,
            None if best is None else asdict(best),
            arm.key(),
        ]
        record = self.bench.do(f"judged-{name}-{arm.name}", "judging", key, count, always=True)
        for row in record["rows"]:
            self.bench.record("rows", {"attack": name, "arm": arm.name, **row})
        for each, row in record["chosen"].items():
            self.bench.record("chosen", {"attack": name, "arm": arm.name, "configuration": each, **row})

    # Pictures.

    def picture(self, name: str, arm: str, test: AttackedImages) -> None:
        """Keep a few images that were right and are fooled: clean, attacked, and reformed by one member."""
        data = self.bench.dealt.drawn
        wrong = (~test.right).nonzero()[: 20 * PICTURES, 0]
        rows = wrong[attacks.is_right(self.classifier, data.x[wrong], data.y[wrong])][:PICTURES]
        if not len(rows):
            return
        with torch.no_grad():
            reformed = self.repository.reconstruct(len(self.repository) // 2, test.x[rows])
        shown = {"clean": data.x[rows], "attacked": test.x[rows], "reformed": reformed}
        title = f"picture|{self.bench.name}-{name}-{arm}"
        self.bench.arrays |= {f"{title}|{what}": x.cpu() for what, x in shown.items()}
        answers = torch.stack([self.classifier.predict(x).argmax(1) for x in shown.values()])
        self.bench.arrays[f"{title}|answers"] = answers.cpu()
