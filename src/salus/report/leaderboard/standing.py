"""Where each stands: its figures under the worst attack, over its seeds, and whom it cannot be told apart from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from statistics import fmean, stdev

from salus.metrics import Rate
from salus.report import words
from salus.report.leaderboard.audits import Audit, Contender
from salus.report.leaderboard.levels import Level, Pair, cells_of, pair_of
from salus.report.run_folder import Record

#: An attacker who knows less may come out this much stronger by chance before it is said.
_SLACK = 0.02


@dataclass(frozen=True, eq=False)
class SeedFigures:
    """What one audit says of a guard.

    Attributes:
        audit: which.
        clean: accuracy before any attack.
        robust: accuracy under the attack that leaves least.
        rejected: share of clean inputs turned away; None of a bare classifier.
        worst: the cell of that attack.
        attacks: all cells that count here.
        weaker: the cell of an attacker who knows less and leaves still less; None where there is none.
    """

    audit: Audit
    clean: Rate
    robust: Rate
    rejected: Rate | None
    worst: Record
    attacks: tuple[Record, ...]
    weaker: Record | None

    @property
    def constant(self) -> float | None:
        """The accuracy of always answering the commonest class; None in audits of before."""
        constant = self.audit.run.constant
        return None if constant is None else constant.share

    @property
    def seconds(self) -> float:
        """How long these attacks took."""
        return sum(cell.get("seconds") or 0.0 for cell in self.attacks)

    @property
    def forward(self) -> float:
        """Forward passes on one sample, on average, of all these attacks."""
        return sum(cell.get("queries") or 0.0 for cell in self.attacks)

    @property
    def backward(self) -> float:
        """How many of them were followed by a backward pass."""
        return sum(cell.get("passes") or 0.0 for cell in self.attacks)


@dataclass(frozen=True, eq=False)
class Standing:
    """Where a guard, or a bare classifier, stands.

    Attributes:
        contender: the audits that it is of.
        guard: its name, ``none`` for the bare classifier.
        name: what it is called in sentences and figures.
        seeds: its figures in each of them.
        clean: accuracy before any attack; over several seeds their mean.
        robust: accuracy under the worst attack; over several seeds their mean.
        rejected: share of clean inputs turned away; None of a bare classifier.
        best: the best place that its interval allows, from 1.
        last: the worst one.
        tied: names of those whose intervals overlap its own.
    """

    contender: Contender
    guard: str
    name: str
    seeds: tuple[SeedFigures, ...]
    clean: Rate
    robust: Rate
    rejected: Rate | None
    best: int = 1
    last: int = 1
    tied: tuple[str, ...] = ()

    @property
    def value(self) -> float:
        """The robust accuracy that it is ranked by."""
        return self.robust.value or 0.0

    @property
    def spread(self) -> float | None:
        """Standard deviation of the robust accuracy over its seeds; None with one."""
        return stdev(each.robust.value or 0.0 for each in self.seeds) if len(self.seeds) > 1 else None

    @property
    def constant(self) -> float | None:
        """The accuracy of always answering the commonest class; over several seeds their mean."""
        shares = [each.constant for each in self.seeds if each.constant is not None]
        return fmean(shares) if len(shares) == len(self.seeds) else None

    @property
    def seconds(self) -> float:
        """How long its attacks took, all seeds together."""
        return sum(each.seconds for each in self.seeds)

    @property
    def forward(self) -> float:
        """Forward passes on one sample, on average."""
        return fmean(each.forward for each in self.seeds)

    @property
    def backward(self) -> float:
        """How many of them were followed by a backward pass."""
        return fmean(each.backward for each in self.seeds)

    @property
    def devices(self) -> tuple[str, ...]:
        """What computed it: "cpu, 2 threads"."""
        metas = [each.audit.run.meta for each in self.seeds]
        return tuple(dict.fromkeys(f"{meta.get('device')}, {_threads(meta.get('threads'))}" for meta in metas))

    @property
    def attacks(self) -> frozenset[str]:
        """The attacks that it faced, in words."""
        return frozenset(attack_words(cell) for each in self.seeds for cell in each.attacks)


def attack_words(cell: Record) -> str:
    """Name an attack with its options, without its size of change."""
    options = words.option_text(words.options(cell))
    return f"{words.attack(cell['attack'])} ({options})" if options else words.attack(cell["attack"])


def stand(contender: Contender, guard: str, level: Level, pair: Pair, *, name: str) -> Standing:
    """Work out the figures of a guard under whoever knows so much, with this size of change; ``name`` it so.

    Each audit of the contender must hold such an attack, and the guard's cell of clean inputs.
    """
    seeds = tuple(_figures(audit, guard, level, pair) for audit in contender.audits)
    rejected = [each.rejected for each in seeds if each.rejected is not None]
    return Standing(
        contender,
        guard,
        name,
        seeds,
        clean=mean_over_seeds([each.clean for each in seeds]),
        robust=mean_over_seeds([each.robust for each in seeds]),
        rejected=mean_over_seeds(rejected) if len(rejected) == len(seeds) else None,
    )


def ranked(standings: Sequence[Standing]) -> tuple[Standing, ...]:
    """Order by robust accuracy, then by the clean one, and say which places each interval allows."""
    order = sorted(standings, key=lambda each: (-each.value, -(each.clean.value or 0.0), each.name))

    def apart(one: Standing, other: Standing) -> bool:
        """Whether one surely stands above the other."""
        return (one.robust.low or 0.0) > (1.0 if other.robust.high is None else other.robust.high)

    return tuple(
        replace(
            mine,
            best=1 + sum(apart(other, mine) for other in order),
            last=len(order) - sum(apart(mine, other) for other in order),
            tied=tuple(
                other.name for other in order if other is not mine and not apart(other, mine) and not apart(mine, other)
            ),
        )
        for mine in order
    )


def mean_over_seeds(rates: Sequence[Rate]) -> Rate:
    """Return the mean of a share over seeds, with a 95% interval for what another seed and other samples would give.

    Its halves join, as independent errors do, the mean half of the seeds' own intervals, which more seeds on the same
    samples do not narrow, and Student's interval of their mean. One seed keeps its own.
    """
    if len(rates) == 1:
        return rates[0]
    from scipy.stats import t

    values = [rate.value or 0.0 for rate in rates]
    mean, count = fmean(values), len(rates)
    between = float(t.ppf(0.975, count - 1)) * stdev(values) / sqrt(count)
    below = sqrt(fmean(value - (rate.low or 0.0) for value, rate in zip(values, rates, strict=True)) ** 2 + between**2)
    above = sqrt(fmean(_high(rate) - value for value, rate in zip(values, rates, strict=True)) ** 2 + between**2)
    return Rate(mean, max(0.0, mean - below), min(1.0, mean + above), sum(rate.n for rate in rates))


def _high(rate: Rate) -> float:
    return 1.0 if rate.high is None else rate.high


def _figures(audit: Audit, guard: str, level: Level, pair: Pair) -> SeedFigures:
    attacks = cells_of(audit.run.attacked, guard, level, pair)
    by_accuracy: Callable[[Record], float] = lambda cell: float(cell["robust_accuracy"])  # noqa: E731
    worst = min(attacks, key=by_accuracy)
    others = [
        cell
        for cell in audit.run.attacked
        if cell["guard"] == guard
        and pair_of(cell) == pair
        and cell not in attacks
        and cell.get("robust_accuracy") is not None
    ]
    least = min(others, key=by_accuracy, default=None)
    fooled_more = least is not None and by_accuracy(worst) - by_accuracy(least) > _SLACK
    return SeedFigures(
        audit,
        clean=_rate(worst, "clean_accuracy"),
        robust=_rate(worst, "robust_accuracy"),
        rejected=None if guard == "none" else _rate(worst, "rejected_clean"),
        worst=worst,
        attacks=tuple(attacks),
        weaker=least if fooled_more else None,
    )


def _rate(cell: Record, name: str) -> Rate:
    return Rate(cell[name], cell.get(f"{name}_low"), cell.get(f"{name}_high"), int(cell["n"]))


def _threads(count: object) -> str:
    return f"{count} thread" if count == 1 else f"{count} threads"
