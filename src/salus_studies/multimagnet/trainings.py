"""The classifier, the surrogate and the autoencoders of a set of data: trained into folders, resumed, read again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from salus.classifier import Classifier
from salus.generative import Repository, train_repository
from salus.progress import console
from salus.training import Recipe, TrainingOptions, fit_classifier
from salus_studies.multimagnet.attacked import accuracy
from salus_studies.multimagnet.scales import DataSetting, Dealt

#: The network that the released generator of attacked images trains where it is handed none.
SURROGATE = "multimagnet-surrogate"


def train_classifier(
    dealt: Dealt, setting: DataSetting, checkpoint: Path, *, seed: int, device: str
) -> tuple[Classifier, dict[str, Any]]:
    """Train the classifier; gives what is to be told of it too."""
    network = Network(setting.network, dict(setting.network_options), setting.training, setting.recipe)
    return _train(network, dealt, checkpoint, seed=seed, device=device)


def train_surrogate(
    dealt: Dealt, setting: DataSetting, checkpoint: Path, *, seed: int, device: str
) -> tuple[Classifier, dict[str, Any]]:
    """Train the released code's surrogate on the same images; gives what is to be told of it too."""
    network = Network(SURROGATE, {}, setting.surrogate, Recipe())
    return _train(network, dealt, checkpoint, seed=seed + 1, device=device)


@dataclass(frozen=True)
class Network:
    """A network, and how it is trained.

    Attributes:
        name: a key of ``salus.models.MODELS``.
        options: what it takes.
        training: how.
        recipe: of a step.
    """

    name: str
    options: dict[str, Any]
    training: TrainingOptions
    recipe: Recipe


def _train(
    network: Network, dealt: Dealt, checkpoint: Path, *, seed: int, device: str
) -> tuple[Classifier, dict[str, Any]]:
    classifier, history = fit_classifier(
        network.name,
        dealt.train,
        dealt.legitimate,
        replace(network.training, seed=seed),
        model_options=network.options,
        recipe=network.recipe,
        checkpoint=checkpoint,
        device=device,
        log=console.print,
    )
    classifier.to(device)
    return classifier, {
        "network": network.name,
        "options": network.options,
        "recipe": network.recipe.describe(),
        "precision": network.training.precision,
        "epochs": network.training.epochs,
        "images": len(dealt.train),
        "parameters": sum(weight.numel() for weight in classifier.parameters()),
        "seconds": round(sum(epoch.seconds for epoch in history.epochs), 1),
        "accuracy": accuracy(classifier, dealt.test.x, dealt.test.y),
        "tested": len(dealt.test),
        "accuracy_drawn": accuracy(classifier, dealt.drawn.x, dealt.drawn.y),
        "accuracy_legitimate": accuracy(classifier, dealt.legitimate.x, dealt.legitimate.y),
    }


def train_members(dealt: Dealt, setting: DataSetting, folder: Path, *, seed: int, device: str) -> Repository:
    """Train the autoencoders, or read those that were trained before; killed, it goes on.

    The images that end a training are training images of the classifier's, not V_leg, which gives the thresholds.
    """
    options = replace(setting.repository, seed=seed)
    rows = torch.arange(len(dealt.train))
    learn, held_out = dealt.train.subset(rows[: -setting.held_out]), dealt.train.subset(rows[-setting.held_out :])
    return train_repository(learn, held_out, options, folder=folder, device=device, log=console.print)


@torch.no_grad()
def members_facts(repository: Repository, dealt: Dealt, device: str) -> dict[str, Any]:
    """Say what was trained and how well each member reconstructs."""
    return {
        "members": [
            {
                "name": member.spec.name,
                "structure": [str(step) for step in member.spec.structure],
                "activation": member.spec.activation,
                "noise": member.spec.noise,
                "loss": member.spec.loss,
                "parameters": sum(weight.numel() for weight in member.module.parameters()),
                "batch_norm": member.spec.batch_norm,
                "epochs": member.epochs,
                "error": _error(repository, number, dealt.legitimate.x, device),
                "training_error": _error(repository, number, dealt.train.x, device),
            }
            for number, member in enumerate(repository.members)
        ],
        "images": len(dealt.train),
    }


def _error(repository: Repository, number: int, x: Tensor, device: str) -> float:
    """Mean squared error on images, at most 5,000 of them: the paper gives it on ``Tr``."""
    parts = [part.to(device) for part in x[:5000].split(512)]
    return float(torch.cat([(repository.reconstruct(number, x) - x).square().flatten(1).mean(1) for x in parts]).mean())
