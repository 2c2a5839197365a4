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
from salus.training import Log, fit_classifier
from salus_studies.ecg_atk_gan.attacked import COLUMNS
from salus_studies.ecg_atk_gan.scales import GANScale

ARCHITECTURES = ("proposed", "shaker", "kachuee", "acharya")


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
    scale: GANScale,
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
    train: Dataset, architecture: str, scale: GANScale, seed: int, folder: Path, device: str, log: Log
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
