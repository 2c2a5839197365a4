"""Balancing a training part with SMOTE (Chawla et al., 2002), after splitting and on training alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from salus.data.base import Dataset
from salus.errors import DataError


def smote(train: Dataset, per_class: int, *, seed: int) -> Dataset:
    """Bring every class to the same number of samples.

    Larger classes are thinned at random; smaller ones get samples between a sample and one of its five
    nearest neighbours of the same class. Such a sample belongs to no patient: its group is -1.

    Raises:
        DataError: a class has a single sample, which has no neighbour.
    """
    name = train.provenance.name
    rng = np.random.default_rng(seed)
    y = train.y.numpy()
    kept = []
    for index, label in enumerate(train.classes):
        members = np.flatnonzero(y == index)
        if len(members) < 2 and per_class > len(members):
            raise DataError(f"Data {name!r}: class {label!r} has {len(members)} training sample(s); SMOTE needs 2.")
        kept.append(np.sort(rng.permutation(members)[:per_class]))
    thinned = train.subset(torch.from_numpy(np.concatenate(kept)))
    smallest = min(len(rows) for rows in kept)
    x, labels = thinned.x, thinned.y
    if smallest < per_class:
        from imblearn.over_sampling import SMOTE

        sampler = SMOTE(
            sampling_strategy=dict.fromkeys(range(len(train.classes)), per_class),
            k_neighbors=min(5, smallest - 1),
            random_state=int(rng.integers(2**31)),
        )
        flat, made_y = sampler.fit_resample(x.flatten(1).numpy(), labels.numpy())
        low, high = train.bounds
        x = torch.from_numpy(flat.astype(np.float32)).clamp(low, high).view(-1, *x.shape[1:])
        labels = torch.from_numpy(made_y.astype(np.int64))
    made = len(labels) - len(thinned)
    groups = thinned.groups
    if groups is not None:
        groups = torch.cat([groups, groups.new_full((made,), -1)])
    note = (
        f"training balanced to {per_class} samples per class: {len(train) - len(thinned)} left out at "
        f"random, {made} made by SMOTE (group -1)"
    )
    provenance = replace(train.provenance, notes=(*train.provenance.notes, note))
    return replace(train, x=x, y=labels, groups=groups, provenance=provenance)
