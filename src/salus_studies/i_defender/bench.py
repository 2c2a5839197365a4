"""What all parts of the reproduction of I-defender share: the folder, the steps, the data, the networks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from salus.classifier import Classifier
from salus.data import Dataset, Splits
from salus.progress import console
from salus.storage import TrainingFolder, digest
from salus.training import Recipe, TrainingOptions, fit_classifier
from salus_studies.frame.step import Step, Training
from salus_studies.frame.steps import Steps
from salus_studies.i_defender.scales import DefenderScale

#: Why a network is not there where none is to be trained.
NOT_TRAINED = "not trained yet: run it without --trained-only"


@dataclass(frozen=True, kw_only=True)
class NetworkPlan:
    """A network that is to be trained.

    Attributes:
        role: names it in the results.
        network: its architecture.
        options: of the architecture.
        training: how; its seed is replaced.
        apart: added to the seed: networks of different numbers are trained apart.
        recipe: what each step lowers.
    """

    role: str
    network: str
    options: Mapping[str, Any] = field(default_factory=dict)
    training: TrainingOptions
    apart: int = 0
    recipe: Recipe | None = None


class Bench:
    """Steps that leave records, by section of the results.

    Attributes:
        sections: section -> its records in the order planned, done or not.

    Args:
        folder: of the reproduction.
        steps: what does each once.
        scale: how much is done.
        seed: of every draw.
        device: where to train and attack.
        trained_only: begin no training of a network; what needs one that is not there is listed as not run.
    """

    def __init__(
        self, folder: Path, steps: Steps, scale: DefenderScale, seed: int, device: str, trained_only: bool = False
    ) -> None:
        self.folder, self.steps, self.scale, self.seed, self.device = folder, steps, scale, seed, device
        self.trained_only = trained_only
        self.sections: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def record(
        self,
        section: str,
        name: str,
        kind: str,
        key: Any,
        work: Callable[[], dict[str, Any]],
        blank: dict[str, Any],
    ) -> dict[str, Any]:
        """Do one step, or read it; ``blank`` says what its record is of. See :meth:`.frame.steps.Steps.do`."""
        content = self.steps.do(name, kind, key, lambda: {**blank, **work()}, blank=blank)
        self.sections[section].append(content)
        return content

    def record_all(self, section: str, steps: Sequence[Step]) -> None:
        """Do steps of which none needs another, or read them."""
        self.sections[section] += self.steps.do_all(steps)

    def leave_out(self, section: str, reason: str, blank: dict[str, Any]) -> None:
        """List what cannot be run for want of something else."""
        self.steps.not_run += 1
        self.sections[section].append({**blank, "status": "not run", "reason": reason})

    def network(self, plan: NetworkPlan, splits: Splits) -> Classifier | None:
        """Train one network; see :meth:`networks`."""
        return self.networks([plan], splits)[0]

    def networks(self, plans: Sequence[NetworkPlan], splits: Splits) -> list[Classifier | None]:
        """Train networks, or load them where they were trained; None where the time does not allow it.

        Args:
            plans: which networks, and how they are trained.
            splits: what they are trained, validated and tested on.
        """
        shared, prints = self.steps.share(splits), splits.train.fingerprint()
        trainings = [self._training(plan, splits, prints, shared) for plan in plans]
        wanted = [each for each in trainings if not self.trained_only or each.place.read() is not None]
        found = dict(zip((each.name for each in wanted), self.steps.train_all(wanted), strict=True))
        trained: list[Classifier | None] = []
        for each in trainings:
            if each.name not in found:
                self.leave_out("trainings", NOT_TRAINED, each.blank)
                trained.append(None)
                continue
            classifier, record = found[each.name]
            self.sections["trainings"].append(record)
            trained.append(None if classifier is None else classifier.to(self.device))
        return trained

    def _training(self, plan: NetworkPlan, splits: Splits, prints: str, shared: Any) -> Training:
        name = f"{splits.name}-{plan.role}"
        training = replace(plan.training, seed=self.seed + plan.apart)
        network, options, recipe = plan.network, dict(plan.options), plan.recipe
        blank = {"data": splits.name, "role": plan.role, "network": network, "options": options, "seed": training.seed}
        return Training(
            name=f"training-{name}",
            kind=f"training {network} {digest([options, asdict(replace(training, seed=0))])[:8]}",
            key=[asdict(training), network, options, prints, recipe.describe() if recipe else None],
            place=TrainingFolder(self.folder / "models" / name, name),
            function=train_network,
            arguments=(shared, network, options, training, recipe, self.device),
            blank=blank,
        )


def train_network(
    checkpoint: Path,
    splits: Splits,
    network: str,
    options: dict[str, Any],
    training: TrainingOptions,
    recipe: Recipe | None,
    device: str,
) -> tuple[Classifier, dict[str, Any]]:
    """Train a network, and say how it does on the test images.

    Args:
        checkpoint: what it goes on from.
        splits: what it is trained, validated and tested on.
        network: its architecture.
        options: of the architecture.
        training: how.
        recipe: what each step lowers.
        device: where.
    """
    classifier, history = fit_classifier(
        network,
        splits.train,
        splits.validation,
        training,
        model_options=options,
        recipe=recipe,
        checkpoint=checkpoint,
        device=device,
        log=lambda line: None if line.startswith("epoch") else console.print(line),
    )
    labels = classifier.to(device).predict(splits.test.x).argmax(1)
    return classifier, {
        "accuracy": float((labels == splits.test.y).double().mean()),
        "test_images": len(splits.test),
        "train_images": len(splits.train),
        "epochs": len(history.epochs),
        "weights": sum(weight.numel() for weight in classifier.parameters()),
    }


class Material:
    """One data set, on the device where detectors are fitted and attacks run.

    Args:
        splits: the data, the training part as much of it as the scale allows.
        device: where to.
    """

    def __init__(self, splits: Splits, device: str) -> None:
        self.splits, self.device = splits, device

    @cached_property
    def train(self) -> Dataset:
        """The training images."""
        return _on(self.splits.train, self.device)

    @cached_property
    def validation(self) -> Dataset:
        """The validation images."""
        return _on(self.splits.validation, self.device)

    @cached_property
    def test(self) -> Dataset:
        """The test images, in an order drawn once, so that fewer of them are the first of more."""
        order = torch.randperm(len(self.splits.test), generator=torch.Generator().manual_seed(0))
        return _on(self.splits.test.subset(order), self.device)


def first(dataset: Dataset, most: int | None) -> Dataset:
    """Take the first so many samples; all for None."""
    return dataset if most is None or most >= len(dataset) else dataset.subset(torch.arange(most))


def drawn(dataset: Dataset, most: int | None, seed: int) -> Dataset:
    """Draw so many samples at random, in their order; all for None."""
    if most is None or most >= len(dataset):
        return dataset
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))
    return dataset.subset(order[:most].sort().values)


def _on(dataset: Dataset, device: str) -> Dataset:
    return replace(dataset, x=dataset.x.to(device), y=dataset.y.to(device))
