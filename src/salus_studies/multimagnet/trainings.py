"""The classifier and the ten autoencoders of one set of data: trained into folders, resumed, read again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from salus import atomic
from salus.classifier import Classifier
from salus.generative import Repository, train_repository
from salus.progress import console
from salus.training import fit_classifier
from salus_studies.multimagnet.attacked import accuracy
from salus_studies.multimagnet.scales import Dealt, Setting

_CARD = "training.json"


def classifier(dealt: Dealt, setting: Setting, folder: Path, *, seed: int, device: str) -> Classifier:
    """Train the classifier, or read it where it was trained so before; killed, it goes on."""
    wanted = {
        "network": setting.network,
        "options": dict(setting.network_options),
        "recipe": setting.recipe.describe(),
        "precision": setting.training.precision,
        "epochs": setting.training.epochs,
        "images": len(dealt.train),
    }
    card = folder / _CARD
    held = json.loads(card.read_text(encoding="utf-8")) if card.exists() else {}
    if any(held.get(name) != value for name, value in wanted.items()):
        checkpoint = folder / "training.checkpoint"
        made, history = fit_classifier(
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
        made.save(folder)
        weights = sum(weight.numel() for weight in made.parameters())
        seconds = round(sum(epoch.seconds for epoch in history.epochs), 1)
        atomic.write_json(card, {**wanted, "parameters": weights, "seconds": seconds})
        checkpoint.unlink(missing_ok=True)
    return Classifier.load(folder).to(device)


def classifier_facts(made: Classifier, dealt: Dealt, folder: Path) -> dict[str, Any]:
    """Say how it was trained and how well it does."""
    facts: dict[str, Any] = json.loads((folder / _CARD).read_text(encoding="utf-8"))
    return {
        **facts,
        "accuracy": accuracy(made, dealt.test.x, dealt.test.y),
        "tested": len(dealt.test),
        "accuracy_drawn": accuracy(made, dealt.drawn.x, dealt.drawn.y),
        "accuracy_legitimate": accuracy(made, dealt.legitimate.x, dealt.legitimate.y),
    }


def repository(dealt: Dealt, setting: Setting, folder: Path, *, seed: int, device: str) -> Repository:
    """Train the autoencoders, or read those that were trained before; killed, it goes on."""
    options = replace(setting.repository, seed=seed)
    return train_repository(dealt.train, dealt.legitimate, options, folder=folder, device=device, log=console.print)


@torch.no_grad()
def repository_facts(made: Repository, dealt: Dealt, device: str) -> dict[str, Any]:
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
                "training_error": _error(made, number, dealt, device),
            }
            for number, member in enumerate(made.members)
        ],
        "images": len(dealt.train),
    }


def _error(made: Repository, number: int, dealt: Dealt, device: str) -> float:
    """Mean squared error on training images, at most 5,000 of them: the paper gives it on ``Tr``."""
    parts = [part.to(device) for part in dealt.train.x[:5000].split(512)]
    return float(torch.cat([(made.reconstruct(number, x) - x).square().flatten(1).mean(1) for x in parts]).mean())
