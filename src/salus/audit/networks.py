"""Networks of Salus's trained once into a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from salus.classifier import Classifier
from salus.data import Splits
from salus.progress import console, spaced
from salus.storage import TrainingFolder
from salus.training import TrainingOptions, fit_classifier


def train_once(
    network: str,
    sizes: Mapping[str, Any],
    splits: Splits,
    training: TrainingOptions,
    device: str,
    folder: Path,
    what: str,
) -> Classifier:
    """Train a network into a folder, or load it where it was trained before.

    Args:
        network: its name.
        sizes: its options.
        splits: ``train`` is learnt from, ``validation`` decides when to stop.
        training: how to train it.
        device: where.
        folder: where it is kept, and goes on after a kill.
        what: names it in a remark about a damaged one.
    """

    def train(checkpoint: Path) -> tuple[Classifier, dict[str, Any]]:
        classifier, _ = fit_classifier(
            network,
            splits.train,
            splits.validation,
            training,
            model_options=dict(sizes),
            checkpoint=checkpoint,
            device=device,
            log=spaced(console.print),
        )
        return classifier, {}

    return TrainingFolder(folder, what).once(train)[0]
