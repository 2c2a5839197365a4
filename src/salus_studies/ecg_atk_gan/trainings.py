"""The trainings of Table 1: each architecture on clean beats and their copies under one attack."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_safetensors

from salus import atomic
from salus.classifier import Classifier
from salus.data import Dataset, Splits
from salus.data.balance import smote
from salus.hardening.dc_gan import augment
from salus.hardening.ecg_atk_gan import ECGATKGAN, GANHistory, train_ecg_atk_gan
from salus.models.ecg_atk_gan import Generator
from salus.storage import digest
from salus.training import Log, fit_classifier
from salus_studies.ecg_atk_gan.attacked import COLUMNS
from salus_studies.ecg_atk_gan.scales import GANScale

ARCHITECTURES = ("proposed", "shaker", "kachuee", "acharya")


@dataclass(frozen=True, eq=False)
class TrainedColumn:
    """What a training left: the classifier, and with ECG-ATK-GAN alone its generator."""

    classifier: Classifier
    gan: ECGATKGAN | None


def train_column(
    splits: Splits,
    architecture: str,
    column: str,
    scale: GANScale,
    folder: Path,
    *,
    seed: int,
    device: str,
    log: Log,
) -> tuple[Classifier, dict[str, Any]]:
    """Train one architecture for one column; killed, it goes on.

    A generator is written to ``generator.safetensors``, the course of the losses to ``losses.json``.

    Args:
        splits: the data; attacked copies are made of the training part.
        architecture: one of :data:`ARCHITECTURES`.
        column: one of ``COLUMNS``; ``none`` trains on clean beats alone.
        scale: how much.
        folder: where checkpoints, generator and losses are kept.
        seed: of the training; each column's own, so that columns are independent repeats.
        device: where to train.
        log: receives remarks.

    Returns:
        The classifier, and what is to be told of it.
    """
    released = None if column == "none" else scale.released(column, seed)
    own = seed + COLUMNS.index(column)
    began = time.monotonic()
    if architecture == "proposed":
        options = scale.options(own, attacked=released is not None)
        gan = train_ecg_atk_gan(splits.train, released, options, folder=folder / "working", device=device, log=log)
        classifier, epochs = gan.classifier, gan.history.epochs
        beats = options.per_class * len(splits.train.classes) if options.per_class else len(splits.train)
        facts: dict[str, Any] = {
            "epochs": options.epochs,
            "fold": gan.history.fold,
            "beats_per_second": (2 if released else 1) * beats / epochs[-1].seconds,
        }
        losses = [asdict(epoch) for epoch in epochs]
        atomic.write_tensors(folder / "generator.safetensors", gan.generator.state_dict())
    else:
        train = _balanced(splits.train, architecture, scale, seed, folder.parent, device, log)
        if released is not None:
            copies = released(train.x, train.y)
            train = replace(train, x=torch.cat([train.x, copies]), y=torch.cat([train.y] * 2), groups=None)
        classifier, history = fit_classifier(
            architecture,
            train,
            splits.validation,
            replace(scale.baseline, seed=own),
            checkpoint=folder / "training.checkpoint",
            device=device,
            log=log,
        )
        facts = {
            "epochs": len(history.epochs),
            "beats_per_second": len(train) / history.epochs[-1].seconds,
        }
        losses = [asdict(epoch) for epoch in history.epochs]
    atomic.write_json(folder / "losses.json", losses)
    weights = sum(weight.numel() for weight in classifier.parameters())
    return classifier, {**facts, "seconds": round(time.monotonic() - began, 1), "parameters": weights}


def read_gan(folder: Path, classifier: Classifier) -> ECGATKGAN | None:
    """Read the generator that was trained with a classifier; None where there was none."""
    path = folder / "generator.safetensors"
    if not path.exists():
        return None
    generator = Generator(len(classifier.classes), classifier.shape[0], skip="sda")
    generator.load_state_dict(load_safetensors(path.read_bytes()))
    return ECGATKGAN(classifier, generator.eval(), GANHistory())


def _balanced(
    train: Dataset, architecture: str, scale: GANScale, seed: int, folder: Path, device: str, log: Log
) -> Dataset:
    """Balance the classes: by SMOTE, and for Shaker by its own DC-GANs, which are trained once for all columns."""
    if architecture != "shaker":
        return smote(train, scale.per_class, seed=seed)
    key = digest([train.fingerprint(), scale.per_class, scale.dc_gan_epochs, seed])
    place = folder / f"shaker-augmented-{key[:12]}.safetensors"
    if place.exists():
        kept = load_safetensors(place.read_bytes())
        return replace(train, x=kept["x"], y=kept["y"], groups=None, names=())
    augmented = augment(train, scale.per_class, epochs=scale.dc_gan_epochs, seed=seed, device=device, log=log)
    atomic.write_tensors(place, {"x": augmented.x, "y": augmented.y})
    return replace(augmented, groups=None)
