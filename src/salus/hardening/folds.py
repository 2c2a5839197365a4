"""What classifiers say of samples that they were not trained on, for every sample of a set: cross-validation."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from salus.data.base import Dataset
from salus.errors import DataError
from salus.training import Log, TrainingOptions, fit_classifier
from salus.training.checkpoint import Checkpoint, Snapshot


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """One answer for every sample, each from a classifier that learnt from the other folds alone.

    Attributes:
        probabilities: of the classes, float64 ``[N, K]``.
        fold: that each sample is in, int64 ``[N]``.
        seen: bool ``[N]``, whether the other folds hold any sample of the class that this one is labelled with; where
            they do not, as when one patient supplies the whole class, the answer says nothing about the label.
    """

    probabilities: Tensor
    fold: Tensor
    seen: Tensor


def deal_folds(data: Dataset, folds: int, seed: int = 0) -> Tensor:
    """Deal samples to folds, every class its share as far as it goes, and whole patients where the data know them.

    Made samples that belong to no patient (group -1) are dealt one by one.

    Args:
        data: what is dealt.
        folds: how many, from 2 up.
        seed: of the draw.

    Returns:
        The fold of each sample, from 0, int64 ``[N]``.

    Raises:
        DataError: there are fewer patients than folds, or fewer samples of every class.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    name, counts = data.provenance.name, data.counts
    largest = max(counts, key=lambda label: counts[label])
    if counts[largest] < folds:
        raise DataError(
            f"Data {name!r}: no class has as many as {folds} samples (the most, {counts[largest]}, are of "
            f"{largest!r}); ask for fewer folds."
        )
    y, groups, splitter = data.y.cpu().numpy(), None, StratifiedKFold
    if data.groups is not None:
        groups, splitter = data.groups.cpu().numpy().copy(), StratifiedGroupKFold
        alone = np.flatnonzero(groups < 0)
        groups[alone] = groups.max() + 1 + np.arange(len(alone))
        if (count := len(np.unique(groups))) < folds:
            raise DataError(
                f"Data {name!r}: {count} {data.group_word}s cannot be dealt to {folds} folds without having one in "
                "two; ask for fewer folds."
            )
    fold = torch.empty(len(y), dtype=torch.int64)
    with warnings.catch_warnings():  # of classes with fewer samples than folds, which some folds then lack
        warnings.simplefilter("ignore", UserWarning)
        parts = splitter(folds, shuffle=True, random_state=seed).split(np.zeros(len(y)), y, groups)
        for number, (_, held_out) in enumerate(parts):
            fold[torch.from_numpy(held_out)] = number
    return fold


def out_of_fold(
    name: str,
    data: Dataset,
    validation: Dataset,
    options: TrainingOptions | None = None,
    *,
    folds: int = 5,
    seed: int = 0,
    model_options: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    device: torch.device | str = "cpu",
    log: Log | None = None,
) -> OutOfFold:
    """Train one of Salus's networks once a fold, on all other folds, and ask it about that fold.

    Killed at any moment and started again with the same arguments and folder, it comes to the same answers and trains
    no finished fold again.

    Args:
        name: a network, as in ``salus.models.MODELS``.
        data: what every sample of is asked about.
        validation: other samples, which decide when each training stops.
        options: how to train.
        folds: how many classifiers are trained, from 2 up.
        seed: of the deal; the training has its own.
        model_options: what the network takes.
        folder: where answers and trainings in flight are stored; None for nowhere.
        device: where to train.
        log: receives remarks, and one line an epoch.

    Raises:
        DataError: the data are too few for the folds, see :func:`deal_folds`.
        ModelError: there is no such network, or it does not suit the data.
    """
    options, say = options or TrainingOptions(), log or (lambda line: None)
    fold = deal_folds(data, folds, seed)  # [N]
    made_of = (name, dict(model_options or {}), asdict(options), data.fingerprint(), validation.fingerprint())
    probabilities = torch.zeros(len(data), len(data.classes), dtype=torch.float64)  # [N, K]
    seen = torch.zeros(len(data), dtype=torch.bool)
    for number in range(folds):
        held_out, learn = (fold == number).nonzero()[:, 0], (fold != number).nonzero()[:, 0]
        if not len(held_out):
            continue  # a few large patients may leave a fold empty
        seen[held_out] = torch.isin(data.y[held_out].cpu(), data.y[learn].cpu())
        store = None
        if folder is not None:
            key = hashlib.sha256(repr((*made_of, held_out.tolist())).encode()).hexdigest()
            store = Checkpoint(folder / f"fold-{number}.answers", key)
            snapshot = store.load()
            if isinstance(snapshot, Snapshot):
                probabilities[held_out] = snapshot.parts["fold"]["probabilities"]
                continue
            if snapshot is not None:
                say(snapshot)
        say(f"fold {number + 1} of {folds}: learning from {len(learn)} samples, to judge {len(held_out)}")
        training = None if folder is None else folder / f"fold-{number}.checkpoint"
        classifier, _ = fit_classifier(
            name,
            data.subset(learn),
            validation,
            options,
            model_options=dict(model_options or {}),
            checkpoint=training,
            device=device,
            log=log,
        )
        logits = classifier.to(device).predict(data.subset(held_out).x).cpu()
        probabilities[held_out] = logits.double().softmax(1)
        if store is not None and training is not None:
            store.save({"fold": {"probabilities": probabilities[held_out]}}, {})
            training.unlink(missing_ok=True)
    return OutOfFold(probabilities, fold, seen)
