"""A guard whose callers are watched, as those who only ask meet it: with accounts, which can be refused one by one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from salus.attacks.objective import Evaluation, Objective, logit_margin
from salus.attacks.search import BudgetSpent
from salus.detectors.queries import Monitor, Stream
from salus.guard import Guard
from salus.options import check_fields

#: The margin of what is rejected or refused: there is nothing to follow.
NOTHING = 1e9


@dataclass(frozen=True, kw_only=True)
class Access:
    """How an attacker reaches a watched guard.

    Attributes:
        accounts: how many; queries go round, and a refused account's go to the others.
        life: the share of real inputs among what each account asks, from 0 to below 1.
        scores: whether answers carry probabilities.
    """

    accounts: Annotated[int, Field(ge=1, description="accounts of an attacker")] = 1
    life: Annotated[float, Field(ge=0, lt=1, description="share of real inputs among what each account asks")] = 0.0
    scores: Annotated[bool, Field(description="whether answers carry probabilities")] = False

    def __post_init__(self) -> None:
        check_fields(self, "Access")


@dataclass(eq=False)
class QueryTrail:
    """What came of one sample's attack.

    Attributes:
        queries: that the attacker asked, real inputs left out.
        sent: all that the accounts sent.
        won: queries after which a point within the radii had been answered as the attacker wishes; None: never.
        first: queries after which the first account was refused; None: never.
        refused: accounts that were refused.
        scores: queries after which the suspicion of an account was higher than ever, and how high it was then.
        point: the first point that won ``[1, ...]``; None: none did.
    """

    queries: int = 0
    sent: int = 0
    won: int | None = None
    point: Tensor | None = field(default=None, repr=False)
    first: int | None = None
    refused: int = 0
    scores: list[tuple[int, float]] = field(default_factory=list)

    def note(self, score: float) -> None:
        """Take note of a suspicion."""
        if score > (self.scores[-1][1] if self.scores else 0.0):
            self.scores.append((self.queries, score))

    def reaches(self, level: float) -> int | None:
        """Return after how many queries the suspicion stood at a level or above; None: never."""
        return next((queries for queries, score in self.scores if score >= level), None)


class Watched(Objective):
    """Make a watched guard accept a wrong label, seeing its answers, or their probabilities, alone.

    Each sample under attack has its own attacker with accounts of their own. A query goes to an account that is still
    answered; one that raises the alarm is not answered, and the account is refused from then on. A sample's attack is
    over where all are, and where it has won: who has what they wanted asks no more, unless any radius will do and
    they look for the nearest.

    Args:
        guard: who judges.
        monitor: who watches; fitted. Its memory learns of every query.
        x: the clean samples ``[N, ...]``.
        y: their labels ``[N]``.
        access: how the attacker reaches the guard.
        life: honest streams from which accounts send real inputs in between.
        radii: how near a win must be: in L-infinity, and in L2; either will do.
        alarm: the suspicion at which an account is refused, as a multiple of the monitor's own alarm. A high one
            shows at once what every lower one would have come to against attackers who do not know of it.
        samples: int64 ``[N]``, which samples of a larger whole these are; by default they are the whole.
        targeted: what is wished for is the label that the attack asks with, instead of any wrong one.
    """

    def __init__(
        self,
        guard: Guard,
        monitor: Monitor | None,
        x: Tensor,
        y: Tensor,
        *,
        access: Access | None = None,
        life: Sequence[Stream] = (),
        radii: tuple[float, float] = (0.01, 0.167),
        alarm: float = 1.0,
        samples: Tensor | None = None,
        targeted: bool = False,
    ) -> None:
        self.guard, self.monitor, self.x, self.y = guard, monitor, x, y
        self.access, self.life, self.radii, self.alarm = access or Access(), life, radii, alarm
        self.targeted = targeted
        numbers = range(len(x)) if samples is None else samples.tolist()
        self._rows = {number: row for row, number in enumerate(numbers)}
        self.trails = [QueryTrail() for _ in range(len(x))]
        self._open = [list(range(self.access.accounts)) for _ in range(len(x))]
        self._turn = [0] * len(x)
        self._fillers: dict[str, int] = {}

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The guard's classifier."""
        return (self.guard.classifier,)

    @property
    def bounds(self) -> tuple[float, float]:
        """The value bounds of the inputs."""
        return self.guard.bounds

    def refused(self, row: int) -> bool:
        """Whether all accounts of the attacker are refused whose sample stands in this row."""
        return not self._open[row]

    def over(self, row: int) -> bool:
        """Whether the attack on the sample in this row has ended: it has won, or all of its accounts are refused."""
        return self.refused(row) or (math.inf not in self.radii and self.trails[row].won is not None)

    def account(self, row: int) -> str:
        """Name the account whose turn it is; the attack must not be over."""
        accounts = self._open[row]
        return f"{row}/{accounts[self._turn[row] % len(accounts)]}"

    def evaluate(self, x: Tensor, y: Tensor) -> Evaluation:
        """Ask for points of the samples in their order; see :meth:`evaluate_of`."""
        return self.evaluate_of(x, y, torch.tensor(list(self._rows)[: len(x)]))

    def evaluate_of(self, x: Tensor, y: Tensor, samples: Tensor) -> Evaluation:
        """Ask, each sample in the name of its own attacker's accounts; whose attack is over is answered nothing.

        Raises:
            BudgetSpent: every attack is over.
        """
        if all(map(self.over, range(len(self.x)))):
            raise BudgetSpent
        rows = [self._rows[number] for number in samples.tolist()]
        asking = [place for place, row in enumerate(rows) if not self.over(row)]
        answers = torch.full_like(y, -1)
        margin = torch.full((len(x),), NOTHING, dtype=x.dtype, device=x.device)
        wanted = y if self.targeted else self.y[rows]
        if asking:
            verdict = self.guard(x[asking])
            near = self.within(x[asking], [rows[place] for place in asking])
            wins = (near.to(y.device) & self._wins(verdict.answers, wanted[asking])).tolist()
            for place, answer, won in zip(asking, verdict.answers.tolist(), wins, strict=True):
                answers[place] = self._ask(rows[place], x[place : place + 1], answer, wins=won)
            if self.access.scores:
                own = logit_margin(verdict.probabilities.clamp_min(1e-30).log(), wanted[asking]).to(margin)
                own = -own if self.targeted else own
                margin[asking] = torch.where(answers[asking] >= 0, own, NOTHING)
        success = self._wins(answers, wanted)
        return Evaluation(None, y, margin=margin if self.access.scores else None, success=success)

    def _wins(self, answers: Tensor, wanted: Tensor) -> Tensor:
        return (answers >= 0) & ((answers == wanted) if self.targeted else (answers != wanted))

    def _ask(self, row: int, x: Tensor, answer: int, *, wins: bool) -> int:
        """Let an account ask; return what the first of those still open is answered, or -1 where none is."""
        trail = self.trails[row]
        if self.over(row):
            return -1
        trail.queries += 1
        while self._open[row]:
            caller = self.account(row)
            if self._passes(caller, trail, x, answer):
                self._turn[row] += 1
                if wins and trail.won is None:
                    trail.won, trail.point = trail.queries, x.detach().clone()
                return answer
            self._open[row].remove(int(caller.rpartition("/")[2]))
            trail.refused += 1
            trail.first = trail.queries if trail.first is None else trail.first
        return -1

    def _passes(self, caller: str, trail: QueryTrail, x: Tensor, answer: int) -> bool:
        if self.monitor is None:
            trail.sent += 1
            return True
        inputs, answers = self._filler(caller)
        trail.sent += 1 + len(inputs)
        batch = torch.cat([inputs, x.cpu()]) if len(inputs) else x.cpu()
        given = torch.tensor([*answers, answer])
        suspicion = self.monitor.observe(caller, batch, float(trail.sent), given)
        trail.note(float(suspicion.score.max()))
        return not bool((suspicion.score >= self.alarm).any())

    def _filler(self, caller: str) -> tuple[Tensor, list[int]]:
        """Give the real inputs that the account sends before its next query, and what they are answered."""
        share = self.access.life
        if not share or not self.life:
            return self.x[:0].cpu(), []
        asked = self._fillers.get(caller, 0)
        self._fillers[caller] = asked + 1
        ratio = share / (1 - share)
        first, last = int(asked * ratio), int((asked + 1) * ratio)
        stream = self.life[sum(map(ord, caller)) % len(self.life)]
        rows = [row % len(stream.x) for row in range(first, last)]
        return stream.x[rows].cpu(), stream.answers[rows].tolist()

    def within(self, x: Tensor, rows: list[int]) -> Tensor:
        """Tell which points ``[M, ...]`` are near enough to the samples in these rows, bool ``[M]``."""
        change = (x.double() - self.x[rows].double()).flatten(1)
        near: Tensor = (change.abs().amax(1) <= self.radii[0]) | (change.norm(dim=1) <= self.radii[1])
        return near
