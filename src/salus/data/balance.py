"""Balancing a training part after splitting and on training alone: larger classes thinned, smaller ones filled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from salus.data.base import Dataset
from salus.errors import DataError


def smote(train: Dataset, per_class: int, *, seed: int) -> Dataset:
    """Bring every class to the same number of samples with SMOTE (Chawla et al., 2002).

    Larger classes are thinned at random; smaller ones get samples between a sample and one of its five
    nearest neighbours of the same class. Such a sample belongs to no patient: its group is -1.

    Raises:
        DataError: a class has a single sample, which has no neighbour.
    """
    rng = np.random.default_rng(seed)
    thinned = thin(train, per_class, rng, method="SMOTE")
    x, y = train.x[:0], train.y[:0]
    smallest = min(thinned.counts.values())
    if smallest < per_class:
        from imblearn.over_sampling import SMOTE

        sampler = SMOTE(
            sampling_strategy=dict.fromkeys(range(len(train.classes)), per_class),
            k_neighbors=min(5, smallest - 1),
            random_state=int(rng.integers(2**31)),
        )
        flat, made_y = sampler.fit_resample(thinned.x.flatten(1).numpy(), thinned.y.numpy())
        low, high = train.bounds
        synthetic = flat[len(thinned) :].astype(np.float32)  # the samples that it was given come first
        x = torch.from_numpy(synthetic).clamp(low, high).view(-1, *train.x.shape[1:])
        y = torch.from_numpy(made_y[len(thinned) :].astype(np.int64))
    return fill(train, thinned, x, y, per_class, method="SMOTE")


def thin(train: Dataset, per_class: int, rng: np.random.Generator, *, method: str) -> Dataset:
    """Leave out samples of larger classes at random.

    Args:
        train: the training part.
        per_class: samples that a class keeps at most.
        rng: draws them.
        method: what will fill the smaller classes, for the message.

    Raises:
        DataError: a class is to be filled from fewer than two samples.
    """
    y = train.y.numpy()
    rows = []
    for index, label in enumerate(train.classes):
        members = np.flatnonzero(y == index)
        if len(members) < 2 and per_class > len(members):
            raise DataError(
                f"Data {train.provenance.name!r}: class {label!r} has {len(members)} training sample(s); "
                f"{method} needs 2."
            )
        rows.append(np.sort(rng.permutation(members)[:per_class]))
    return train.subset(torch.from_numpy(np.concatenate(rows)))


def fill(train: Dataset, thinned: Dataset, x: Tensor, y: Tensor, per_class: int, *, method: str) -> Dataset:
    """Put made samples behind the real ones, in group -1, and note what was done.

    Args:
        train: the training part as it was.
        thinned: what is kept of it, see :func:`thin`.
        x: the made samples.
        y: their labels.
        per_class: samples that every class then has.
        method: what made them.
    """
    groups = thinned.groups
    if groups is not None:
        groups = torch.cat([groups, groups.new_full((len(y),), -1)])
    note = (
        f"training balanced to {per_class} samples per class: {len(train) - len(thinned)} left out at "
        f"random, {len(y)} made by {method} (group -1)"
    )
    provenance = replace(train.provenance, notes=(*train.provenance.notes, note))
    x, y = torch.cat([thinned.x, x]), torch.cat([thinned.y, y])
    return replace(thinned, x=x, y=y, groups=groups, provenance=provenance)
