"""The threat models by name, those that do not know the guard, and which attacks go with which."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from torch import Tensor

from salus.attacks import Attack, AttackResult
from salus.attacks.objective import DecisionObjective
from salus.classifier import Classifier
from salus.errors import OptionError, nearest
from salus.guard import Guard

THREAT_MODELS = ("white-box", "transfer", "oblivious", "gray-box", "adaptive", "decision-only")

#: What lies between the seeds of an attack's turns.
_APART = 1_000_003


def full_strength(attack: Attack) -> Attack:
    """Return the attack without early stopping: what its maker cannot test on the victim, it must overdo."""
    return changed(attack, early_stop=False)


def oblivious(attack: Attack, guard: Guard, x: Tensor, y: Tensor, **options: Any) -> AttackResult:
    """Attack the guard's classifier, its defence unknown."""
    return full_strength(attack).run(guard.classifier, x, y, **options)


def transfer(attack: Attack, substitute: Classifier, x: Tensor, y: Tensor, **options: Any) -> AttackResult:
    """Attack a substitute that was trained apart."""
    return full_strength(attack).run(substitute, x, y, **options)


def decision_only(attack: Attack, guard: Guard, x: Tensor, y: Tensor, **options: Any) -> AttackResult:
    """Attack a guard through its final answers alone; a rejection is never a success.

    Raises:
        OptionError: the attack needs more than answers.
    """
    reason = refusal(attack, "decision-only")
    if reason is not None:
        raise OptionError(reason)
    asked = DecisionObjective(lambda point: guard(point).answers, targeted=attack.targeted)
    return attack.run(asked, x, y, **options)


def refusal(attack: Attack, threat_model: str) -> str | None:
    """Say why an attack does not go with a threat model; None where it does."""
    if threat_model == "decision-only" and attack.knowledge != "answers":
        return f"{attack.title} asks for {attack.knowledge}, which a decision-only attacker does not see."
    if threat_model in ("adaptive", "gray-box") and not attack.adaptive:
        return f"{attack.title} has no adaptive form: run it oblivious, and another attack as the adaptive one."
    return None


def changed(attack: Attack, **changes: Any) -> Attack:
    """Return the attack with these options, those that it has none of left out."""
    known = {field.name for field in fields(attack)}
    return replace(attack, **{key: value for key, value in changes.items() if key in known})


def reseeded(attack: Attack, turn: int) -> Attack:
    """Return the attack with draws of its own for one of its turns at the same samples, so that its starts differ."""
    return replace(attack, seed=attack.seed + _APART * turn)


def check_threat(name: str) -> str:
    """Refuse an unknown threat model.

    Raises:
        OptionError: with the nearest names.
    """
    if name not in THREAT_MODELS:
        raise OptionError(f"Unknown threat model {name!r}; {nearest(name, THREAT_MODELS)}")
    return name
