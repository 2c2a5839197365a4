"""A few attacked beats for the pictures: the first test beat of each class, as each network sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from salus.attacks import BIM, FGSM, PGD, Attack, CarliniWagnerLinf
from salus.classifier import Classifier
from salus.data import load
from salus_studies.frame.rounding import rounded

#: Computes attacked beats from a network, beats and their classes.
Perturb = Callable[[Classifier, Tensor, Tensor], Tensor]


def examples(networks: Mapping[str, Classifier], inputs: tuple[str, ...], eps: float, **place: Any) -> dict[str, Any]:
    """Attack the first test beat of each class.

    Args:
        networks: by name; each reads ``inputs``, or the beat alone.
        inputs: channels, the beat among them.
        eps: how far values may be moved.
        place: seed, and where data lie, as :func:`salus.data.load` takes them.
    """
    record: dict[str, Any] = {"eps": eps, "attacked": {}, "answers": {}}
    for name, classifier in networks.items():
        channels = inputs if classifier.shape[0] > 1 else ("beat",)
        test = load("mitdb", split="beats", inputs=channels, **place).test
        rows = torch.tensor([int((test.y == label).nonzero()[0, 0]) for label in range(len(test.classes))])
        x, y = test.x[rows], test.y[rows]
        beat = channels.index("beat")
        attacked = {attack: perturb(classifier, x, y) for attack, perturb in _changes(eps).items()}
        record |= {"classes": list(test.classes), "attacks": list(attacked), "clean": x[:, beat].tolist()}
        record["attacked"][name] = {attack: x_adv[:, beat].tolist() for attack, x_adv in attacked.items()}
        record["answers"][name] = {
            attack: [test.classes[label] for label in classifier.predict(x_adv).argmax(1).tolist()]
            for attack, x_adv in {"clean": x, **attacked}.items()
        }
    stored: dict[str, Any] = rounded(record, digits=4)
    return stored


def _changes(eps: float) -> dict[str, Perturb]:
    """List what is done to the beats; attacks run at full strength, beyond the first success."""
    attacks: dict[str, Attack] = {
        "FGSM": FGSM(eps=eps),
        "BIM": BIM(eps=eps, steps=40, early_stop=False),
        "PGD": PGD(eps=eps, steps=40, early_stop=False),
        "CW": CarliniWagnerLinf(eps=eps),
    }
    return {**attacks, "noise": lambda _, x, y: noise(x, eps)}


def noise(x: Tensor, eps: float) -> Tensor:
    """Move every value by eps, up or down by chance: as large as an attack, and blind."""
    signs = torch.randint(2, x.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return (x + eps * signs).clamp(0, 1)
