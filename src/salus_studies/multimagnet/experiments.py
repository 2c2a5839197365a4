"""The experiments on one set of data, step by step, each stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
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
from salus.storage import TrainingFolder, digest
from salus.threats.models import Adaptive, Oblivious
from salus_studies.frame.steps import Steps
from salus_studies.multimagnet import attacked as attacks
from salus_studies.multimagnet import observed, trainings
from salus_studies.multimagnet.attacked import AS_PRINTED, RETUNED, AttackedImages
from salus_studies.multimagnet.draws import Side
from salus_studies.multimagnet.judging import CONFIGURATIONS, FALSE_ALARM_RATE, JudgingPlan, judged
from salus_studies.multimagnet.published import ATTACKS, PARAMETERS
from salus_studies.multimagnet.scales import Dealt, MagNetScale

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


class MagNetExperiments:
    """The experiments on one set of data.

    Args:
        name: a key of ``DATASETS``.
        dealt: its images.
        scale: how much is done.
        steps: where steps are stored.
        seed: of every draw.
        device: where to train and attack.
    """

    def __init__(self, name: str, dealt: Dealt, scale: MagNetScale, steps: Steps, *, seed: int, device: str) -> None:
        self.name, self.scale, self.setting, self.seed, self.device = name, scale, scale.settings[name], seed, device
        self.steps, self.folder = steps, steps.folder
        self.dealt = replace(dealt, **{part: _to(getattr(dealt, part), device) for part in ("legitimate", "drawn")})
        self.prints = [dealt.train.fingerprint(), dealt.legitimate.fingerprint(), dealt.drawn.fingerprint()]
        self.reason = "not reached"  # why the last step that was not run was not
        self.arrays: dict[str, Tensor] = {}
        self.records: dict[str, list[dict[str, Any]]] = {
            "classifiers": [],
            "repositories": [],
            "attacks": [],
            "rows": [],
            "chosen": [],
            "adaptive": [],
        }

    def run(self) -> dict[str, list[dict[str, Any]]]:
        """Do all that there is time for; returns the records."""
        with progress(f"MultiMagNet, {self.name}", 3 + 2 * len(ATTACKS)) as advance:
            advance(0, note="classifier")
            classifier = self.classifier()
            advance(1, note="autoencoders")
            repository = self.repository() if classifier is not None else None
            advance(1)
            if classifier is None or repository is None:
                for attack in ATTACKS:
                    self.absent(attack, self.reason)
                self.record("adaptive", {"status": "not run", "reason": self.reason})
                return self.records
            self.members = repository.names
            self.print = digest([classifier.fingerprint(), [member.key for member in repository.members]])
            sides = self.clean_sides(classifier, repository)
            general = self.general(classifier, repository, sides[0]) if sides else None
            for attack in ATTACKS:
                advance(0, note=attack)
                self.attack(attack, classifier, repository, sides, general)
                advance(2)
            self.adaptive(classifier, repository, general)
            advance(1)
        return self.records

    # What is trained.

    def classifier(self) -> Classifier | None:
        """Train, or read, the classifier; None where the time does not allow it."""
        setting = self.setting
        key = [
            self.prints,
            asdict(setting.training),
            setting.network,
            dict(setting.network_options),
            setting.recipe.describe(),
            self.seed,
        ]
        classifier, record = self.steps.train(
            f"{self.name}-classifier",
            f"{self.name} classifier",
            key,
            TrainingFolder(self.folder / "classifiers" / self.name),
            lambda checkpoint: trainings.train_classifier(
                self.dealt, setting, checkpoint, seed=self.seed, device=self.device
            ),
            blank={},
        )
        self.record("classifiers", record)
        if classifier is None:
            self.reason = record["reason"]
            return None
        return classifier.to(self.device)

    def repository(self) -> Repository | None:
        """Train, or read, the autoencoders; None where the time does not allow it."""
        folder = self.folder / "autoencoders" / self.name

        def read() -> Repository:
            return trainings.train_members(self.dealt, self.setting, folder, seed=self.seed, device=self.device)

        if not (folder / "repository.json").exists():
            self.steps.forget(f"{self.name}-autoencoders")
        key = [self.prints, asdict(self.setting.repository), self.seed]
        record = self.do(
            "autoencoders", "autoencoders", key, lambda: trainings.members_facts(read(), self.dealt, self.device)
        )
        self.record("repositories", record)
        return read() if record["status"] == "done" else None

    # What members measure.

    def observe(self, name: str, x: Tensor, classifier: Classifier, repository: Repository, of: Any) -> Measured | None:
        """Let every member see these images once, or read what they measured; ``of`` tells the images apart."""
        path = self.folder / "measured" / f"{self.name}-{name}.safetensors"
        measures = observed.measures(self.scale.grid)

        def look() -> dict[str, Any]:
            observed.write(path, measure(classifier, repository, x, measures))
            return {"n": len(x)}

        if not path.exists():
            self.steps.forget(f"{self.name}-measured-{name}")
        record = self.do(f"measured-{name}", "measuring", [self.print, self.prints, measures, of], look)
        return observed.read(path, self.members) if record["status"] == "done" else None

    def clean_sides(self, classifier: Classifier, repository: Repository) -> tuple[Measured, Side] | None:
        """Measure V_leg and the legitimate half of D."""
        legitimate, drawn = self.dealt.legitimate, self.dealt.drawn
        first = self.observe("legitimate", legitimate.x, classifier, repository, "V_leg")
        second = self.observe("drawn", drawn.x, classifier, repository, "D_leg")
        if first is None or second is None:
            return None
        return first, Side(second, attacks.is_right(classifier, drawn.x, drawn.y).cpu(), drawn.y.cpu())

    def general(self, classifier: Classifier, repository: Repository, legitimate: Measured) -> Calibration | None:
        """Choose one configuration for all attacks, on clean images alone."""
        path = self.folder / "calibrations" / f"{self.name}-clean.json"
        data = self.validation
        blended = self.observe("blends", blends(data.x, data.y, seed=self.seed), classifier, repository, "blends")
        if blended is None:
            return None

        def choose() -> dict[str, Any]:
            calibration = choose_on_clean(legitimate, blended, self.scale.grid, false_alarm_rate=FALSE_ALARM_RATE)
            calibration.save(path)
            return {"configuration": "clean", "attack": None, "strength": None, **calibration.best.row()}

        if not path.exists():
            self.steps.forget(f"{self.name}-calibrated-clean")
        key = [self.print, self.prints, asdict(self.scale.grid), FALSE_ALARM_RATE]
        self.record("chosen", self.do("calibrated-clean", "choosing", key, choose, always=True))
        return Calibration.load(path)

    @property
    def validation(self) -> Dataset:
        """The images of V_leg that are attacked."""
        return self.dealt.legitimate.subset(torch.arange(min(self.setting.attacked, len(self.dealt.legitimate))))

    # What is attacked.

    def attack(
        self,
        name: str,
        classifier: Classifier,
        repository: Repository,
        sides: tuple[Measured, Side] | None,
        general: Calibration | None,
    ) -> None:
        """Attack as Table 1 has it and, where Table 6 is not met, retuned; then calibrate, draw and count."""
        engine = attacks.as_printed(self.name, name, iterations=self.setting.iterations, seed=self.seed)
        printed = self.attacked(name, AS_PRINTED, engine, classifier)
        if printed is None or sides is None:
            self.absent(name, self.reason)
            return
        fooled = self.seen(name, AS_PRINTED, *printed, classifier, repository, engine)
        self.judge(name, AS_PRINTED, fooled, sides, general)
        if attacks.agrees(self.name, name, printed[0].accuracy):
            return
        eps = self.fitted(name, engine, printed[0], classifier)
        if eps is None:
            self.absent(name, self.reason, RETUNED)
            return
        if attacks.closest(name):
            fooled = self.hold(name, eps, fooled, classifier, repository, sides)
        else:
            engine = attacks.with_eps(engine, eps)
            retuned = self.attacked(name, RETUNED, engine, classifier)
            fooled = None
            if retuned is not None:
                fooled = self.seen(name, RETUNED, *retuned, classifier, repository, engine)
        self.judge(name, RETUNED, fooled, sides, general)

    def attacked(
        self, name: str, strength: str, engine: Attack, classifier: Classifier
    ) -> tuple[AttackedImages, AttackedImages] | None:
        """Attack validation and test images, or read what came of it."""
        title = f"attacked-{name}-{strength}"
        path = self.folder / "attacked" / f"{self.name}-{name}-{strength}.safetensors"
        parts = self.parts

        def make() -> dict[str, Any]:
            copies = {part: attacks.run(engine, classifier, data) for part, data in parts.items()}
            tensors = {f"{part}|{what}": getattr(one, what) for part, one in copies.items() for what in _ARRAYS}
            atomic.write_tensors(path, tensors)
            return attacks.describe(copies, self.parts) | {
                "attack": name,
                "strength": strength,
                "eps": engine.eps,
                "parameters": _parameters(engine),
            }

        if not path.exists():
            self.steps.forget(f"{self.name}-{title}")
        key = [classifier.fingerprint(), self.prints, [engine.name, asdict(engine)], len(self.validation)]
        record = self.do(title, f"attacking {name}", key, make, blank={"attack": name, "strength": strength})
        self.record("attacks", record)
        if record["status"] != "done":
            return None
        tensors = load_safetensors(path.read_bytes())
        first, second = (
            AttackedImages(*(tensors[f"{part}|{what}"].to(self.device) for what in _ARRAYS)) for part in parts
        )
        return first, second

    @property
    def parts(self) -> dict[str, Dataset]:
        """The images that are attacked: of V_leg, and the legitimate half of D."""
        return {"validation": self.validation, "test": self.dealt.drawn}

    def fitted(self, name: str, engine: Attack, printed: AttackedImages, classifier: Classifier) -> float | None:
        """Find the eps, or the length, that Table 6 asks for, on validation data."""
        data = self.validation

        def search() -> dict[str, Any]:
            if attacks.closest(name):
                right = attacks.is_right(classifier, data.x, data.y)
                return {"eps": attacks.fit_length(self.name, name, printed, right), "tried": len(data)}
            few = data.subset(torch.arange(min(self.scale.tried, len(data))))
            return {"eps": attacks.fit_eps(self.name, name, engine, classifier, few), "tried": len(few)}

        key = [classifier.fingerprint(), self.prints, [engine.name, asdict(engine)], len(data), self.scale.tried]
        record = self.do(f"fitted-{name}", f"attacking {name}", key, search)
        return float(record["eps"]) if record["status"] == "done" else None

    def seen(
        self,
        name: str,
        strength: str,
        validation: AttackedImages,
        test: AttackedImages,
        classifier: Classifier,
        repository: Repository,
        engine: Attack,
    ) -> _Fooled | None:
        """Let the members measure the attacked images of both parts."""
        of = [engine.name, asdict(engine)]
        parts = {"validation": validation, "test": test}
        first, second = (
            self.observe(f"{name}-{strength}-{part}", one.x, classifier, repository, [part, of])
            for part, one in parts.items()
        )
        if first is None or second is None:
            return None
        self.picture(name, strength, test, classifier, repository)
        return _Fooled(validation, test, first, second)

    def hold(
        self,
        name: str,
        eps: float,
        printed: _Fooled | None,
        classifier: Classifier,
        repository: Repository,
        sides: tuple[Measured, Side],
    ) -> _Fooled | None:
        """Hold a closest attack to a length; what was measured on the clean images stands for those that stay."""
        if printed is None:
            return None
        legitimate, drawn = sides
        data = self.parts
        weakened, kept = {}, {}
        for part, one in {"validation": printed.validation, "test": printed.test}.items():
            right = attacks.is_right(classifier, data[part].x, data[part].y)
            weakened[part], changed = attacks.hold_to(one, eps, data[part].x, right)
            kept[part] = changed.cpu()
        few = observed.first(legitimate, len(self.validation))
        record = {"attack": name, "strength": RETUNED, **attacks.describe(weakened, data)}
        self.record("attacks", record | {"eps": eps, "parameters": {"eps": eps}, "status": "done", "reason": None})
        self.picture(name, RETUNED, weakened["test"], classifier, repository)
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
            self.absent(name, self.reason, strength)
            return
        legitimate, drawn = sides
        attacked = Side(fooled.tested, fooled.test.right.cpu(), drawn.y)
        path = self.folder / "calibrations" / f"{self.name}-{name}-{strength}.json"

        plan = JudgingPlan(self.name, name, None if general is None else general.best.combination, self.reason)

        def count() -> dict[str, Any]:
            best, rows = judged(plan, legitimate, fooled.measured, drawn, attacked, self.scale, seed=self.seed)
            best.save(path)
            return rows

        if not path.exists():
            self.steps.forget(f"{self.name}-judged-{name}-{strength}")
        changed = [digest(one.changed.tolist()) for one in (fooled.validation, fooled.test)]
        general_best = None if general is None else asdict(general.best.combination)
        key = [
            self.print,
            self.prints,
            changed,
            asdict(self.scale.grid),
            self.scale.experiments,
            general_best,
            strength,
        ]
        record = self.do(f"judged-{name}-{strength}", "judging", key, count, always=True)
        for row in record["rows"]:
            self.record("rows", {"attack": name, "strength": strength, **row})
        for each, row in record["chosen"].items():
            self.record("chosen", {"attack": name, "strength": strength, "configuration": each, **row})

    def adaptive(self, classifier: Classifier, repository: Repository, general: Calibration | None) -> None:
        """Set an attacker who knows the defence on the configuration for all, beside one who does not."""
        if general is None:
            self.record("adaptive", {"status": "not run", "reason": self.reason})
            return
        drawn = self.dealt.drawn
        data = drawn.subset(torch.arange(min(self.scale.adaptive, len(drawn))))
        detector = MultiMagNet(calibration=general, repository=repository, draw_seed=self.seed)
        detector.fit(classifier, data.x, data.y)
        guard = Guard(classifier, [detector], name="multimagnet")
        engine = PGD(eps=PARAMETERS[self.name, "fgsm"]["eps"], steps=self.scale.adaptive_steps, seed=self.seed)
        for threat in (Oblivious(), Adaptive()):
            cell = Cell(data, guard, Attempt(engine, threat))

            def count(cell: Cell = cell) -> dict[str, Any]:
                return measure_cell(cell, guard(data.x), lambda note: None)

            blank = {"threat_model": threat.name}
            self.record(
                "adaptive", self.do(f"guarded-{threat.name}", f"guarded {threat.name}", cell.key(), count, blank=blank)
            )

    # Pictures.

    def picture(
        self, name: str, strength: str, test: AttackedImages, classifier: Classifier, repository: Repository
    ) -> None:
        """Keep a few images that were right and are fooled: clean, attacked, and reformed by one member."""
        data = self.dealt.drawn
        wrong = (~test.right).nonzero()[: 20 * PICTURES, 0]
        rows = wrong[attacks.is_right(classifier, data.x[wrong], data.y[wrong])][:PICTURES]
        if not len(rows):
            return
        with torch.no_grad():
            reformed = repository.reconstruct(len(repository) // 2, test.x[rows])
        shown = {"clean": data.x[rows], "attacked": test.x[rows], "reformed": reformed}
        title = f"picture|{self.name}-{name}-{strength}"
        self.arrays |= {f"{title}|{what}": x.cpu() for what, x in shown.items()}
        answers = torch.stack([classifier.predict(x).argmax(1) for x in shown.values()])
        self.arrays[f"{title}|answers"] = answers.cpu()

    # Bookkeeping.

    def do(
        self,
        name: str,
        kind: str,
        key: Any,
        work: Callable[[], dict[str, Any]],
        *,
        blank: dict[str, Any] | None = None,
        always: bool = False,
    ) -> dict[str, Any]:
        """Do a step of this set of data, and remember why one is not run."""
        content = self.steps.do(f"{self.name}-{name}", f"{self.name} {kind}", key, work, blank=blank, always=always)
        if content["status"] != "done":
            self.reason = content["reason"]
        return content

    def record(self, kind: str, content: dict[str, Any]) -> None:
        """Keep a record of this set of data."""
        self.records[kind].append({"dataset": self.name, **content})

    def absent(self, attack: str, reason: str, strength: str = AS_PRINTED) -> None:
        """Say why there is nothing of an attack."""
        for each in CONFIGURATIONS:
            row = {"attack": attack, "strength": strength, "configuration": each}
            self.record("rows", {**row, "status": "not run", "reason": reason})


def _to(data: Dataset, device: str) -> Dataset:
    return replace(data, x=data.x.to(device), y=data.y.to(device))


def _parameters(engine: Attack) -> dict[str, Any]:
    """What of an attack's options Table 1 speaks of."""
    names = ("eps", "step_size", "steps", "overshoot", "confidence", "searches")
    return {name: value for name in names if (value := getattr(engine, name, None)) is not None}
