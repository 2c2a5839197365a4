"""Attacks by those who do not know the guard, and which attacks go with whom."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from salus.attacks import Attack, AttackResult
from salus.attacks.objective import DecisionObjective, LogitObjective
from salus.classifier import Classifier
from salus.errors import OptionError
from salus.guard import Guard

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
    reason = needs_more_than_answers(attack)
    if reason is not None:
        raise OptionError(reason)
    answers = DecisionObjective(lambda point: guard(point).answers, targeted=attack.targeted)
    return attack.run(answers, x, y, **options)


def score_only(attack: Attack, guard: Guard, x: Tensor, y: Tensor, **options: Any) -> AttackResult:
    """Attack a guard that never rejects through the probabilities that it answers with.

    Raises:
        OptionError: the attack needs more than these, or less.
    """
    reason = needs_other_than_scores(attack)
    if reason is not None:
        raise OptionError(reason)

    def scores(point: Tensor) -> Tensor:
        probabilities = guard(point).probabilities
        return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()

    return attack.run(LogitObjective(scores, targeted=attack.targeted), x, y, **options)


def needs_other_than_scores(attack: Attack) -> str | None:
    """Say why an attack does not go with an attacker who sees probabilities alone; None where it does."""
    if attack.knowledge == "logits":
        return None
    if attack.knowledge == "answers":
        return f"{attack.title} asks for answers alone: run it decision-only."
    return f"{attack.title} asks for {attack.knowledge}, which a score-only attacker does not see."


def needs_more_than_answers(attack: Attack) -> str | None:
    """Say why an attack does not go with an attacker who sees answers alone; None where it does."""
    if attack.knowledge == "answers":
        return None
    return f"{attack.title} asks for {attack.knowledge}, which a decision-only attacker does not see."


def no_adaptive_form(attack: Attack) -> str | None:
    """Say why an attack does not go with an attacker who knows a guard; None where it does."""
    if attack.adaptive:
        return None
    return f"{attack.title} has no adaptive form: run it oblivious, and another attack as the adaptive one."


def changed(attack: Attack, **changes: Any) -> Attack:
    """Return the attack with these options, those that it has none of left out."""
    known = {field.name for field in fields(attack)}
    return replace(attack, **{key: value for key, value in changes.items() if key in known})


def reseeded(attack: Attack, turn: int) -> Attack:
    """Return the attack with draws of its own for one of its turns at the same samples, so that its starts differ."""
    return replace(attack, seed=attack.seed + _APART * turn)
