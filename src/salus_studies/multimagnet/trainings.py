"""The classifier and the ten autoencoders of one set of data: trained into folders, resumed, read again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from salus.classifier import Classifier
from salus.generative import Repository, train_repository
from salus.progress import console
from salus.training import fit_classifier
from salus_studies.multimagnet.attacked import accuracy
from salus_studies.multimagnet.scales import DataSetting, Dealt


def train_classifier(
    dealt: Dealt, setting: DataSetting, checkpoint: Path, *, seed: int, device: str
) -> tuple[Classifier, dict[str, Any]]:
    """Train the classifier; gives what is to be told of it too."""
    classifier, history = fit_classifier(
        setting.network,
        dealt.train,
        dealt.legitimate,
        replace(setting.training, seed=seed),
        model_options=dict(setting.network_options),
        recipe=setting.recipe,
        checkpoint=checkpoint,
        device=device,
        log=console.print,
    )
    classifier.to(device)
    return classifier, {
        "network": setting.network,
        "options": dict(setting.network_options),
        "recipe": setting.recipe.describe(),
        "precision": setting.training.precision,
        "epochs": setting.training.epochs,
        "images": len(dealt.train),
        "parameters": sum(weight.numel() for weight in classifier.parameters()),
        "seconds": round(sum(epoch.seconds for epoch in history.epochs), 1),
        "accuracy": accuracy(classifier, dealt.test.x, dealt.test.y),
        "tested": len(dealt.test),
        "accuracy_drawn": accuracy(classifier, dealt.drawn.x, dealt.drawn.y),
        "accuracy_legitimate": accuracy(classifier, dealt.legitimate.x, dealt.legitimate.y),
    }


def train_members(dealt: Dealt, setting: DataSetting, folder: Path, *, seed: int, device: str) -> Repository:
    """Train the autoencoders, or read those that were trained before; killed, it goes on."""
    options = replace(setting.repository, seed=seed)
    return train_repository(dealt.train, dealt.legitimate, options, folder=folder, device=device, log=console.print)


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
                "error": member.error,
                "training_error": _error(repository, number, dealt, device),
            }
            for number, member in enumerate(repository.members)
        ],
        "images": len(dealt.train),
    }


def _error(repository: Repository, number: int, dealt: Dealt, device: str) -> float:
    """Mean squared error on training images, at most 5,000 of them: the paper gives it on ``Tr``."""
    parts = [part.to(device) for part in dealt.train.x[:5000].split(512)]
    return float(torch.cat([(repository.reconstruct(number, x) - x).square().flatten(1).mean(1) for x in parts]).mean())
