"""The trainings of Table 1: each architecture on clean beats and their copies under one attack."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load as load_safetensors

from salus import atomic
from salus.classifier import Classifier
from salus.data import Dataset, Splits
from salus.data.balance import smote
from salus.hardening.dc_gan import augment
from salus.hardening.ecg_atk_gan import ECGATKGAN, GANHistory, train_ecg_atk_gan
from salus.hardening.gan_options import GANOptions, preset
from salus.models.ecg_atk_gan import Generator
from salus.training import Log, TrainingOptions, fit_classifier
from salus_studies.ecg_atk_gan.attacked import COLUMNS, ITERATIONS, TRIES, Released

ARCHITECTURES = ("proposed", "shaker", "kachuee", "acharya")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much of the papers' effort is spent.

    Attributes:
        per_class: beats of each class after balancing; both papers' 10,000.
        gan: what differs from the six-attack paper's settings.
        clean_epochs: of the GAN where no beat is attacked, so that an epoch has half the steps; None: as otherwise.
        baseline: how the baselines are trained; neither paper says.
        dc_gan_epochs: of Shaker's augmentation.
        iterations: of BIM and PGD in the released attack data.
        tries: random points that HSJ's start is sought among.
        test_beats: test beats of ``as-published``, at natural prevalence; None for all.
        honest_beats: test beats of ``honest``; None for all.
        query_beats: test beats that the attacks with 5,000 queries get.
    """

    per_class: int
    gan: Mapping[str, Any] = field(default_factory=dict)
    clean_epochs: int | None = None
    baseline: TrainingOptions = field(default_factory=TrainingOptions)
    dc_gan_epochs: int = 100
    iterations: int = ITERATIONS
    tries: int = TRIES
    test_beats: int | None = None
    honest_beats: int | None = None
    query_beats: int = 200
    queries: int = 5000

    def released(self, column: str, seed: int) -> Released:
        """Give what makes the attacked copies of a column."""
        return Released(column=column, iterations=self.iterations, tries=self.tries, seed=seed)

    def options(self, seed: int, *, attacked: bool = True) -> GANOptions:
        """Give the GAN's settings, for beats and their attacked copies or for beats alone."""
        epochs = {} if attacked or self.clean_epochs is None else {"epochs": self.clean_epochs}
        return preset("six-attacks", per_class=self.per_class, seed=seed, **{**self.gan, **epochs})


Precision = Literal["float32", "bfloat16"]
_TEXT = (16, 32, 128)  # the four-attack paper's three stages, a quarter of the released code's cost

SCALES: dict[str, Scale] = {
    "smoke": Scale(
        per_class=48,
        gan={"widths": (4, 8), "epochs": 1, "folds": 2, "folds_trained": 1},
        baseline=TrainingOptions(epochs=1, balance="none"),
        dc_gan_epochs=1,
        iterations=2,
        tries=2,
        test_beats=120,
        honest_beats=16,
        query_beats=4,
        queries=60,
    ),
    "small": Scale(
        per_class=5000,
        gan={
            "widths": _TEXT,
            "epochs": 6,
            "batch_size": 64,
            "learning_rate": 5e-4,
            "final_rate": 0.02,
            "lambda_mse": 1000.0,  # at the papers' 1 so few steps leave beats at an SSIM of 0.89
            "folds_trained": 1,
            "precision": "bfloat16",
        },
        clean_epochs=12,  # as many steps as the other columns
        baseline=TrainingOptions(epochs=4, patience=4, balance="none", precision="bfloat16"),
        dc_gan_epochs=20,
        iterations=10,
        tries=10,
        test_beats=4000,
        honest_beats=500,
    ),
    "full": Scale(
        per_class=10_000,
        gan={"precision": "bfloat16"},
        baseline=TrainingOptions(epochs=100, patience=20, balance="none", precision="bfloat16"),
    ),
}


@dataclass(frozen=True, eq=False)
class Trained:
    """A training's result, as stored."""

    classifier: Classifier
    generator: ECGATKGAN | None  # with ECG-ATK-GAN alone
    facts: dict[str, Any]


def train_column(
    splits: Splits,
    architecture: str,
    column: str,
    scale: Scale,
    folder: Path,
    *,
    seed: int,
    device: str,
    log: Log,
) -> Trained:
    """Train one architecture for one column, or load it where it was trained before; killed, it goes on.

    Args:
        splits: the data; attacked copies are made of the training part.
        architecture: one of :data:`ARCHITECTURES`.
        column: one of ``COLUMNS``; ``none`` trains on clean beats alone.
        scale: how much.
        folder: where the result and its checkpoints are kept.
        seed: of the training; each column's own, so that columns are independent repeats.
        device: where to train.
        log: receives remarks.
    """
    if (folder / "training.json").exists():
        return _load(folder)
    released = None if column == "none" else scale.released(column, seed)
    own = seed + COLUMNS.index(column)
    began = time.monotonic()
    generator = None
    if architecture == "proposed":
        options = scale.options(own, attacked=released is not None)
        made = train_ecg_atk_gan(splits.train, released, options, folder=folder / "working", device=device, log=log)
        classifier, generator = made.classifier, made
        last = made.history.epochs[-1]
        beats = options.per_class * len(splits.train.classes) if options.per_class else len(splits.train)
        facts: dict[str, Any] = {
            "epochs": options.epochs,
            "fold": made.history.fold,
            "beats_per_second": (2 if released else 1) * beats / last.seconds,
            "losses": [asdict(epoch) for epoch in made.history.epochs],
        }
    else:
        train = _balanced(splits.train, architecture, scale, seed, folder.parent, device, log)
        if released is not None:
            copies = released(train.x, train.y)
            train = replace(train, x=torch.cat([train.x, copies]), y=torch.cat([train.y] * 2), groups=None)
        training = replace(scale.baseline, seed=own)
        classifier, history = fit_classifier(
            architecture,
            train,
            splits.validation,
            training,
            checkpoint=folder / "working" / "training.checkpoint",
            device=device,
            log=log,
        )
        facts = {
            "epochs": len(history.epochs),
            "beats_per_second": len(train) / history.epochs[-1].seconds,
            "losses": [asdict(epoch) for epoch in history.epochs],
        }
    facts |= {
        "seconds": round(time.monotonic() - began, 1),
        "parameters": sum(weight.numel() for weight in classifier.parameters()),
    }
    classifier.save(folder)
    if generator is not None:
        atomic.write_tensors(folder / "generator.safetensors", generator.generator.state_dict())
    atomic.write_json(folder / "training.json", facts)
    for path in (folder / "working").glob("*.checkpoint"):
        path.unlink()
    return Trained(classifier, generator, facts)


def _balanced(
    train: Dataset, architecture: str, scale: Scale, seed: int, folder: Path, device: str, log: Log
) -> Dataset:
    """Balance the classes: by SMOTE, and for Shaker by its own DC-GANs, which are trained once for all columns."""
    if architecture != "shaker":
        return smote(train, scale.per_class, seed=seed)
    place = folder / "shaker-augmented.safetensors"
    if place.exists():
        held = load_safetensors(place.read_bytes())
        return replace(train, x=held["x"], y=held["y"], groups=None)
    made = augment(train, scale.per_class, epochs=scale.dc_gan_epochs, seed=seed, device=device, log=log)
    atomic.write_tensors(place, {"x": made.x, "y": made.y})
    return replace(made, groups=None)


def _load(folder: Path) -> Trained:
    import json

    facts = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    classifier = Classifier.load(folder)
    made = None
    if (folder / "generator.safetensors").exists():
        generator = Generator(len(classifier.classes), classifier.shape[0], skip="sda")
        generator.load_state_dict(load_safetensors((folder / "generator.safetensors").read_bytes()))
        made = ECGATKGAN(classifier, generator.eval(), GANHistory())
    return Trained(classifier, made, facts)
