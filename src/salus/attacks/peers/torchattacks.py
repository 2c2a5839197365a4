"""Attacks of torchattacks, ``torchattacks:PGD``."""

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
    "GN": "nothing",
    "OnePixel": "logits",
    "Pixle": "logits",
    "SPSA": "logits",
    "Square": "logits",
    "VANILA": "nothing",
}
_L2 = {"CW", "DeepFool", "EADEN", "EADL1", "PGDL2", "PGDRSL2"}
#: They are made of other attacks, or train models.
_LEFT_OUT = {"LGV", "MultiAttack"}


@dataclass(frozen=True, kw_only=True)
class TorchattacksAttack(PeerAttack):
    """An attack of torchattacks."""

    library: ClassVar[str] = "torchattacks"
    distribution: ClassVar[str] = "torchattacks"
    examples: ClassVar[tuple[str, ...]] = ("PGD", "CW", "Square")

    @classmethod
    def catalogue(cls) -> dict[str, Any]:
        """Find the attacks by name."""
        module = cls.module("torchattacks")
        base = cls.module("torchattacks.attack").Attack
        return {
            name: attack
            for name, attack in vars(module).items()
            if inspect.isclass(attack) and issubclass(attack, base) and name not in _LEFT_OUT
        }

    @classmethod
    def facts(cls, theirs: Any, takes: frozenset[str]) -> dict[str, Any]:
        """Say what kind of attack it is."""
        name = theirs.__name__
        takes_eps = bool(takes & {"eps", "max_epsilon"})
        norms: tuple[str, ...] = ("linf",) if takes_eps and "norm" not in takes else ("linf", "l2")
        return {
            "norms": ("l2",) if name in _L2 else norms,
            "knowledge": _KNOWLEDGE.get(name, "gradients"),
            "takes_eps": takes_eps,
            "closest": not takes_eps,
        }

    def generate(self, victim: Victim, images: Tensor, y: Tensor, *, targeted: bool, seed: int) -> Tensor:
        """Run the attack."""
        eps = None if self.eps is None else self.eps / self._width
        options = self.settings(eps=eps, norm="Linf" if self.norm == "linf" else "L2")
        if "seed" in self.takes:
            options["seed"] = seed
        if "n_classes" in self.takes:
            options["n_classes"] = victim.classes
        attack = self.construct(options, victim)
        if targeted:
            if "targeted" not in attack.supported_mode:
                raise OptionError(f"{self.title} cannot aim for a class; leave targeted out.")
            attack.set_mode_targeted_by_label(quiet=True)
        output: Tensor = attack(images, y)
        return output
