"""An attacker who asks a guard whose callers are watched, and who does not know that they are."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from salus.attacks import Attack
from salus.detectors.queries import InProcess, Monitor
from salus.errors import OptionError
from salus.guard import Guard
from salus.threats.base import AttackedSamples, Samples
from salus.threats.models import DecisionOnly
from salus.threats.watched import Access, Watched

#: No point is as near as this.
_NOWHERE = -1.0


@dataclass(frozen=True, eq=False)
class CallerWatch:
    """A monitor of one guard's callers.

    Attributes:
        monitor: fitted; each attack is watched by a copy with an empty memory.
        honest: what honest callers came to under it, fields of a cell's record.
    """

    monitor: Monitor
    honest: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class DecisionOnlyWatched(DecisionOnly):
    """An attacker who asks, where whoever raises the alarm is refused from then on.

    Attributes:
        spec: the monitor as it was asked for.
        count: how many accounts each sample's attacker has: queries go round, and a refused account's go to the others.
        watches: of each guard, by name.
    """

    summary: ClassVar[str] = (
        f"{DecisionOnly.summary} Where a monitor watches the callers, an account that raises the alarm is refused from "
        "then on."
    )

    unsuited: ClassVar[str] = "which ask for more than answers, or measure in neither L-infinity nor L2"

    spec: str
    count: int
    watches: Mapping[str, CallerWatch]

    @property
    def watcher(self) -> str:
        """The monitor as it was asked for."""
        return self.spec

    @property
    def accounts(self) -> int:
        """How many accounts each sample's attacker has."""
        return self.count

    @classmethod
    def refusal(cls, attack: Attack) -> str | None:
        """Refuse what needs more than answers, and what measures in another norm than wins are judged in."""
        if attack.norm not in ("linf", "l2"):
            return f"{attack.title} measures in {attack.norm}, and a watched attack is judged in L-infinity or L2."
        return super().refusal(attack)

    def identity(self, guard: Guard) -> dict[str, Any]:
        """Return the monitor's fingerprint, and how many accounts there are."""
        return {"monitor": self.watches[guard.name].monitor.fingerprint(), "accounts": self.accounts}

    def beside(self, guard: Guard) -> Mapping[str, Any]:
        """Say what the monitor costs honest callers."""
        return self.watches[guard.name].honest

    def attack(
        self,
        attack: Attack,
        guard: Guard,
        samples: Samples,
        *,
        tried: Callable[[str, int], None],
        done: Callable[[int], None],
    ) -> AttackedSamples:
        """Ask the guard until all accounts are refused; what was found by then counts, and nothing else.

        Raises:
            OptionError: the attack needs more than answers.
        """
        if (reason := self.refusal(attack)) is not None:
            raise OptionError(reason)
        x = samples.x
        world = Watched(
            guard,
            self._fresh(guard, len(x)),
            x,
            samples.aim if samples.truth is None else samples.truth,
            access=Access(accounts=self.accounts),
            radii=_radii(attack),
            samples=samples.rows,
            targeted=attack.targeted,
        )
        result = attack.run(world, x, samples.aim, samples=samples.rows, progress=done, judge=False)
        found = world.within(result.x_adv, list(range(len(x))))
        return AttackedSamples(
            self._standing(world, guard, result.x_adv, found, samples),
            torch.tensor([trail.queries for trail in world.trails], device=x.device),
            result.passes,
            noticed=torch.tensor(
                [math.inf if trail.first is None else trail.first for trail in world.trails],
                dtype=torch.float64,
                device=x.device,
            ),
        )

    def _fresh(self, guard: Guard, attackers: int) -> Monitor:
        """Return the monitor with an empty memory, large enough for every account, and a secret of its own."""
        monitor = copy(self.watches[guard.name].monitor)
        salt = hashlib.sha256(f"audit {monitor.fingerprint()}".encode()).digest()
        monitor.memory = InProcess(most_callers=attackers * self.accounts, salt=salt)
        return monitor

    @staticmethod
    def _standing(world: Watched, guard: Guard, x_adv: Tensor, near: Tensor, samples: Samples) -> Tensor:
        """Keep of each attack what it had been answered, or may still send: a refused attacker sends nothing more."""
        answers = guard(x_adv).answers
        right = answers == (samples.aim if world.targeted else world.y)
        wins = near & (answers >= 0) & (right if world.targeted else ~right)
        points = x_adv.clone()
        for row, trail in enumerate(world.trails):
            if trail.point is not None and not bool(wins[row]):
                points[row] = trail.point[0]
            elif trail.point is None and world.over(row):
                points[row] = samples.x[row]
        return points


def _radii(attack: Attack) -> tuple[float, float]:
    """Say how near a win must be, in L-infinity and in L2; infinite where the attack looks for the nearest."""
    eps = math.inf if attack.eps is None else attack.eps
    return (eps, _NOWHERE) if attack.norm == "linf" else (_NOWHERE, eps)
