"""How long a cell takes: estimated before it begins from one measured batch, and corrected while it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from salus.attacks.cost import Cost
from salus.attacks.objective import LogitObjective, Objective, frozen
from salus.attacks.universal import UAP
from salus.audit.cell import Attempt, Cell
from salus.batches import rows_at_once
from salus.guard import Guard
from salus.progress import Advance, duration
from salus.threats import Samples, driver
from salus.threats.base import Turn
from salus.threats.objectives import GuardObjective

#: Samples of the batch that is measured; where even a few take this many seconds, those few.
_ROWS, _FEW_ROWS, _SLOW = 64, 4, 1.0

#: Seconds from which on a cell is announced, and how many are named.
LONG, _NAMED = 60.0, 5


@dataclass(frozen=True)
class SamplePace:
    """Seconds that one sample takes of a forward pass, and of a backward pass after it."""

    forward: float
    backward: float


@dataclass(frozen=True)
class Estimate:
    """How long a cell takes at most, as one batch was measured.

    Attributes:
        samples: how many are attacked.
        passes: forward passes that each takes, at most.
        turns: seconds of each attack that is run on all samples, one after another.
        driving: seconds of driving the detectors' scores down once all of them are done.
    """

    samples: int
    passes: int
    turns: tuple[float, ...]
    driving: float = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of all."""
        return sum(self.turns) + self.driving


class Stopwatch:
    """Estimates cells, measuring each guard, and each bare classifier, once.

    Args:
        clock: tells the seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._paces: dict[tuple[int, bool], SamplePace] = {}

    def estimate(self, cell: Cell, *, at_hand: bool = False) -> Estimate | None:
        """Estimate how long a cell takes; None where nobody can tell before it is run.

        Args:
            cell: the cell.
            at_hand: turns that it shares with other cells are taken by them.
        """
        attempt, data = cell.attempt, cell.data
        if not cell.guard.local or attempt is None or isinstance(attempt.attack, UAP):
            return None
        if attempt.threat.refusal(attempt.attack) is not None:
            return None
        try:
            few = torch.arange(min(len(data), _ROWS), device=data.y.device)
            x = data.x[few[: rows_at_once(data.x, _ROWS)]]
            samples = Samples(x, data.y[: len(x)], None, few[: len(x)])
            turns = attempt.threat.turns(attempt.attack, cell.guard, samples)
            seconds, passes = [], 0
            for turn in turns:
                if turn.shared and at_hand:
                    seconds.append(0.0)
                    continue
                cost = turn.engine.cost(len(data.classes))
                if cost is None:
                    return None
                seconds.append(self._seconds(turn, cost, cell, samples))
                passes += cost.forward
            driving = self._driving(attempt, cell, samples)
            if driving is None:
                return Estimate(len(data), passes, tuple(seconds))
            return Estimate(len(data), passes + driving[0], tuple(seconds), driving[1])
        except Exception:  # a user's model may fail in any way; its cell will say how
            return None

    def _seconds(self, turn: Turn, cost: Cost, cell: Cell, samples: Samples) -> float:
        """Return what a turn takes on all samples of a cell."""
        pace = self._pace(cell.guard, samples, whole=turn.whole)
        each = len(cell.data) * (cost.forward * pace.forward + cost.backward * pace.backward)
        return min(each, turn.engine.time_limit or each)

    def _driving(self, attempt: Attempt, cell: Cell, samples: Samples) -> tuple[int, float] | None:
        """Return the passes and seconds of driving scores down, at most; None where nobody does."""
        engine = driver(attempt.attack, cell.guard) if attempt.threat.knows_guard else None
        cost = None if engine is None else engine.cost(len(cell.data.classes))
        if engine is None or cost is None:
            return None
        return cost.forward, self._seconds(Turn(engine, whole=True), cost, cell, samples)

    def _pace(self, guard: Guard, samples: Samples, *, whole: bool) -> SamplePace:
        key = (id(guard) if whole else id(guard.classifier), whole)
        if key not in self._paces:
            objective = GuardObjective(guard) if whole else LogitObjective(guard.classifier)
            self._paces[key] = self._measured(objective, samples.x, samples.aim)
        return self._paces[key]

    def _measured(self, objective: Objective, x: Tensor, y: Tensor) -> SamplePace:
        cuda = [x.device] if x.is_cuda else []
        with torch.random.fork_rng(devices=cuda), torch.inference_mode(False), frozen(*objective.modules):
            few, seconds = self._once(objective, x[:_FEW_ROWS], y[:_FEW_ROWS]), self._clock()
            if few.forward + few.backward > _SLOW / _FEW_ROWS or len(x) <= _FEW_ROWS:
                return few
            paces = [self._once(objective, x, y)]
            if self._clock() - seconds < _SLOW:  # the first time prepares what later ones have
                paces.append(self._once(objective, x, y))
        return min(paces, key=lambda pace: pace.forward + pace.backward)

    def _once(self, objective: Objective, x: Tensor, y: Tensor) -> SamplePace:
        point = x.detach().clone().requires_grad_()
        start = self._clock()
        with torch.enable_grad():
            loss = objective.evaluate(point, y).loss.sum()
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        middle = self._clock()
        if loss.requires_grad:
            torch.autograd.grad(loss, point, allow_unused=True)
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        return SamplePace((middle - start) / len(x), (self._clock() - middle) / len(x))


class CellWatch:
    """Tells while a cell goes on how far it is and how long it still takes, as its own pace says.

    Args:
        count: samples.
        advance: of the cell's stage.
        estimate: what was thought before; None where nobody could tell.
        clock: tells the seconds.
    """

    def __init__(
        self,
        count: int,
        advance: Advance = lambda *args, **options: None,
        estimate: Estimate | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count, self._advance, self._estimate, self._clock = count, advance, estimate, clock
        self._begun, self._done = clock(), 0
        self._turn, self._thought = 0, 0.0  # of the samples at hand; seconds that were thought for what is done
        self._standing = 1.0  # share of the samples at hand that the turn runs on
        if estimate is not None:
            advance(0, left=estimate.seconds)

    def at_hand(self) -> None:
        """Note that the turn that other cells share is taken; from here on the pace is this cell's own."""
        self._begun = self._clock()
        if self._estimate is not None:
            self._estimate = replace(self._estimate, turns=(0.0, *self._estimate.turns[1:]))

    def finished(self, amount: int) -> None:
        """Note that so many samples are done, by every turn."""
        self._done += amount
        self._turn, self._standing = 0, 1.0
        self._thought = 0.0 if self._estimate is None else self._estimate.seconds * self._done / self._count
        left = (self._clock() - self._begun) * (self._count - self._done) / max(self._done, 1)
        self._advance(amount, left=left)

    def tried(self, name: str, standing: int, rows: int) -> None:
        """Note that the next turn on these samples begins.

        Args:
            name: of the variant.
            standing: samples that are still standing.
            rows: samples at hand.
        """
        note = f"{name}, {standing} still standing"
        if self._estimate is None:
            self._advance(0, note)
            return
        turns, share = self._estimate.turns, rows / self._count
        if self._turn < len(turns):
            self._thought += turns[self._turn] * share * self._standing
        self._turn += 1
        self._standing = standing / max(rows, 1)
        here = sum(turns[self._turn :]) * share * self._standing + self._estimate.driving * share
        later = self._estimate.seconds * (self._count - self._done - rows) / self._count
        spent = self._clock() - self._begun
        pace = spent / self._thought if self._thought > 0 and spent > 1 else 1.0
        self._advance(0, note, left=(here + later) * pace)

    def drives(self, rows: int) -> None:
        """Note that so many samples are attacked and their scores are driven down now."""
        if self._estimate is not None:
            later = self._estimate.seconds * (self._count - self._done) / self._count
            self._advance(0, "driving scores", left=later + self._estimate.driving * rows / self._count)


def announcement(pending: Sequence[tuple[Cell, Estimate | None]]) -> list[str]:
    """Say which cells take long, and what shortens them; nothing where none is thought to take over a minute.

    Args:
        pending: cells that are to be computed, and how long each takes.
    """
    known = [(cell, estimate) for cell, estimate in pending if estimate is not None]
    long = sorted((pair for pair in known if pair[1].seconds > LONG), key=lambda pair: -pair[1].seconds)
    if not long:
        return []
    total = sum(estimate.seconds for _, estimate in known)
    lines = [f"The audit takes up to about {duration(total)} for {len(known)} cells, as one batch was measured."]
    for cell, estimate in long[:_NAMED]:
        each = estimate.seconds / max(estimate.samples * estimate.passes, 1)
        lines.append(
            f"  {cell.title()}: up to about {duration(estimate.seconds)}: {estimate.samples:,} samples x "
            f"{estimate.passes:,} passes of {1000 * each:.2g} ms"
        )
    if len(long) > _NAMED:
        lines.append(f"  and {len(long) - _NAMED} more cells of over a minute")
    return [*lines, f"  To shorten: {', '.join(_shorter([cell for cell, _ in long]))}."]


def _shorter(cells: Sequence[Cell]) -> list[str]:
    """List what can be left out of these cells."""
    attacks = [cell.attempt.attack for cell in cells if cell.attempt is not None]
    ways = [f"fewer samples (--samples {max(1, len(cells[0].data) // 4)})"]
    if any(attack.name == "auto-attack" for attack in attacks):
        ways.append("--attack pgd instead of auto-attack")
    if any(getattr(attack, "steps", 1) > 10 for attack in attacks):
        ways.append("fewer --steps")
    if any(attack.queries is not None for attack in attacks):
        ways.append("fewer --queries")
    if any(attack.time_limit is None for attack in attacks):
        ways.append("a limit (--time SECONDS, for each variant of an attack)")
    return ways
