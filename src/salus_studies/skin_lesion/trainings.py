"""The classifiers of one network: trained into folders, resumed, read again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from salus.attacks import Attack
from salus.attacks.poisoning import LabelFlips
from salus.classifier import Classifier
from salus.data import Dataset, Splits
from salus.hardening import retrain
from salus.hardening.label_cleaning import ConfidentLearning, LabelFinds, without
from salus.hardening.label_judgement import judge
from salus.progress import console
from salus.storage import TrainingFolder, digest
from salus.storage.trainings import Train
from salus.training import Recipe, TrainingOptions, fit_classifier
from salus_studies.frame.step import Training
from salus_studies.frame.steps import Steps
from salus_studies.skin_lesion import published
from salus_studies.skin_lesion.scales import LesionScale


class Trainings:
    """Every training of one network, each a step.

    Args:
        network: a key of ``published.NETWORKS``.
        splits: the images.
        scale: how much is done.
        steps: where steps are stored.
        seed: of every draw.
        device: where to train.
    """

    def __init__(
        self, network: str, splits: Splits, scale: LesionScale, steps: Steps, *, seed: int, device: str
    ) -> None:
        self.network, self.splits, self.scale, self.steps = network, splits, scale, steps
        self.seed, self.device = seed, device
        self.spec = scale.networks[network]
        self.folder = steps.folder / "models" / network
        self.records: list[dict[str, Any]] = []
        self.reason = "not reached"

    def plain(self) -> Classifier | None:
        """Train the classifier that is attacked."""
        return self._classifier("plain", self.splits.train, self.spec.training, self.scale.recipe)

    def dealt_by_image(self, splits: Splits) -> None:
        """Train the same on the thesis's split, where lesions stand on both sides, and say how it does there."""
        self._classifier("plain-by-image", splits.train, self.spec.training, self.scale.recipe, splits=splits)

    def poisoned(self, share: float) -> tuple[Classifier | None, Dataset]:
        """Train on labels of which a share of one class's was flipped; returns the poisoned data too."""
        data = self._flipped(share)
        return self._classifier(f"poisoned-{share:g}", data, self.spec.training, self.scale.recipe), data

    def _flipped(self, share: float) -> Dataset:
        flips = LabelFlips(
            share=share, source=published.POISONED_SOURCE, target=published.POISONED_TARGET, seed=self.seed
        )
        return flips(self.splits.train)

    def cleaned(self, share: float, poisoned: Dataset) -> tuple[Classifier | None, dict[str, Any]]:
        """Look for wrong labels, drop them, and train on the rest; returns what was found too."""
        search = ConfidentLearning(folds=self.scale.folds, seed=self.seed)
        name = f"cleaned-{share:g}"

        def find() -> dict[str, Any]:
            finds = search.find(
                poisoned,
                self.splits.validation,
                self.network,
                replace(self.spec.training, seed=self.seed),
                model_options=dict(self.spec.options),
                folder=self.folder / name / "folds",
                device=self.device,
                log=console.print,
            )
            facts: dict[str, Any] = {"share": share, "flagged": finds.flags.nonzero()[:, 0].tolist()}
            if (judgement := judge(finds, poisoned)) is not None:
                recall, precision = judgement.recall.named("recall"), judgement.precision.named("precision")
                facts |= {"flipped": judgement.flipped, **recall, **precision}
            return facts

        key = [self._key(poisoned, self.spec.training, self.scale.recipe), search.settings()]
        record = self.steps.do(f"{self.network}-finds-{share:g}", f"{self.network} finding labels", key, find)
        if record["status"] != "done":
            self.reason = record["reason"]
            return None, record
        kept = without(poisoned, _finds(record["flagged"], poisoned, search.name))
        return self._classifier(name, kept, self.spec.training, self.scale.recipe), record

    def retrained(self, name: str, attack: Attack, plain: Classifier) -> Classifier | None:
        """Retrain the plain classifier in rounds on copies made by an attack."""
        rounds = replace(self.scale.rounds, seed=self.seed)

        def train(checkpoint: Path) -> tuple[Classifier, dict[str, Any]]:
            folder = checkpoint.parent / "rounds"
            classifier, history = retrain(
                plain, self.splits, attack, rounds, folder=folder, device=self.device, log=console.print
            )
            return classifier, {"parameters": _parameters(classifier), "rounds": history}

        key = [plain.fingerprint(), attack.name, asdict(attack), asdict(rounds), self._prints(self.splits.train)]
        return self._once(f"retrained-{name}", f"retraining {name}", key, train)

    def hardened(self) -> Classifier | None:
        """Train the model that is to hold."""
        hardened = self.scale.hardened
        return self._classifier("hardened", self.splits.train, hardened.training, hardened.recipe)

    def _classifier(
        self, name: str, data: Dataset, training: TrainingOptions, recipe: Recipe, *, splits: Splits | None = None
    ) -> Classifier | None:
        """Train the network on some data from the start."""
        return self._took(self._planned(name, data, training, recipe, splits=splits))

    def _planned(
        self, name: str, data: Dataset, training: TrainingOptions, recipe: Recipe, *, splits: Splits | None = None
    ) -> Training:
        """Say what a training on some data from the start is."""
        splits = splits or self.splits
        kind = f"training {name.partition('-')[0]}"
        return Training(
            name=f"{self.network}-model-{name}",
            kind=f"{self.network} {kind}",
            key=self._key(data, training, recipe),
            place=TrainingFolder(self.folder / name, f"classifier {name}"),
            function=train_network,
            arguments=(
                (self.network, dict(self.spec.options)),
                data,
                splits.validation,
                splits.test,
                replace(training, seed=self.seed),
                recipe,
                self.device,
            ),
            blank={"network": self.network, "model": name},
        )

    def together(self, poisoned: Sequence[float], *, hardened: bool) -> None:
        """Train side by side what needs nothing of the others; each is read where its turn comes."""
        planned = [self._planned("plain", self.splits.train, self.spec.training, self.scale.recipe)]
        if hardened:
            way = self.scale.hardened
            planned.append(self._planned("hardened", self.splits.train, way.training, way.recipe))
        for share in poisoned:
            planned.append(
                self._planned(f"poisoned-{share:g}", self._flipped(share), self.spec.training, self.scale.recipe)
            )
        self.steps.train_all(planned)

    def _took(self, training: Training) -> Classifier | None:
        """Train, or read, one classifier; None where the time does not allow it."""
        classifier, record = self.steps.train_all([training])[0]
        return self._kept(classifier, record)

    def _kept(self, classifier: Classifier | None, record: dict[str, Any]) -> Classifier | None:
        self.records.append(record)
        if classifier is None:
            self.reason = record["reason"]
            return None
        return classifier.to(self.device)

    def _once(self, name: str, kind: str, key: Any, train: Train) -> Classifier | None:
        """Make a classifier once, into a folder; None where the time does not allow it."""
        place = TrainingFolder(self.folder / name, f"classifier {name}")
        blank = {"network": self.network, "model": name}
        classifier, record = self.steps.train(
            f"{self.network}-model-{name}", f"{self.network} {kind}", key, place, train, blank=blank
        )
        return self._kept(classifier, record)

    def _key(self, data: Dataset, training: TrainingOptions, recipe: Recipe) -> list[Any]:
        options = dict(self.spec.options)
        return [self.network, options, asdict(training), recipe.describe(), self.seed, self._prints(data)]

    def _prints(self, data: Dataset) -> str:
        return digest([data.fingerprint(), self.splits.validation.fingerprint()])


def train_network(
    checkpoint: Path,
    network: tuple[str, dict[str, Any]],
    data: Dataset,
    validation: Dataset,
    test: Dataset,
    training: TrainingOptions,
    recipe: Recipe,
    device: str,
) -> tuple[Classifier, dict[str, Any]]:
    """Train a network from the start.

    Args:
        checkpoint: what it goes on from.
        network: its name and its options.
        data: what it learns from.
        validation: decides when to stop.
        test: what its accuracy is told on.
        training: how.
        recipe: what each step lowers.
        device: where.
    """
    name, options = network
    classifier, history = fit_classifier(
        name,
        data,
        validation,
        training,
        model_options=options,
        recipe=recipe,
        checkpoint=checkpoint,
        device=device,
        log=console.print,
    )
    best = history.epochs[history.best - 1]
    return classifier, {
        "parameters": _parameters(classifier),
        "epochs": len(history.epochs),
        "best": history.best,
        "images": len(data),
        "validation_accuracy": best.accuracy,
        "validation_macro_recall": best.macro_recall,
        "test_accuracy": _accuracy(classifier, test),
        "seconds_training": round(sum(epoch.seconds for epoch in history.epochs), 1),
    }


def _finds(flagged: list[int], data: Dataset, method: str) -> LabelFinds:
    """Tell again which labels were flagged, from what a step stored."""
    flags = torch.zeros(len(data), dtype=torch.bool)
    flags[flagged] = True
    return LabelFinds(flags, data.y, data.y.double(), method)


def _parameters(classifier: Classifier) -> int:
    return sum(weight.numel() for weight in classifier.parameters())


def _accuracy(classifier: Classifier, data: Dataset) -> float:
    return float((classifier.predict(data.x).argmax(1) == data.y).double().mean())
