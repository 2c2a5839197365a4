"""Model E as Defense-GAN's authors have it: trained on what model F answers to 150 images and points around them."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from salus.classifier import Classifier
from salus.data import Splits
from salus.storage import TrainingFolder
from salus.threats.substitute import JacobianAugmentation
from salus.training import TrainingOptions
from salus_studies.frame.step import Training
from salus_studies.i_defender.bench import Bench, first

#: As released: images of the attacker's own, rounds, and lambda, whose sign never changes.
SEEDS, ROUNDS, STEP = 150, 6, 0.1

ROLE = "model-e-substitute"


def substitute_e(bench: Bench, splits: Splits, victim: Classifier) -> Classifier | None:
    """Train model E on a victim's answers (Papernot et al., 2017), or load it; None where there is no time.

    The attacker's images are validation images, which judge nothing here; the released code takes the first test
    images, and leaves them out of the test.
    """
    training, augmentation = bench.scale.substitute, _augmentation(bench.scale.substitute, bench.seed)
    name = f"{splits.name}-{ROLE}"
    step = Training(
        name=f"training-{name}",
        kind="training a substitute",
        key=[victim.fingerprint(), asdict(augmentation), SEEDS, splits.validation.fingerprint()],
        place=TrainingFolder(bench.folder / "models" / name, name),
        function=train_substitute,
        arguments=(splits, victim, training, bench.seed, bench.device),
        blank={"data": splits.name, "role": ROLE, "network": "model-e", "options": {}, "seed": bench.seed},
    )
    ((classifier, record),) = bench.steps.train_all([step])
    bench.sections["trainings"].append(record)
    return None if classifier is None else classifier.to(bench.device)


def train_substitute(
    checkpoint: Path, splits: Splits, victim: Classifier, training: TrainingOptions | None, seed: int, device: str
) -> tuple[Classifier, dict[str, Any]]:
    """Question the victim, and say how well the substitute does on the test images.

    Args:
        checkpoint: not used: it takes less time than an epoch of what it is trained to resemble.
        splits: the data.
        victim: what is questioned.
        training: of each round; None for the threat model's own.
        seed: of every draw.
        device: where to train.
    """
    order = torch.randperm(len(splits.validation), generator=torch.Generator().manual_seed(seed))
    seeds = first(splits.validation.subset(order), SEEDS).x.to(device)
    found = _augmentation(training, seed).fit(
        victim.answers, seeds, model="model-e", classes=victim.classes, bounds=victim.bounds, device=device
    )
    labels = found.classifier.to(device).predict(splits.test.x).argmax(1)
    return found.classifier, {
        "accuracy": float((labels == splits.test.y).double().mean()),
        "test_images": len(splits.test),
        "train_images": found.points[-1],
        "epochs": ROUNDS,
        "weights": sum(weight.numel() for weight in found.classifier.parameters()),
        "queries": found.queries,
        "agreement": found.agreement,
    }


def _augmentation(training: TrainingOptions | None, seed: int) -> JacobianAugmentation:
    options = None if training is None else replace(training, seed=0)
    return JacobianAugmentation(rounds=ROUNDS, step=STEP, period=ROUNDS, training=options, seed=seed)
