"""The experiments on one network, step by step, each stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from salus.attacks import UAP, Perturbation
from salus.audit.cell import Attempt, Cell
from salus.classifier import Classifier
from salus.data import Dataset, Splits
from salus.errors import BundleError
from salus.guard import Guard
from salus.metrics import thesis_figures
from salus.progress import progress
from salus.storage import digest
from salus.threats import THREAT_MODELS, StandIn
from salus.threats.models import Transfer
from salus_studies.frame.step import Step
from salus_studies.frame.steps import Steps
from salus_studies.skin_lesion import cells, counting, poisoning, published
from salus_studies.skin_lesion.cells import COPY, Case
from salus_studies.skin_lesion.counting import Aimed
from salus_studies.skin_lesion.resolution import Load, at_sizes, unasked
from salus_studies.skin_lesion.scales import LesionScale
from salus_studies.skin_lesion.thresholds import under_thresholds
from salus_studies.skin_lesion.trainings import Trainings

#: A universal perturbation is large enough for the tables once it changes this share of the answers.
FOOLING = 0.6

KINDS = ("classifiers", "cells", "poisoning", "sweep", "thresholds", "resolution")


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
        self.device, self.main = device, network == scale.main
        self.test = counting.moved(splits.test, device)
        self.validation = counting.moved(splits.validation, device)
        self.trainings = Trainings(network, splits, scale, steps, seed=seed, device=device)
        self.records: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
        self.records["classifiers"] = self.trainings.records
        self.arrays: dict[str, Tensor] = {}
        self.reason = "not reached"

    def run(self, load: Load, *, by_image: bool) -> dict[str, list[dict[str, Any]]]:
        """Do all that there is time for.

        Args:
            load: gives images at other sizes, and dealt otherwise.
            by_image: whether the plain training is also done on images dealt as the thesis deals them, where these
                are dealt by lesion.
        """
        todo = cells.cases(self.scale, main=self.main)
        with progress(f"skin lesions, {published.NETWORKS[self.network]}", len(todo) + 5) as advance:
            self.steps.part = "networks"
            advance(0, note="training")
            if self.steps.engine is not None:
                self.trainings.together()
            plain = self.trainings.plain()
            advance(1, note="curve of UAP")
            eps = self.sweep(plain) if plain is not None else None
            advance(1, note="further trainings")
            models = {"plain": plain} | self.hard(plain, eps)
            advance(1, note="attacks")
            for part in ("tables", "knows", "webp", "defences"):
                self.steps.part = part
                self.cells([case for case in todo if case.part == part], models, eps)
            if by_image:
                self.dealt_by_image(load)
            advance(len(todo), note="thresholds")
            if self.main:
                for name in ("plain", "hardened"):
                    self.thresholds(name, models.get(name))
            advance(1, note="poisoning")
            self.poisoning()
            advance(1, note="resolution")
            if self.main:
                at_sizes(self, plain, load, "lesions" if by_image else "images")
        return self.records

    # What is trained.

    def hard(self, plain: Classifier | None, eps: float | None) -> dict[str, Classifier | None]:
        """Retrain against both attacks and against none, and train what else is to hold."""
        models: dict[str, Classifier | None] = dict.fromkeys(("retrained-clean", "retrained-fgsm", "retrained-uap"))
        if plain is not None:
            models["retrained-clean"] = self.trainings.retrained("clean", None, plain)
            for attack in ("fgsm", "uap"):
                case = Case(f"retrained-{attack}", None, attack, COPY)
                engine = None if eps is None else cells.engine(case, self.scale, eps, self.seed)
                if engine is None:
                    continue
                if isinstance(engine, UAP):
                    engine = replace(engine, epochs=self.scale.uap_round_epochs)
                models[case.model] = self.trainings.retrained(attack, engine, plain)
        if self.main:
            models["hardened"] = self.trainings.hardened()
            self.steps.part = "defences"
            models["distilled"] = self.trainings.distilled()
            models["regularised"] = self.trainings.regularised()
        return models

    def dealt_by_image(self, load: Load) -> None:
        """Train the plain classifier on images dealt as the thesis deals them."""
        name = "plain-by-image"
        self.steps.part = "resolution"
        if self.steps.worth_preparing("resolution", f"{self.network}-model-{name}"):
            self.trainings.dealt_by_image(load(self.scale.networks[self.network].size, "images"))
        else:
            self.record("classifiers", {"model": name, **unasked("resolution")})

    def poisoning(self) -> None:
        """Flip labels, train last layers and the whole network, and look for the flips."""
        self.steps.part = "poisoning"
        place = self.steps.folder / "features" / f"{self.network}.safetensors"
        spec = self.scale.networks[self.network]
        key = [spec.architecture, dict(spec.options), *(part.fingerprint() for _, part in self.splits)]
        if not place.exists():
            self.steps.forget(f"{self.network}-features")
        state = self.steps.do(
            f"{self.network}-features",
            f"{self.network} features",
            key,
            lambda: poisoning.compute_features(place, self.splits, spec, self.device),
        )
        draws = [(0.0, 0), *((share, seed) for share in self.scale.poisoned for seed in range(self.scale.poison_seeds))]
        heads = poisoning.Heads.read(place, self.splits) if state["status"] == "done" else None
        for share, seed in draws:
            content = state
            if heads is not None:
                content = self.steps.do(
                    f"{self.network}-heads-{share:g}-{seed}",
                    f"{self.network} last layers",
                    [key, share, seed, self.scale.folds],
                    partial(poisoning.trained_and_cleaned, heads, share, seed, self.scale.folds),
                )
            self.records["poisoning"] += poisoning.flat(self.network, share, seed, content)
        if self.main:
            for share in self.scale.poisoned_whole:
                classifier = self.trainings.poisoned(share)
                record = {"share": share, "seed": self.seed, "way": "network", "labels": "poisoned"}
                self.record("poisoning", {**record, "weighting": "none", **self.answered(share, classifier)})

    def answered(self, share: float, classifier: Classifier | None) -> dict[str, Any]:
        """Say what a poisoned network answers to clean test images."""
        if classifier is None:
            return self.missing()

        def work() -> dict[str, Any]:
            answers = classifier.predict(self.test.x).argmax(1).cpu().numpy()
            return dict(poisoning.told(answers, self.test))

        name = f"{self.network}-poisoned-{share:g}-answers"
        return self.steps.do(name, "answers", [classifier.fingerprint(), self.test.fingerprint()], work)

    # What is attacked.

    def sweep(self, plain: Classifier) -> float | None:
        """Fit universal perturbations of growing eps; returns the smallest that fools enough, or the largest.

        None where the time ended before one fooled enough: what is made by a smaller one would be made again later.
        """
        fit, chosen, last = self.fit, None, None
        for eps in self.scale.uap_eps:
            path = self.steps.folder / "perturbations" / f"{self.network}-{255 * eps:g}.safetensors"
            engine = cells.universal(eps, self.scale, self.seed)

            def find(engine: UAP = engine, path: Path = path) -> dict[str, Any]:
                perturbation = engine.fit(plain, fit.x, fit.y)
                perturbation.save(path)
                return {"eps": engine.eps, "fitted": perturbation.fooling_rate, **self.under(plain, perturbation)}

            name = f"{self.network}-uap-{255 * eps:g}"
            if _load(path) is None:
                self.steps.forget(name)
            key = [plain.fingerprint(), asdict(engine), digest(fit.fingerprint()), self.validation.fingerprint()]
            record = self.steps.do(
                name, f"{self.network} curve", [*key, self.test.fingerprint()], find, blank={"eps": eps}
            )
            if record["status"] != "done":
                self.reason = record["reason"]
                self.record("sweep", record)
                last = None
                continue
            enough = chosen is None and record["fooling_rate"] >= FOOLING
            chosen, last = (eps if enough else chosen), eps
            self.record("sweep", {**record, "chosen": enough})
        drawn = chosen or last
        if drawn is not None:
            path = self.steps.folder / "perturbations" / f"{self.network}-{255 * drawn:g}.safetensors"
            perturbation = _load(path)
            if perturbation is not None:
                self.arrays[f"perturbation|{self.network}"] = perturbation.delta
        return drawn

    def under(self, plain: Classifier, perturbation: Perturbation) -> dict[str, Any]:
        """Say what one perturbation does: to validation images, which choose, and to test images, which tell."""
        before, after = (plain.predict(x).argmax(1) for x in (self.validation.x, perturbation(self.validation.x)))
        answers = plain.predict(perturbation(self.test.x)).argmax(1)
        figures = thesis_figures(self.test.y, answers, self.test.classes, published.POSITIVE, groups=self.test.groups)
        return {
            "fooling_rate": float((after != before).double().mean()),
            "error_rate": float((after != self.validation.y).double().mean()),
            **{name: figures[name] for name in ("accuracy", "macro_recall")},
            "fnr": figures["health"]["medical"]["fnr"],
            "answered": torch.bincount(answers, minlength=len(self.test.classes)).tolist(),
            "images": self.scale.uap_images or len(self.splits.train),
        }

    @property
    def fit(self) -> Dataset:
        """The training images that universal perturbations are fitted to."""
        rows = counting.drawn_rows(self.splits.train, self.scale.uap_images, self.seed)
        return counting.moved(counting.taken(self.splits.train, rows), self.device)

    def fit_of(self, case: Case) -> Dataset | None:
        """The training images that a case's perturbation is fitted to; None where it has none."""
        if not case.attack.startswith("uap"):
            return None
        if case.attack == "uap-art":
            rows = counting.drawn_rows(self.splits.train, self.scale.art_images, self.seed)
            return counting.moved(counting.taken(self.splits.train, rows), self.device)
        if case.attack not in ("uap-benign", "uap-malignant"):
            return self.fit
        train = self.splits.train
        ill = torch.isin(train.y, torch.tensor(counting.ill_classes(train)))
        side = train.subset((ill if case.attack == "uap-benign" else ~ill).nonzero()[:, 0])
        rows = counting.drawn_rows(side, self.scale.uap_images, self.seed)
        return counting.moved(counting.taken(side, rows), self.device)

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
        drawn = (case.model, case.purifier) == ("plain", None) and case.attack in ("fgsm", "uap", "pgd-harm")
        return self.steps.folder / "pictures" / f"{self.network}-{case.name}.safetensors" if drawn else None

    def cell(self, case: Case, models: Mapping[str, Classifier | None], eps: float | None) -> Step | None:
        """Say what one cell is; None where what it needs was not trained."""
        model, plain = models.get(case.model), models["plain"]
        if model is None or plain is None or (case.attack.startswith("uap") and eps is None):
            return None
        guard = Guard(model, purifier=cells.purifier(case, model, self.scale), name=case.name)
        attack = cells.engine(case, self.scale, eps or 0.0, self.seed)
        rows = counting.drawn_rows(self.test, cells.images(case, self.scale), self.seed)
        if case.attack == "auto-attack":
            rows = counting.even_rows(self.test, self.scale.even, self.seed)
        data, fit = counting.taken(self.test, rows), self.fit_of(case)
        if case.own and attack is not None:
            name = "pgd" if case.attack == "pgd" else case.attack
            counted: Cell | Aimed = Aimed(data, guard, attack, name, fit, self.scale.copies)
            fitted = None if fit is None else fit.fingerprint()
            own = [case.attack, guard.fingerprint(), data.fingerprint(), asdict(attack), fitted, self.scale.copies]
            return self.step(case.name, counted, rows, own, self.shown(case))
        attempt = None
        if attack is not None and case.threat_model is not None:
            stand_in = StandIn(plain, self.splits.train, {})
            threat = Transfer(stand_in) if case.threat_model == Transfer.name else THREAT_MODELS[case.threat_model]()
            attempt = Attempt(attack, threat, fit=fit)
        cell = Cell(data, guard, attempt)
        return self.step(case.name, cell, rows, [cell.key()], self.shown(case))

    def step(
        self, name: str, cell: Cell | Aimed, rows: Sequence[int] | None, key: list[Any], shown: Path | None = None
    ) -> Step:
        """Say how a cell is computed, and the thesis's figures of its answers; ``shown`` keeps images to be drawn."""
        title = f"{self.network}-{name}"
        if shown is not None and not shown.exists():
            self.steps.forget(title)
        return Step(
            name=title,
            kind=f"{self.network} {name}",
            key=[*key, sorted(published.POSITIVE)],
            function=counting.count if shown is None else counting.count_and_show,
            arguments=(cell, rows) if shown is None else (shown.name, cell, rows),
            fills=None if shown is None else shown.parent,
        )

    def counted(self, content: dict[str, Any], shown: Path | None, attack: str) -> dict[str, Any]:
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
        self.steps.part = "defences"
        if classifier is None:
            self.record("thresholds", {"model": name, **self.missing()})
            return
        settings: dict[str, Any] = {
            "eps": published.FGSM_EPS,
            "steps": self.scale.steps,
            "restarts": min(self.scale.restarts, 2),
            "seed": self.seed,
        }

        def work() -> dict[str, Any]:
            ill = published.POSITIVE["medical"]
            return under_thresholds(classifier, self.validation, self.test, ill, **settings)

        key = [classifier.fingerprint(), self.test.fingerprint(), self.validation.fingerprint(), settings]
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


def _load(path: Path) -> Perturbation | None:
    try:
        return Perturbation.load(path)
    except BundleError:
        return None
