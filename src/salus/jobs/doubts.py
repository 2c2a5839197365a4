"""Whether an attack's radius goes with a file of samples: said before the attack, as an audit says it."""

from __future__ import annotations

import numpy as np
import torch

from salus.attacks import Attack
from salus.audit.leeway import doubts, leeways
from salus.classifier import Classifier
from salus.data import Dataset, Provenance
from salus.data.plausibility import values_in
from salus.jobs.attack import Rows

#: Samples that are looked at, the first ones.
LOOKED_AT = 512


def attack_doubts(attack: Attack, classifier: Classifier, x: Rows) -> list[str]:
    """Doubt a radius that no value of the samples could follow, or that is of other units; nothing for most.

    Samples that no attack takes get none: the attack refuses them in a sentence of its own.

    Args:
        attack: the attack.
        classifier: its victim.
        x: samples ``[N, ...]``, of which the first are looked at.
    """
    first = np.ascontiguousarray(x[:LOOKED_AT], np.float32)
    low, high = (np.float32(bound) for bound in classifier.bounds)
    if first.shape[1:] != classifier.shape or first.size == 0 or not bool(((first >= low) & (first <= high)).all()):
        return []
    data = Dataset(
        torch.from_numpy(first),
        torch.zeros(len(first), dtype=torch.int64),
        classifier.classes,
        Provenance("inputs", ""),
        bounds=classifier.bounds,
        features=tuple(getattr(classifier.preprocessor, "features", ())),
        steps=attack.units or (),
    )
    values = values_in(data)
    return list(doubts(tuple(leeways([attack], data, values).values()), data, values))
