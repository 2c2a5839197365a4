"""Attacks of Foolbox, ``foolbox:LinfPGD``."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from salus.attacks.peers.adapter import PeerAttack
from salus.attacks.peers.victim import Victim
from salus.attacks.taxonomy import Knowledge
from salus.errors import OptionError

_KNOWLEDGE: dict[str, Knowledge] = {
    "BinarizationRefinementAttack": "answers",
    "BinarySearchContrastReductionAttack": "answers",
    "BoundaryAttack": "answers",
    "GaussianBlurAttack": "answers",
    "GenAttack": "logits",
    "HopSkipJumpAttack": "answers",
    "InversionAttack": "answers",
    "L2ContrastReductionAttack": "nothing",
    "LinearSearchBlendedUniformNoiseAttack": "answers",
    "LinearSearchContrastReductionAttack": "answers",
    "PointwiseAttack": "answers",
    "SaltAndPepperNoiseAttack": "answers",
}


@dataclass(frozen=True, kw_only=True)
class FoolboxAttack(PeerAttack):
    """An attack of Foolbox."""

    library: ClassVar[str] = "Foolbox"
    distribution: ClassVar[str] = "foolbox"
    examples: ClassVar[tuple[str, ...]] = ("LinfPGD", "L2CarliniWagnerAttack", "HopSkipJumpAttack")
    extra_words: ClassVar[frozenset[str]] = frozenset({"restarts"})

    @classmethod
    def catalogue(cls) -> dict[str, Any]:
        """Find the attacks that measure a distance by name; those that need other samples are left out."""
        attacks = cls.module("foolbox.attacks")
        base = cls.module("foolbox.attacks.base").AttackWithDistance
        return {
            name: attack
            for name, attack in vars(attacks).items()
            if inspect.isclass(attack) and issubclass(attack, base) and not inspect.isabstract(attack)
            if name != "DatasetAttack"
        }

    @classmethod
    def facts(cls, theirs: Any, takes: frozenset[str]) -> dict[str, Any]:
        """Say what kind of attack it is."""
        from foolbox.attacks.base import FixedEpsilonAttack
        from foolbox.distances import l1, l2, linf

        name = theirs.__name__
        fixed = issubclass(theirs, FixedEpsilonAttack)
        distance = getattr(theirs, "distance", None)  # of noise it is a property, and its name must do
        norms: tuple[str, ...] = ("l2", "linf")
        if "constraint" in takes:
            pass  # an option that chooses
        elif distance == linf or name.startswith("Linf"):
            norms = ("linf",)
        elif distance == l2 or name.startswith("L2"):
            norms = ("l2",)
        elif distance == l1 or name.startswith("L1"):
            norms = ("l1",)
        noise = "Noise" in name and name not in _KNOWLEDGE
        return {
            "norms": norms,
            "knowledge": ("answers" if "Repeated" in name else "nothing")
            if noise
            else _KNOWLEDGE.get(name, "gradients"),
            "takes_eps": fixed,
            "closest": not fixed,
        }

    def generate(self, victim: Victim, images: Tensor, y: Tensor, *, targeted: bool, seed: int) -> Tensor:
        """Run the attack; what it clipped itself is left aside, for the ball does that."""
        from foolbox import distances
        from foolbox.criteria import Misclassification, TargetedMisclassification
        from foolbox.models.pytorch import PyTorchModel

        if self.eps is None and self.takes_eps:
            raise OptionError(f"{self.title} needs eps: write eps=VALUE.")
        eps = None if self.eps is None else self.eps / self._width
        options = self.settings(eps=None, norm=self.norm)
        if "distance" in self.takes:
            options["distance"] = getattr(distances, self.norm)
        attack = self.construct(options)
        if getattr(self, "restarts", None):
            attack = attack.repeat(self.restarts)  # type: ignore[attr-defined]
        model = PyTorchModel(victim, bounds=(0, 1), device=images.device)
        goal = TargetedMisclassification(y) if targeted else Misclassification(y)
        raw, _, _ = attack(model, images, goal, epsilons=eps)
        output: Tensor = raw
        return output
