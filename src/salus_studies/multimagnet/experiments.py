"""The experiments on one set of data, step by step, each stored."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from salus import atomic
from salus.attacks import PGD, Attack
from salus.audit.cell import Attempt, Cell
from salus.audit.measure import measure_cell
from salus.classifier import Classifier
from salus.data import Dataset
from salus.detectors import MultiMagNet
from salus.detectors.multimagnet_calibration import Measured, blends, choose_on_clean, measure
from salus.detectors.multimagnet_grid import Calibration
from salus.generative import Repository
from salus.guard import Guard
from salus.progress import progress
from salus.storage import digest
from salus.threats.models import Adaptive, Oblivious
from salus_studies.multimagnet import attacked as attacks
from salus_studies.multimagnet import observed
from salus_studies.multimagnet.attacked import AS_PRINTED, RETUNED, AttackedImages
from salus_studies.multimagnet.bench import MagNetBench
from salus_studies.multimagnet.draws import Side
from salus_studies.multimagnet.judging import FALSE_ALARM_RATE, JudgingPlan, judged
from salus_studies.multimagnet.published import ATTACKS, PARAMETERS

#: Images of each attack that are drawn on the page.
PICTURES = 2

_ARRAYS = ("x", "changed", "right")


@dataclass(frozen=True, eq=False)
class _Fooled:
    """One attack at one strength: the attacked images of both parts, and what the members made of them."""

    validation: AttackedImages
    test: AttackedImages
    measured: Measured  # the validation images
    tested: Measured  # the test images


def run_experiments(bench: MagNetBench) -> None:
    """Do all that there is time for on one set of data; its records and images to be drawn are left on the bench."""
    with progress(f"MultiMagNet, {bench.name}", 3 + 2 * len(ATTACKS)) as advance:
        advance(0, note="classifier")
        classifier = bench.classifier()
        advance(1, note="autoencoders")
        repository = bench.repository() if classifier is not None else None
        advance(1)
        if classifier is None or repository is None:
            for attack in ATTACKS:
                bench.absent(attack, bench.reason)
            bench.record("adaptive", {"status": "not run", "reason": bench.reason})
            return
        experiments = MagNetExperiments(bench, classifier, repository)
        sides = experiments.clean_sides()
        general = experiments.general(sides[0]) if sides else None
        for attack in ATTACKS:
            advance(0, note=attack)
            experiments.attack(attack, sides, general)
            advance(2)
        experiments.adaptive(general)
        advance(1)


class MagNetExperiments:
    """The experiments on a classifier and its autoencoders.

    Args:
        bench: where steps are stored, and what they are of.
        classifier: what is attacked.
        repository: the members that defend it.
    """

    def __init__(self, bench: MagNetBench, classifier: Classifier, repository: Repository) -> None:
        self.bench, self.classifier, self.repository = bench, classifier, repository
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
        data = self.validation
        blended = self.observe("blends", blends(data.x, data.y, seed=self.bench.seed), "blends")
        if blended is None:
            return None

        def choose() -> dict[str, Any]:
            calibration = choose_on_clean(legitimate, blended, self.bench.scale.grid, false_alarm_rate=FALSE_ALARM_RATE)
            calibration.save(path)
            return {"configuration": "clean", "attack": None, "strength": None, **calibration.best.row()}

        if not path.exists():
            self.bench.steps.forget(f"{self.bench.name}-calibrated-clean")
        key = [self.print, self.bench.prints, asdict(self.bench.scale.grid), FALSE_ALARM_RATE]
        self.bench.record("chosen", self.bench.do("calibrated-clean", "choosing", key, choose, always=True))
        return Calibration.load(path)

    @property
    def validation(self) -> Dataset:
        """The images of V_leg that are attacked."""
        return self.bench.dealt.legitimate.subset(
            torch.arange(min(self.bench.setting.attacked, len(self.bench.dealt.legitimate)))
        )

    # What is attacked.

    def attack(
        self,
        name: str,
        sides: tuple[Measured, Side] | None,
        general: Calibration | None,
    ) -> None:
        """Attack as Table 1 has it and, where Table 6 is not met, retuned; then calibrate, draw and count."""
        engine = attacks.as_printed(
            self.bench.name, name, iterations=self.bench.setting.iterations, seed=self.bench.seed
        )
        printed = self.attacked(name, AS_PRINTED, engine)
        if printed is None or sides is None:
            self.bench.absent(name, self.bench.reason)
            return
        fooled = self.seen(name, AS_PRINTED, *printed, engine)
        self.judge(name, AS_PRINTED, fooled, sides, general)
        if attacks.agrees(self.bench.name, name, printed[0].accuracy):
            return
        eps = self.fitted(name, engine, printed[0])
        if eps is None:
            self.bench.absent(name, self.bench.reason, RETUNED)
            return
        if attacks.closest(name):
            fooled = self.hold(name, eps, fooled, sides)
        else:
            engine = attacks.with_eps(engine, eps)
            retuned = self.attacked(name, RETUNED, engine)
            fooled = None
            if retuned is not None:
                fooled = self.seen(name, RETUNED, *retuned, engine)
        self.judge(name, RETUNED, fooled, sides, general)

    def attacked(self, name: str, strength: str, engine: Attack) -> tuple[AttackedImages, AttackedImages] | None:
        """Attack validation and test images, or read what came of it."""
        title = f"attacked-{name}-{strength}"
        path = self.bench.folder / "attacked" / f"{self.bench.name}-{name}-{strength}.safetensors"
        parts = self.parts

        def make() -> dict[str, Any]:
            copies = {part: attacks.run(engine, self.classifier, data) for part, data in parts.items()}
            tensors = {f"{part}|{what}": getattr(one, what) for part, one in copies.items() for what in _ARRAYS}
            atomic.write_tensors(path, tensors)
            return attacks.describe(copies, self.parts) | {
                "attack": name,
                "strength": strength,
                "eps": engine.eps,
                "parameters": _parameters(engine),
            }

        if not path.exists():
            self.bench.steps.forget(f"{self.bench.name}-{title}")
        key = [self.classifier.fingerprint(), self.bench.prints, [engine.name, asdict(engine)], len(self.validation)]
        record = self.bench.do(title, f"attacking {name}", key, make, blank={"attack": name, "strength": strength})
        self.bench.record("attacks", record)
        if record["status"] != "done":
            return None
        tensors = load_safetensors(path.read_bytes())
        first, second = (
            AttackedImages(*(tensors[f"{part}|{what}"].to(self.bench.device) for what in _ARRAYS)) for part in parts
        )
        return first, second

    @property
    def parts(self) -> dict[str, Dataset]:
        """The images that are attacked: of V_leg, and the legitimate half of D."""
        return {"validation": self.validation, "test": self.bench.dealt.drawn}

    def fitted(self, name: str, engine: Attack, printed: AttackedImages) -> float | None:
        """Find the eps, or the length, that Table 6 asks for, on validation data."""
        data = self.validation

        def search() -> dict[str, Any]:
            if attacks.closest(name):
                right = attacks.is_right(self.classifier, data.x, data.y)
                return {"eps": attacks.fit_length(self.bench.name, name, printed, right), "tried": len(data)}
            few = data.subset(torch.arange(min(self.bench.scale.tried, len(data))))
            return {"eps": attacks.fit_eps(self.bench.name, name, engine, self.classifier, few), "tried": len(few)}

        key = [
            self.classifier.fingerprint(),
            self.bench.prints,
            [engine.name, asdict(engine)],
            len(data),
            self.bench.scale.tried,
        ]
        record = self.bench.do(f"fitted-{name}", f"attacking {name}", key, search)
        return float(record["eps"]) if record["status"] == "done" else None

    def seen(
        self,
        name: str,
        strength: str,
        validation: AttackedImages,
        test: AttackedImages,
        engine: Attack,
    ) -> _Fooled | None:
        """Let the members measure the attacked images of both parts."""
        of = [engine.name, asdict(engine)]
        parts = {"validation": validation, "test": test}
        first, second = (self.observe(f"{name}-{strength}-{part}", one.x, [part, of]) for part, one in parts.items())
        if first is None or second is None:
            return None
        self.picture(name, strength, test)
        return _Fooled(validation, test, first, second)

    def hold(
        self,
        name: str,
        eps: float,
        printed: _Fooled | None,
        sides: tuple[Measured, Side],
    ) -> _Fooled | None:
        """Hold a closest attack to a length; what was measured on the clean images stands for those that stay."""
        if printed is None:
            return None
        legitimate, drawn = sides
        data = self.parts
        weakened, kept = {}, {}
        for part, one in {"validation": printed.validation, "test": printed.test}.items():
            right = attacks.is_right(self.classifier, data[part].x, data[part].y)
            weakened[part], changed = attacks.hold_to(one, eps, data[part].x, right)
            kept[part] = changed.cpu()
        few = observed.first(legitimate, len(self.validation))
        record = {"attack": name, "strength": RETUNED, **attacks.describe(weakened, data)}
        self.bench.record(
            "attacks", record | {"eps": eps, "parameters": {"eps": eps}, "status": "done", "reason": None}
        )
        self.picture(name, RETUNED, weakened["test"])
        return _Fooled(
            weakened["validation"],
            weakened["test"],
            observed.mixed(kept["validation"], printed.measured, few),
            observed.mixed(kept["test"], printed.tested, drawn.measured),
        )

    # What is counted.

    def judge(
        self,
        name: str,
        strength: str,
        fooled: _Fooled | None,
        sides: tuple[Measured, Side],
        general: Calibration | None,
    ) -> None:
        """Calibrate on validation images, draw ensembles for the test images, and count."""
        if fooled is None:
            self.bench.absent(name, self.bench.reason, strength)
            return
        legitimate, drawn = sides
        attacked = Side(fooled.tested, fooled.test.right.cpu(), drawn.y)
        path = self.bench.folder / "calibrations" / f"{self.bench.name}-{name}-{strength}.json"

        plan = JudgingPlan(
            self.bench.name, name, None if general is None else general.best.combination, self.bench.reason
        )

        def count() -> dict[str, Any]:
            best, rows = judged(
                plan, legitimate, fooled.measured, drawn, attacked, self.bench.scale, seed=self.bench.seed
            )
            best.save(path)
            return rows

        if not path.exists():
            self.bench.steps.forget(f"{self.bench.name}-judged-{name}-{strength}")
        changed = [digest(one.changed.tolist()) for one in (fooled.validation, fooled.test)]
        general_best = None if general is None else asdict(general.best.combination)
        key = [
            self.print,
            self.bench.prints,
            changed,
            asdict(self.bench.scale.grid),
            self.bench.scale.experiments,
            general_best,
            strength,
        ]
        record = self.bench.do(f"judged-{name}-{strength}", "judging", key, count, always=True)
        for row in record["rows"]:
            self.bench.record("rows", {"attack": name, "strength": strength, **row})
        for each, row in record["chosen"].items():
            self.bench.record("chosen", {"attack": name, "strength": strength, "configuration": each, **row})

    def adaptive(self, general: Calibration | None) -> None:
        """Set an attacker who knows the defence on the configuration for all, beside one who does not."""
        if general is None:
            self.bench.record("adaptive", {"status": "not run", "reason": self.bench.reason})
            return
        drawn = self.bench.dealt.drawn
        data = drawn.subset(torch.arange(min(self.bench.scale.adaptive, len(drawn))))
        detector = MultiMagNet(calibration=general, repository=self.repository, draw_seed=self.bench.seed)
        detector.fit(self.classifier, data.x, data.y)
        guard = Guard(self.classifier, [detector], name="multimagnet")
        engine = PGD(
            eps=PARAMETERS[self.bench.name, "fgsm"]["eps"],
            steps=self.bench.scale.adaptive_steps,
            schedule="madry",
            seed=self.bench.seed,
        )
        for threat in (Oblivious(), Adaptive()):
            cell = Cell(data, guard, Attempt(engine, threat))

            def count(cell: Cell = cell) -> dict[str, Any]:
                return measure_cell(cell, guard(data.x))

            name, blank = threat.name, {"threat_model": threat.name}
            record = self.bench.do(f"guarded-{name}", f"guarded {name}", cell.key(), count, blank=blank)
            self.bench.record("adaptive", record)

    # Pictures.

    def picture(self, name: str, strength: str, test: AttackedImages) -> None:
        """Keep a few images that were right and are fooled: clean, attacked, and reformed by one member."""
        data = self.bench.dealt.drawn
        wrong = (~test.right).nonzero()[: 20 * PICTURES, 0]
        rows = wrong[attacks.is_right(self.classifier, data.x[wrong], data.y[wrong])][:PICTURES]
        if not len(rows):
            return
        with torch.no_grad():
            reformed = self.repository.reconstruct(len(self.repository) // 2, test.x[rows])
        shown = {"clean": data.x[rows], "attacked": test.x[rows], "reformed": reformed}
        title = f"picture|{self.bench.name}-{name}-{strength}"
        self.bench.arrays |= {f"{title}|{what}": x.cpu() for what, x in shown.items()}
        answers = torch.stack([self.classifier.predict(x).argmax(1) for x in shown.values()])
        self.bench.arrays[f"{title}|answers"] = answers.cpu()


def _parameters(engine: Attack) -> dict[str, Any]:
    """What of an attack's options Table 1 speaks of."""
    names = ("eps", "step_size", "steps", "overshoot", "confidence", "searches")
    return {name: value for name in names if (value := getattr(engine, name, None)) is not None}
