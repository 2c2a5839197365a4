"""The trainings of Table 1: each network on clean beats and their copies under one attack."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_safetensors

from salus import atomic
from salus.classifier import Classifier
from salus.data import Dataset
from salus.data.balance import smote
from salus.hardening.dc_gan import augment
from salus.hardening.ecg_atk_gan import ECGATKGAN, GANHistory, build_generator, train_ecg_atk_gan
from salus.hardening.gan_options import GANOptions
from salus.storage import digest
from salus.training import Log, fit_classifier
from salus_studies.ecg_atk_gan.attacked import COLUMNS
from salus_studies.ecg_atk_gan.records import Material
from salus_studies.ecg_atk_gan.scales import PROPOSED, GANScale

ARCHITECTURES = ("proposed", "shaker", "kachuee", "acharya")

#: What is trained for Table 1: the proposed model under both papers' settings, and the baselines once for both.
NETWORKS = (*PROPOSED, *ARCHITECTURES[1:])

#: The four-attack paper has no column of DBB and HSJ.
FOUR_COLUMNS = COLUMNS[:5]


def columns_of(network: str) -> tuple[str, ...]:
    """Name the columns that a network has."""
    return tuple(column for column in COLUMNS if network != "proposed-four" or column in FOUR_COLUMNS)


@dataclass(frozen=True, eq=False)
class TrainedColumn:
    """What a training left: the classifier, and with ECG-ATK-GAN alone its generator."""

    classifier: Classifier
    gan: ECGATKGAN | None


def train_column(
    material: Material,
    network: str,
    column: str,
    scale: GANScale,
    folder: Path,
    *,
    seed: int,
    device: str,
    log: Log,
) -> tuple[Classifier, dict[str, Any]]:
    """Train one network for one column; killed, it goes on.

    A generator is written to ``generator.safetensors``, the course of the losses to ``losses.json``.

    Args:
        material: the data; attacked copies are made of them.
        network: one of :data:`NETWORKS`.
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
    if network in PROPOSED:
        options = scale.options(own, network)
        whole = material.whole
        gan = train_ecg_atk_gan(whole, released, options, folder=folder / "working", device=device, log=log)
        classifier, epochs = gan.classifier, gan.history.epochs
        beats = options.per_class * len(whole.classes) if options.per_class else len(whole)
        facts: dict[str, Any] = {
            "epochs": options.epochs,
            "folds": len({epoch.fold for epoch in epochs}),
            "fold": gan.history.fold,
            "steps": options.epochs * -(-(2 if released else 1) * beats // options.batch_size),
            "beats_per_second": (2 if released else 1) * beats / epochs[-1].seconds,
            "score": max(epoch.score for epoch in epochs),
            "scores": _last_scores(epochs),
        }
        losses = [asdict(epoch) for epoch in epochs]
        atomic.write_tensors(folder / "generator.safetensors", gan.generator.state_dict())
    else:
        train = _balanced(material.learn, network, scale, seed, folder.parent, device, log)
        if released is not None:
            copies = released(train.x, train.y)
            train = replace(train, x=torch.cat([train.x, copies]), y=torch.cat([train.y] * 2), groups=None)
        classifier, history = fit_classifier(
            network,
            train,
            material.validation,
            replace(scale.baseline, seed=own),
            checkpoint=folder / "training.checkpoint",
            device=device,
            log=log,
        )
        facts = {
            "epochs": len(history.epochs),
            "steps": len(history.epochs) * -(-len(train) // scale.baseline.batch_size),
            "beats_per_second": len(train) / history.epochs[-1].seconds,
        }
        losses = [asdict(epoch) for epoch in history.epochs]
    atomic.write_json(folder / "losses.json", losses)
    weights = sum(weight.numel() for weight in classifier.parameters())
    return classifier, {**facts, "seconds": round(time.monotonic() - began, 1), "parameters": weights}


def _last_scores(epochs: list[Any]) -> dict[str, float]:
    """Give each fold's score after its last epoch."""
    return {str(epoch.fold): epoch.score for epoch in epochs}


def read_gan(folder: Path, classifier: Classifier, options: GANOptions) -> ECGATKGAN | None:
    """Read the generator that was trained with a classifier by these settings; None where there was none."""
    path = folder / "generator.safetensors"
    if not path.exists():
        return None
    generator = build_generator(options, len(classifier.classes), *classifier.shape)
    generator.load_state_dict(load_safetensors(path.read_bytes()))
    return ECGATKGAN(classifier, generator.eval(), GANHistory())


def _balanced(train: Dataset, network: str, scale: GANScale, seed: int, folder: Path, device: str, log: Log) -> Dataset:
    """Balance the classes: by SMOTE, and for Shaker by its own DC-GANs, which are trained once for all columns."""
    if scale.per_class is None:
        return train
    if network != "shaker":
        return smote(train, scale.per_class, seed=seed)
    key = digest([train.fingerprint(), scale.per_class, scale.dc_gan_epochs, seed])
    place = folder / f"shaker-augmented-{key[:12]}.safetensors"
    if place.exists():
        kept = load_safetensors(place.read_bytes())
        return replace(train, x=kept["x"], y=kept["y"], groups=None, names=())
    augmented = augment(train, scale.per_class, epochs=scale.dc_gan_epochs, seed=seed, device=device, log=log)
    atomic.write_tensors(place, {"x": augmented.x, "y": augmented.y})
    return replace(augmented, groups=None)
