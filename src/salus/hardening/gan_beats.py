"""The beats that ECG-ATK-GAN learns from and is scored on: dealt to folds, and put before their attacked copies."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from salus.data.base import Dataset
from salus.errors import DataError
from salus.hardening.gan_options import GANOptions

#: Makes the attacked copy of beats ``(x [N, C, L], y [N])``.
AttackCopies = Callable[[Tensor, Tensor], Tensor]


def deal_folds(train: Dataset, options: GANOptions) -> list[tuple[Tensor, Tensor]]:
    """Deal the beats to folds, every class alike; rows to learn from and rows held out, int64 each.

    Raises:
        DataError: a class has fewer beats than there are folds.
    """
    from sklearn.model_selection import StratifiedKFold

    fewest = min(train.counts, key=lambda name: train.counts[name])
    if train.counts[fewest] < options.folds:
        raise DataError(
            f"Data {train.provenance.name!r}: class {fewest!r} has {train.counts[fewest]} training beats, too few for "
            f"{options.folds} folds."
        )
    folds = StratifiedKFold(options.folds, shuffle=True, random_state=options.seed)
    splits = folds.split(np.zeros(len(train)), train.y.numpy())
    parts = [(torch.from_numpy(learn), torch.from_numpy(held_out)) for learn, held_out in splits]
    parts = parts[: options.folds_trained]
    return [(learn, _scored(train.y, held_out, options)) for learn, held_out in parts]


def _scored(y: Tensor, held_out: Tensor, options: GANOptions) -> Tensor:
    """Draw the held-out beats that epochs are scored on: of each class its share, and one of it at least."""
    if options.scored is None or options.scored >= len(held_out):
        return held_out
    rng, rows = torch.Generator().manual_seed(options.seed), []
    for label in y[held_out].unique():
        members = held_out[y[held_out] == label]
        most = max(1, round(options.scored * len(members) / len(held_out)))
        rows.append(members[torch.randperm(len(members), generator=rng)[:most]])
    return torch.cat(rows).sort().values


@dataclass(frozen=True, eq=False)
class Batch:
    """Beats of one step."""

    x: Tensor  # [B, C, L], clean or attacked
    clean: Tensor  # [B, C, L], the same beats before the attack
    y: Tensor  # [B]
    attacked: Tensor  # [B], 0 or 1


@dataclass(frozen=True, eq=False)
class AttackedBeats:
    """Clean beats and their attacked copies, scaled to (0, 1)."""

    x: Tensor  # [M, C, L]: the clean ones, then the copies
    y: Tensor  # [M]
    clean: int  # how many are clean

    @classmethod
    def of(cls, beats: Dataset, attacked: AttackCopies | None, low: float, high: float) -> AttackedBeats:
        """Attack the beats and put the copies behind them."""
        x, y = beats.x, beats.y
        if attacked is not None:
            x, y = torch.cat([x, attacked(x, y)]), torch.cat([y, y])
        return cls((x - low) / (high - low), y, len(beats))

    def __len__(self) -> int:
        return len(self.y)

    def batch(self, rows: Tensor, device: torch.device | str) -> Batch:
        """Take these rows."""
        copies = (rows >= self.clean).long()
        return Batch(
            self.x[rows].to(device),
            self.x[rows - copies * self.clean].to(device),
            self.y[rows].to(device),
            copies.to(device),
        )

    def fingerprint(self) -> str:
        """Return a SHA-256 of all beats and labels."""
        digest = hashlib.sha256(self.x.contiguous().numpy().tobytes())
        digest.update(self.y.numpy().tobytes())
        return digest.hexdigest()
