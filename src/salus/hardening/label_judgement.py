"""How well wrong labels were found, where it is known which are wrong because a poisoning wrote it down."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from salus.attacks.poisoning import POISONS
from salus.data.base import Dataset
from salus.hardening.label_cleaning import LabelFinds
from salus.metrics import Rate, proportion


@dataclass(frozen=True)
class LabelJudgement:
    """How finds agree with what was flipped.

    Attributes:
        flipped: samples whose label a poisoning made another.
        recall: share of them that was found, with Wilson's interval.
        precision: share of the finds that were flipped; what was wrong before the poisoning counts against it. All
            None when nothing was found.
    """

    flipped: int
    recall: Rate
    precision: Rate


def judge(finds: LabelFinds, data: Dataset) -> LabelJudgement | None:
    """Compare finds with the labels that the data's provenance says were flipped; None when it tells of none.

    Args:
        finds: made in these data.
        data: poisoned, with the poisoning among ``provenance.changes``, and not yet cleaned.
    """
    flipped = flipped_labels(data)
    if not bool(flipped.any()):
        return None
    flags = finds.flags
    return LabelJudgement(int(flipped.sum()), proportion(flags, of=flipped), proportion(flipped, of=flags))


def flipped_labels(data: Dataset) -> Tensor:
    """Tell which labels differ from those before the first poisoning that touched them, bool ``[N]``."""
    before = data.y.cpu().clone()
    for change in reversed(data.provenance.changes):
        if change.name in POISONS:
            before[torch.tensor(change.indices, dtype=torch.int64)] = torch.tensor(change.labels, dtype=torch.int64)
    return before != data.y.cpu()
