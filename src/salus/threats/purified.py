"""Ways round a purifier: without its gradients, by a stand-in for them, and in expectation over what it draws."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from torch import Tensor

from salus.attacks import Attack, Square
from salus.generative.encoder import encoder_of
from salus.generative.projection import OntoRange
from salus.guard import Guard
from salus.purifiers import Purifier
from salus.threats.engines import changed, full_strength
from salus.threats.expectation import InExpectation
from salus.threats.objectives import ClassConsistent, GuardObjective
from salus.threats.worst import Variant

#: Of an attacker who goes without gradients, for each sample; of a purifier whose every answer takes thousands of
#: passes, as a projection onto a generator's range does, fewer.
QUERIES, PROJECTED_QUERIES = 1000, 200

#: How far past the boundary is far enough where a stand-in is attacked and the guard is hoped to follow, in logits.
_SURE = 5.0


def around_the_purifier(engine: Attack, guard: Guard, goals: list[Tensor | None], starts: int) -> Iterator[Variant]:
    """List what an attacker does about a purifier, and about draws, beside going end to end.

    A gradient that leads nowhere, or a bad guess at one, would pass for robustness: so there is always one way that
    asks for none.

    Args:
        engine: how steps are taken.
        guard: the guard.
        goals: the classes to reach in turn, ``[N]`` each; the one to reach if the engine is targeted.
        starts: random starts of what starts anywhere.
    """
    targeted, goal = engine.targeted, goals[0] if engine.targeted else None
    objective = GuardObjective(guard, targeted=targeted)
    many = changed(engine, restarts=max(starts, getattr(engine, "restarts", 1)))
    if guard.random:
        objective = InExpectation(guard, targeted=targeted)
        yield Variant(f"{objective.title}, fresh start", many, objective, [goal], "fresh")
        yield Variant(f"{objective.title}, nearest start", engine, objective, [goal], "nearest")
    if guard.purifier is None:
        return
    if isinstance(guard.purifier, OntoRange):
        yield Variant("end-to-end, fresh starts", many, objective, [goal], "fresh")
        straight = _behind(guard, _Straight(guard.purifier))
        yield Variant("straight through the projection", engine, straight, goals, "nearest")
        # An attack on the encoder alone takes no projection at all: it can be overdone.
        alone = _behind(guard, _Encoded(guard.purifier), sure=_SURE)
        yield Variant("an encoder in the projection's place", full_strength(many), alone, goals, "fresh")
        through = _behind(guard, _ThroughAnEncoder(guard.purifier))
        yield Variant("through an encoder", engine, through, goals, "nearest")
    if engine.eps is not None and engine.norm in Square.norms and getattr(engine, "steps", 1) > 1:
        most = PROJECTED_QUERIES if isinstance(guard.purifier, OntoRange) else QUERIES
        square = gradient_free(engine, min(most, engine.queries or most))
        yield Variant(f"{Square.name}, {square.queries} queries", square, objective, [goal], "nearest")


def gradient_free(engine: Attack, queries: int) -> Square:
    """Return a random search that may go where another attack may, with its seed."""
    shared = {field.name: getattr(engine, field.name) for field in fields(Attack)}
    return Square(**{**shared, "queries": queries})


def _behind(guard: Guard, stand_in: Purifier, **options: Any) -> ClassConsistent:
    """Aim for a class behind a stand-in for the guard's purifier."""
    return ClassConsistent(Guard(guard.classifier, guard.detectors, stand_in), weight=None, **options)


class _StandIn(Purifier):
    """A purifier in another one's place, for an attacker's gradients.

    Args:
        purifier: the other.
    """

    name = "stand-in"

    def __init__(self, purifier: OntoRange) -> None:
        self.purifier = purifier

    def purify(self, x: Tensor) -> Tensor:
        """Purify as it does."""
        return self.purifier.nearest(x)

    def encoded(self, x: Tensor) -> Tensor:
        """Return ``G(E(x))``; differentiable."""
        generator = self.purifier.generator.to(x.device)
        made: Tensor = generator(encoder_of(generator)(x))
        return made

    def settings(self) -> dict[str, Any]:
        """Return the purifier's own."""
        return self.purifier.made_with()


class _Straight(_StandIn):
    """A purifier that is passed as the identity (BPDA): descents that bounce have a gradient, but not one to follow."""


class _ThroughAnEncoder(_StandIn):
    """A purifier with the gradient of ``G(E(x))`` (BPDA)."""

    def surrogate(self, x: Tensor) -> Tensor:
        """Pass through the encoder."""
        return self.encoded(x)


class _Encoded(_StandIn):
    """An encoder and the generator behind it, in the place of the purifier as a whole."""

    @property
    def differentiable(self) -> bool:
        """Networks are."""
        return True

    def purify(self, x: Tensor) -> Tensor:
        """Return ``G(E(x))``."""
        return self.encoded(x)
