"""A guard whose callers are watched, as those who only ask meet it: with accounts, which can be refused one by one."""

from __future__ import annotations

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
class Trail:
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
    answered; one that raises the alarm is not answered, and the account is refused from then on. Where all are, the
    sample's attack is over.

    Args:
        guard: who judges.
        monitor: who watches; fitted. Its memory learns of every query.
        x: the clean samples ``[N, ...]``.
        y: their labels ``[N]``.
        access: how the attacker reaches the guard.
        life: honest streams from which accounts send real inputs in between.
        radii: how near a win must be: in L-infinity, and in L2; either will do.
        refuses: whether an alarm ends an account; otherwise it is only noted, which shows at once what any higher or
            lower alarm would have come to against attackers who do not know of it.
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
        refuses: bool = True,
        samples: Tensor | None = None,
        targeted: bool = False,
    ) -> None:
        self.guard, self.monitor, self.x, self.y = guard, monitor, x, y
        self.access, self.life, self.radii, self.refuses = access or Access(), life, radii, refuses
        self.targeted = targeted
        numbers = range(len(x)) if samples is None else samples.tolist()
        self._rows = {number: row for row, number in enumerate(numbers)}
        self.trails = [Trail() for _ in range(len(x))]
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

    def over(self, row: int) -> bool:
        """Whether all accounts of the attacker are refused whose sample stands in this row."""
        return not self._open[row]

    def account(self, row: int) -> str:
        """Name the account whose turn it is; the attack must not be over."""
        accounts = self._open[row]
        return f"{row}/{accounts[self._turn[row] % len(accounts)]}"

    def evaluate(self, x: Tensor, y: Tensor) -> Evaluation:
        """Ask for points of the samples in their order; see :meth:`evaluate_of`."""
        return self.evaluate_of(x, y, torch.tensor(list(self._rows)[: len(x)]))

    def evaluate_of(self, x: Tensor, y: Tensor, samples: Tensor) -> Evaluation:
        """Ask, each sample in the name of its own attacker's accounts; who is refused is answered nothing.

        Raises:
            BudgetSpent: of no sample at all an account is left.
        """
        if not any(self._open):
            raise BudgetSpent
        rows = [self._rows[number] for number in samples.tolist()]
        asking = [place for place, row in enumerate(rows) if not self.over(row)]
        answers = torch.full_like(y, -1)
        margin = torch.full((len(x),), NOTHING, dtype=x.dtype, device=x.device)
        wanted = y if self.targeted else self.y[rows]
        if asking:
            verdict = self.guard(x[asking])
            given = [
                answer if self._ask(rows[place], x[place : place + 1], answer) else -1
                for place, answer in zip(asking, verdict.answers.tolist(), strict=True)
            ]
            answers[asking] = torch.tensor(given, dtype=answers.dtype, device=answers.device)
            if self.access.scores:
                own = logit_margin(verdict.probabilities.clamp_min(1e-30).log(), wanted[asking]).to(margin)
                own = -own if self.targeted else own
                margin[asking] = torch.where(answers[asking] >= 0, own, NOTHING)
        won = (answers >= 0) & ((answers == wanted) if self.targeted else (answers != wanted))
        self._note_wins(x, won, rows)
        return Evaluation(None, y, margin=margin if self.access.scores else None, success=won)

    def _ask(self, row: int, x: Tensor, answer: int) -> bool:
        """Let an account ask; tell whether it is answered, by the first of the accounts that still is."""
        trail = self.trails[row]
        if self.over(row):
            return False
        trail.queries += 1
        while self._open[row]:
            caller = self.account(row)
            if self._passes(caller, trail, x, answer):
                self._turn[row] += 1
                return True
            self._open[row].remove(int(caller.rpartition("/")[2]))
            trail.refused += 1
            trail.first = trail.queries if trail.first is None else trail.first
        return False

    def _passes(self, caller: str, trail: Trail, x: Tensor, answer: int) -> bool:
        if self.monitor is None:
            trail.sent += 1
            return True
        inputs, answers = self._filler(caller)
        trail.sent += 1 + len(inputs)
        batch = torch.cat([inputs, x.cpu()]) if len(inputs) else x.cpu()
        given = torch.tensor([*answers, answer])
        suspicion = self.monitor.observe(caller, batch, float(trail.sent), given)
        trail.note(float(suspicion.score.max()))
        return not (self.refuses and bool(suspicion.alarm.any()))

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

    def _note_wins(self, x: Tensor, won: Tensor, rows: list[int]) -> None:
        for place in won.nonzero()[:, 0].tolist():
            trail, point = self.trails[rows[place]], x[place : place + 1]
            if trail.won is None and bool(self.within(point, [rows[place]])):
                trail.won, trail.point = trail.queries, point.detach().clone()

    def within(self, x: Tensor, rows: list[int]) -> Tensor:
        """Tell which points ``[M, ...]`` are near enough to the samples in these rows, bool ``[M]``."""
        change = (x.double() - self.x[rows].double()).flatten(1)
        near: Tensor = (change.abs().amax(1) <= self.radii[0]) | (change.norm(dim=1) <= self.radii[1])
        return near
