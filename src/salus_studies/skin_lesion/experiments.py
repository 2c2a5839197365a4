"""The experiments on one network, step by step, each stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from salus import atomic
from salus.attacks import UAP, Perturbation
from salus.audit.cell import Attempt, Cell
from salus.audit.measure import measure_cell
from salus.classifier import Classifier
from salus.data import Dataset, Splits
from salus.errors import BundleError
from salus.guard import Guard
from salus.metrics import thesis_figures
from salus.progress import progress
from salus.purifiers import LowLevel
from salus.storage import digest
from salus.threats import THREAT_MODELS, StandIn
from salus.threats.models import Transfer
from salus_studies.frame.step import Step
from salus_studies.frame.steps import Steps
from salus_studies.skin_lesion import cells, published
from salus_studies.skin_lesion.cells import COPY, PURIFIERS, Case
from salus_studies.skin_lesion.scales import LesionScale
from salus_studies.skin_lesion.thresholds import under_thresholds
from salus_studies.skin_lesion.trainings import Trainings

#: A universal perturbation is large enough once it changes this share of the answers on validation images.
FOOLING = 0.6

#: Images of each attack that are drawn on the page.
PICTURES = 3

_KINDS = ("classifiers", "cells", "poisoning", "sweep", "thresholds")


class LesionExperiments:
    """The experiments on one network.

    Args:
        network: a key of ``published.NETWORKS``.
        splits: its images.
        scale: how much is done.
        steps: where steps are stored.
        seed: of every draw.
        device: where to train and attack.
    """

    def __init__(
        self, network: str, splits: Splits, scale: LesionScale, steps: Steps, *, seed: int, device: str
    ) -> None:
        self.network, self.splits, self.scale, self.steps, self.seed = network, splits, scale, steps, seed
        self.test = _to(splits.test, device)
        self.validation = _to(splits.validation, device)
        self.trainings = Trainings(network, splits, scale, steps, seed=seed, device=device)
        self.records: dict[str, list[dict[str, Any]]] = {kind: [] for kind in _KINDS}
        self.records["classifiers"] = self.trainings.records
        self.arrays: dict[str, Tensor] = {}
        self.reason = "not reached"

    def run(self, by_image: Splits | None) -> dict[str, list[dict[str, Any]]]:
        """Do all that there is time for.

        Args:
            by_image: the same images dealt as the thesis deals them, where these are not; None for nothing of it.
        """
        hardened = self.scale.hardened.network == self.network
        todo = cells.cases(hardened=hardened)
        count = len(todo) + len(self.scale.poisoned) + len(self.scale.cleaned) + 5
        with progress(f"skin lesions, {published.NETWORKS[self.network]}", count) as advance:
            advance(0, note="training")
            if self.steps.engine is not None:
                self.trainings.together(self.scale.poisoned, hardened=hardened)
            plain = self.trainings.plain()
            advance(1, note="sweep of UAP")
            eps = self.sweep(plain) if plain is not None else None
            advance(1, note="retraining")
            models = {"plain": plain} | self.hard(plain, eps)
            advance(1)
            advance(0, note="attacks")
            self.cells(todo, models, eps)
            advance(len(todo))
            if hardened:
                for name in ("plain", "hardened"):
                    self.thresholds(name, models.get(name))
            advance(1)
            self.poisoning(advance)
            if by_image is not None:
                self.trainings.dealt_by_image(by_image)
            advance(1)
        return self.records

    # What is trained.

    def hard(self, plain: Classifier | None, eps: float | None) -> dict[str, Classifier | None]:
        """Retrain against both attacks, and train the hardened model."""
        models: dict[str, Classifier | None] = {}
        for attack in ("fgsm", "uap"):
            name = f"retrained-{attack}"
            engine = None if eps is None else cells.engine(Case(name, None, attack, COPY), self.scale, eps, self.seed)
            if plain is None or engine is None:
                models[name] = None
                continue
            if isinstance(engine, UAP):
                engine = replace(engine, epochs=self.scale.uap_epochs)
            models[name] = self.trainings.retrained(attack, engine, plain)
        if self.scale.hardened.network == self.network:
            models["hardened"] = self.trainings.hardened()
        return models

    def poisoning(self, advance: Callable[..., None]) -> None:
        """Flip labels, train, and judge on clean test images; then look for the flipped ones."""
        for share in self.scale.poisoned:
            advance(0, note=f"{share:.0%} poisoned")
            classifier, data = self.trainings.poisoned(share)
            self.record(
                "poisoning", {"share": share, "model": "poisoned", **self.judged(f"poisoned-{share:g}", classifier)}
            )
            advance(1)
            if share not in self.scale.cleaned or self.network != "resnet50":
                continue
            cleaned, finds = self.trainings.cleaned(share, data)
            facts = {name: value for name, value in finds.items() if name not in ("flagged", "seconds")}
            if "flagged" in finds:
                facts["flagged"] = len(finds["flagged"])
            record = self.judged(f"cleaned-{share:g}", cleaned)
            self.record("poisoning", {"share": share, "model": "cleaned", **facts, **record})
            advance(1)

    def judged(self, name: str, classifier: Classifier | None) -> dict[str, Any]:
        """Count what a classifier answers to clean test images."""
        if classifier is None:
            return self.missing()
        step = self.counting(name, Cell(self.test, Guard(classifier, name=name)))
        return self.counted(self.steps.do_all([step])[0])

    # What is attacked.

    def sweep(self, plain: Classifier) -> float | None:
        """Fit universal perturbations of growing eps; returns the smallest that fools enough, or the largest."""
        fit = self.fit
        before = plain.predict(self.validation.x).argmax(1)
        chosen = None
        for eps in self.scale.uap_eps:
            path = self.steps.folder / "perturbations" / f"{self.network}-{255 * eps:g}.safetensors"
            engine = cells.universal(eps, self.seed)

            def find(engine: UAP = engine, path: Path = path) -> dict[str, Any]:
                perturbation = engine.fit(plain, fit.x, fit.y)
                perturbation.save(path)
                after = plain.predict(perturbation(self.validation.x)).argmax(1)
                return {
                    "eps": engine.eps,
                    "fooling_rate": float((after != before).double().mean()),
                    "error_rate": float((after != self.validation.y).double().mean()),
                    "fitted": perturbation.fooling_rate,
                    "images": len(fit),
                }

            name = f"{self.network}-uap-{255 * eps:g}"
            if _load(path) is None:
                self.steps.forget(name)
            key = [plain.fingerprint(), asdict(engine), digest(fit.fingerprint()), self.validation.fingerprint()]
            record = self.steps.do(name, f"{self.network} sweep", key, find, blank={"eps": eps})
            if record["status"] != "done":
                self.reason = record["reason"]
                self.record("sweep", record)
                break
            chosen = eps
            enough = record["fooling_rate"] >= FOOLING
            self.record("sweep", {**record, "chosen": enough})
            if enough:
                break
        if chosen is not None and (perturbation := _load(path)) is not None:
            self.arrays[f"perturbation|{self.network}"] = perturbation.delta
        return chosen

    @property
    def fit(self) -> Dataset:
        """The training images that universal perturbations are fitted to."""
        return _to(drawn(self.splits.train, self.scale.uap_images, self.seed), str(self.test.x.device))

    def cells(self, todo: Sequence[Case], models: Mapping[str, Classifier | None], eps: float | None) -> None:
        """Attack, judge and count cells, or read what they came to."""
        steps = {case.name: self.cell(case, models, eps) for case in todo}
        known = [step for step in steps.values() if step is not None]
        contents = dict(zip((step.name for step in known), self.steps.do_all(known), strict=True))
        for case in todo:
            step = steps[case.name]
            found = self.missing() if step is None else self.counted(contents[step.name], self.shown(case), case.attack)
            self.record("cells", {**case.record(), **found})

    def shown(self, case: Case) -> Path | None:
        """Name the file of a few of a case's images that are drawn; None for most."""
        drawn = (case.model, case.purifier) == ("plain", None) and case.attack in ("fgsm", "uap", "pgd")
        return self.steps.folder / "pictures" / f"{self.network}-{case.name}.safetensors" if drawn else None

    def cell(self, case: Case, models: Mapping[str, Classifier | None], eps: float | None) -> Step | None:
        """Say what one cell is; None where what it needs was not trained."""
        model, plain = models.get(case.model), models["plain"]
        if model is None or plain is None or (case.attack == "uap" and eps is None):
            return None
        purifier = None if case.purifier is None else LowLevel(bounds=model.bounds, **PURIFIERS[case.purifier])
        cell = Cell(
            drawn(self.test, cells.images(case, self.scale), self.seed),
            Guard(model, purifier=purifier, name=case.name),
            self.attempt(case, plain, eps or 0.0),
        )
        return self.counting(case.name, cell, self.shown(case))

    def attempt(self, case: Case, plain: Classifier, eps: float) -> Attempt | None:
        """Say how a case's images are attacked; None where they are not. Copies are attacked on the plain model."""
        attack = cells.engine(case, self.scale, eps, self.seed)
        fit = self.fit if case.attack == "uap" else None
        if attack is None or case.threat_model is None:
            return None
        stand_in = StandIn(plain, self.splits.train, {})
        threat = Transfer(stand_in) if case.threat_model == Transfer.name else THREAT_MODELS[case.threat_model]()
        return Attempt(attack, threat, fit=fit)

    def counting(self, name: str, cell: Cell, shown: Path | None = None) -> Step:
        """Say how a cell is computed, and the thesis's figures of its answers; ``shown`` keeps images to be drawn."""
        title = f"{self.network}-{name}"
        if shown is not None and not shown.exists():
            self.steps.forget(title)
        attack = "clean None" if cell.attempt is None else f"{cell.attempt.attack.name} {cell.attempt.threat.name}"
        return Step(
            name=title,
            kind=f"{self.network} {attack}",
            key=[cell.key(), sorted(published.POSITIVE)],
            function=count if shown is None else count_and_show,
            arguments=(cell,) if shown is None else (shown.name, cell),
            fills=None if shown is None else shown.parent,
        )

    def counted(self, content: dict[str, Any], shown: Path | None = None, attack: str | None = None) -> dict[str, Any]:
        """Take what a cell came to, and the images that are drawn of its attack."""
        if content["status"] != "done":
            self.reason = content["reason"]
        elif shown is not None:
            self.arrays |= {
                f"picture|{self.network}-{attack}|{key}": value
                for key, value in load_safetensors(shown.read_bytes()).items()
            }
        return content

    def thresholds(self, name: str, classifier: Classifier | None) -> None:
        """Attack a model's answer "malignant or not" at thresholds chosen on validation images."""
        if classifier is None:
            self.record("thresholds", {"model": name, **self.missing()})
            return

        def work() -> dict[str, Any]:
            return under_thresholds(
                classifier,
                self.validation,
                self.test,
                published.POSITIVE["medical"],
                eps=published.FGSM_EPS,
                steps=self.scale.steps,
                restarts=self.scale.restarts,
                seed=self.seed,
            )

        key = [
            classifier.fingerprint(),
            self.test.fingerprint(),
            self.validation.fingerprint(),
            self.scale.steps,
            self.scale.restarts,
            self.seed,
        ]
        record = self.steps.do(f"{self.network}-{name}-thresholds", f"{self.network} {name} thresholds", key, work)
        self.record("thresholds", {"model": name, **record})

    # Bookkeeping.

    def record(self, kind: str, content: dict[str, Any]) -> None:
        """Keep a record of this network."""
        self.records[kind].append({"network": self.network, **content})

    def missing(self) -> dict[str, Any]:
        """Say why there is nothing."""
        reason = self.trainings.reason if self.trainings.reason != "not reached" else self.reason
        return {"status": "not run", "reason": reason}


def count(cell: Cell) -> dict[str, Any]:
    """Compute a cell, and the thesis's figures of its answers."""
    return _count(cell)[0]


def count_and_show(folder: Path, name: str, cell: Cell) -> dict[str, Any]:
    """Do the same, and keep a few of its images in a file of the folder."""
    content, parts, before = _count(cell)
    x_adv, after = (torch.cat([part[key] for part in parts]) for key in ("x_adv", "label"))
    _write_pictures(folder / name, cell.data, x_adv, before, after)
    return content


def _count(cell: Cell) -> tuple[dict[str, Any], list[dict[str, Tensor]], Tensor]:
    """Compute a cell; give what is kept of it, its rows, and the answers before the attack."""
    data, clean = cell.data, cell.guard(cell.data.x)
    parts: list[dict[str, Tensor]] = []
    record = measure_cell(cell, clean, lambda rows: parts.append(dict(rows)))
    figures = thesis_figures(
        data.y,
        torch.cat([part["label"] for part in parts]),
        data.classes,
        published.POSITIVE,
        clean_labels=None if cell.attempt is None else clean.answers,
        groups=data.groups,
    )
    kept = ("robust_accuracy", "attack_success_rate", "eps", "queries", "passes", "distance_median", "variants")
    content = {"figures": figures, **{name: record.get(name) for name in kept}, "n": len(data)}
    return content, parts, clean.answers


def drawn(data: Dataset, most: int | None, seed: int) -> Dataset:
    """Draw so many images at natural prevalence, or take all; tables list images class by class."""
    if most is None or most >= len(data):
        return data
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    return data.subset(order[:most].sort().values)


def _to(data: Dataset, device: str) -> Dataset:
    return data if device == "cpu" else replace(data, x=data.x.to(device), y=data.y.to(device))


def _load(path: Path) -> Perturbation | None:
    try:
        return Perturbation.load(path)
    except BundleError:
        return None


def _write_pictures(path: Path, data: Dataset, x_adv: Tensor, before: Tensor, after: Tensor) -> None:
    """Keep malignant images that were found and are missed, then others that were right and are wrong."""
    ill = torch.tensor([data.classes.index(name) for name in published.POSITIVE["medical"]], device=data.y.device)
    fooled = (before == data.y) & (after != data.y)
    missed = fooled & torch.isin(data.y, ill) & ~torch.isin(after, ill)
    rows = torch.cat([missed.nonzero()[:, 0], (fooled & ~missed).nonzero()[:, 0]])[:PICTURES]
    kept = {
        "clean": data.x[rows],
        "attacked": x_adv[rows],
        "y": data.y[rows],
        "before": before[rows],
        "after": after[rows],
    }
    atomic.write_tensors(path, {name: value.cpu().contiguous() for name, value in kept.items()})
