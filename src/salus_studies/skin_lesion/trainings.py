"""The classifiers of one network: trained into folders, resumed, read again."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from salus.attacks import Attack
from salus.attacks.poisoning import LabelFlips
from salus.classifier import Classifier
from salus.data import Dataset, Splits
from salus.hardening import AtTemperature, GradientRegularisation, retrain
from salus.progress import console
from salus.storage import TrainingFolder, digest
from salus.storage.trainings import Train
from salus.training import FlipsAndShifts, Recipe, TrainingOptions, fit_classifier
from salus_studies.frame.step import Training
from salus_studies.frame.steps import Steps
from salus_studies.skin_lesion import published
from salus_studies.skin_lesion.scales import LesionScale, NetworkScale

#: What retraining and its control do to images: copies that begin small would lose what an attack changed.
_SHIFTED = FlipsAndShifts()


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
        self.spec: NetworkScale = scale.networks[network]
        self.folder = steps.folder / "models" / network
        self.records: list[dict[str, Any]] = []
        self.reason = "not reached"

    def plain(self) -> Classifier | None:
        """Train the classifier that is attacked."""
        return self._classifier("plain", self.splits.train, self.spec.training, self.scale.recipe)

    def dealt_by_image(self, splits: Splits) -> None:
        """Train the same on the thesis's split, where lesions stand on both sides, and say how it does there."""
        self._classifier("plain-by-image", splits.train, self.spec.training, self.scale.recipe, splits=splits)

    def poisoned(self, share: float) -> Classifier | None:
        """Train the whole network on labels of which a share of one class's was flipped."""
        data = flipped(self.splits.train, share, self.seed)
        return self._classifier(f"poisoned-{share:g}", data, self.spec.training, self.scale.recipe)

    def sized(self, size: str, splits: Splits, training: TrainingOptions) -> Classifier | None:
        """Train the network on images of another size."""
        return self._classifier(f"at-{size}", splits.train, training, self.scale.recipe, splits=splits)

    def retrained(self, name: str, attack: Attack | None, plain: Classifier) -> Classifier | None:
        """Retrain the plain classifier in rounds on copies made by an attack, or on clean ones (the control).

        Both arms see images mirrored and shifted, copies as well as originals.
        """
        rounds = replace(self.scale.rounds, seed=self.seed)

        def train(checkpoint: Path) -> tuple[Classifier, dict[str, Any]]:
            folder = checkpoint.parent / "rounds"
            classifier, history = retrain(
                plain,
                self.splits,
                attack,
                rounds,
                folder=folder,
                recipe=_SHIFTED,
                device=self.device,
                log=console.print,
            )
            return classifier, {
                "parameters": _parameters(classifier),
                "rounds": history,
                "test_accuracy": _accuracy(classifier, self.splits.test),
            }

        made_by = None if attack is None else [attack.name, asdict(attack)]
        key = [plain.fingerprint(), made_by, asdict(rounds), _SHIFTED.describe(), self._prints(self.splits)]
        return self._once(f"retrained-{name}", f"retraining {name}", key, train)

    def hardened(self) -> Classifier | None:
        """Train the model that is to hold."""
        hardened = self.scale.hardened
        return self._classifier("hardened", self.splits.train, hardened.training, hardened.recipe)

    def distilled(self) -> Classifier | None:
        """Train a teacher at a high temperature, and a network of the same kind on its answers."""
        temperature = self.scale.others.temperature
        first = AtTemperature(temperature=temperature, augmentation=_SHIFTED)
        training = self.scale.others.training
        teacher = self._classifier("teacher", self.splits.train, training, first)
        if teacher is None:
            return None
        second = replace(first, teacher=teacher)
        return self._classifier("distilled", self.splits.train, training, second)

    def regularised(self) -> Classifier | None:
        """Train with a price on the loss's gradient in the image."""
        others = self.scale.others
        recipe = GradientRegularisation(weight=others.weight, augmentation=_SHIFTED)
        return self._classifier("regularised", self.splits.train, others.training, recipe)

    def _classifier(
        self, name: str, data: Dataset, training: TrainingOptions, recipe: Recipe, *, splits: Splits | None = None
    ) -> Classifier | None:
        """Train the network on some data from its first weights, or read what was trained."""
        planned = self._planned(name, data, training, recipe, splits or self.splits)
        classifier, record = self.steps.train_all([planned])[0]
        return self._kept(classifier, record)

    def _planned(self, name: str, data: Dataset, training: TrainingOptions, recipe: Recipe, splits: Splits) -> Training:
        options = dict(self.spec.options)
        key = [self.spec.architecture, options, asdict(training), recipe.describe(), self.seed, self._prints(splits)]
        return Training(
            name=f"{self.network}-model-{name}",
            kind=f"{self.network} training {name.partition('-')[0]}",
            key=[*key, data.fingerprint()],
            place=TrainingFolder(self.folder / name, f"classifier {name}"),
            function=train_network,
            arguments=(
                (self.spec.architecture, options),
                data,
                splits.validation,
                splits.test,
                replace(training, seed=self.seed),
                recipe,
                self.device,
            ),
            blank={"network": self.network, "model": name},
        )

    def together(self) -> None:
        """Train side by side what needs nothing of the others; each is read where its turn comes."""
        train = self.splits.train
        planned = [self._planned("plain", train, self.spec.training, self.scale.recipe, self.splits)]
        if self.network == self.scale.main:
            way = self.scale.hardened
            planned.append(self._planned("hardened", train, way.training, way.recipe, self.splits))
            for share in self.scale.poisoned_whole:
                data = flipped(train, share, self.seed)
                name = f"poisoned-{share:g}"
                planned.append(self._planned(name, data, self.spec.training, self.scale.recipe, self.splits))
        self.steps.train_all(planned)

    def _kept(self, classifier: Classifier | None, record: dict[str, Any]) -> Classifier | None:
        self.records.append(record)
        if classifier is None:
            self.reason = record["reason"]
            return None
        console.print(f"{self.network}, {record['model']}: trained in {record['seconds'] / 60:.1f} minutes")
        return classifier.to(self.device)

    def _once(self, name: str, kind: str, key: Any, train: Train) -> Classifier | None:
        """Make a classifier once, into a folder; None where the time does not allow it."""
        place = TrainingFolder(self.folder / name, f"classifier {name}")
        blank = {"network": self.network, "model": name}
        classifier, record = self.steps.train(
            f"{self.network}-model-{name}", f"{self.network} {kind}", key, place, train, blank=blank
        )
        return self._kept(classifier, record)

    @staticmethod
    def _prints(splits: Splits) -> str:
        return digest([splits.train.fingerprint(), splits.validation.fingerprint()])


def flipped(data: Dataset, share: float, seed: int) -> Dataset:
    """Label a share of NV as BKL."""
    flips = LabelFlips(share=share, source=published.POISONED_SOURCE, target=published.POISONED_TARGET, seed=seed)
    return flips(data)


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
    """Train a network from its first weights.

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
        "curve": [[each.train_loss, each.loss, each.accuracy, each.macro_recall] for each in history.epochs],
    }


def _parameters(classifier: Classifier) -> int:
    return sum(weight.numel() for weight in classifier.parameters())


def _accuracy(classifier: Classifier, data: Dataset) -> float:
    return float((classifier.predict(data.x).argmax(1) == data.y).double().mean())
