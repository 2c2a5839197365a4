"""What a ranking comes to in plain words, and reasons to doubt it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from salus.metrics import Rate
from salus.metrics.wording import percent, percentage
from salus.report import words
from salus.report.leaderboard.levels import LEVELS, Level
from salus.report.leaderboard.standing import Standing
from salus.report.run_folder import Record
from salus.threats.models import Adaptive

#: Names that a sentence lists, and a headline.
_MOST_NAMES = 6
_MOST_IN_HEADLINE = 3
#: Fewer seeds than this tell little of others.
_FEW_SEEDS = 3


def verdict(standings: Sequence[Standing], level: Level, title: str) -> Iterator[str]:
    """Say who leads, who cannot be told apart, and what is no better than a constant answer.

    Args:
        standings: in their order, at least one.
        level: what the attacker knows.
        title: names the size of change.
    """
    first, *rest = standings
    leaves = f"the worst attack at {title} by an attacker who {level.summary} leaves {_in_sentence(first.robust)} right"
    if not rest:
        yield f"{first.name}: {leaves}."
    elif not first.tied:
        yield f"{first.name} leads: {leaves}."
        yield "Its interval lies above all others'."
    else:
        group = [first.name, *first.tied]
        alike = f"{group[0]} and {len(group) - 1} others" if len(group) > _MOST_IN_HEADLINE else _listed(group)
        yield f"{alike} cannot be told apart{'' if len(group) == len(standings) else ' at the head'}."
        yield f"Their intervals overlap that of {first.name}: {leaves}."
    apart = [each.name for each in rest if each.name not in first.tied]
    if apart and first.tied:
        yield f"Surely below {first.name}: {_listed(apart)}."
    if (sentence := _beside_the_constant(standings)) is not None:
        yield sentence


def remarks(standings: Sequence[Standing], level: Level, kind: str) -> Iterator[str]:
    """Find reasons to doubt a ranking, a sentence each.

    Args:
        standings: in their order.
        level: what the attacker knows.
        kind: of the data.
    """
    if level is not LEVELS[Adaptive.name] and any(each.guard != "none" for each in standings):
        yield (
            f"These attackers do not know all of what they attack (threat model {level.name}): the figures are upper "
            "bounds."
        )
    yield from _unequal_attacks(standings)
    for each in standings:
        for seed in each.seeds:
            if seed.weaker is not None:
                yield (
                    f"{each.name}: {words.title(seed.weaker, kind)} leaves only "
                    f"{percentage(seed.weaker['robust_accuracy'])} right, less than the attacks that count here leave "
                    f"({percentage(seed.robust.value)})" + _masked(level) + "."
                )
                break
        failed = sum(
            cell["error"] is not None and cell["guard"] == each.guard
            for seed in each.seeds
            for cell in seed.audit.run.cells
        )
        if failed:
            count = "1 cell failed and does" if failed == 1 else f"{failed} cells failed and do"
            yield f"{each.name}: {count} not count."
    counts = {len(each.seeds) for each in standings}
    if len(counts) > 1:
        yield "Not all were audited with as many seeds; the interval of a mean of few is wide."
    elif 1 < max(counts) < _FEW_SEEDS:
        yield f"{max(counts)} seeds say little of others: the intervals of their means are wide."
    seeds = {tuple(seed.audit.seed for seed in each.seeds) for each in standings}
    drawn = {
        (trial.fingerprint, trial.samples)
        for each in standings
        for trial in each.contender.trials
        if not all(_all_of_them(seed.audit.run.meta) for seed in each.seeds)
    }
    if len(seeds) > 1 and drawn:
        yield "Their seeds differ, and with them which samples of the same test part were drawn for the attack."
    devices = {device for each in standings for device in each.devices}
    if len(devices) > 1:
        yield f"They were computed on different machines ({'; '.join(sorted(devices))}): seconds do not compare."


def _beside_the_constant(standings: Sequence[Standing]) -> str | None:
    """Say how many do better than always giving the commonest class as the answer."""
    known = [each for each in standings if each.constant is not None]
    constants = [each.constant for each in known if each.constant is not None]
    if not known:
        return None
    better = [each.name for each in known if (each.robust.low or 0.0) > (each.constant or 0.0)]
    low, high = min(constants), max(constants)
    share = percentage(low) if high - low < 5e-4 else f"{percent(low)} to {percentage(high)}"
    start = f"Always answering the commonest class is right on {share}, whatever is done"
    if len(known) == 1:
        return f"{start}: {known[0].name} is {'' if better else 'not '}surely more robust."
    if len(better) in (0, len(known)):
        return f"{start}: {'all of these are' if better else 'none of these is'} surely more robust."
    verb = "is" if len(better) == 1 else "are"
    return f"{start}: {len(better)} of {len(known)} {verb} surely more robust than that ({_listed(better)})."


def _unequal_attacks(standings: Sequence[Standing]) -> Iterator[str]:
    """Name the attacks that not all have faced."""
    everything = sorted(frozenset().union(*(each.attacks for each in standings)))
    for attack in everything:
        without = [each.name for each in standings if attack not in each.attacks]
        if without:
            yield (
                f"Not all faced the same attacks: {attack} was not tried on {_listed(without)}, which it might have "
                "brought lower."
            )


def _all_of_them(meta: Record) -> bool:
    """Whether all samples of the test part were attacked, so that no seed draws any."""
    counts = (meta["data"].get("counts") or {}).get("test") or {}
    return bool(counts) and sum(counts.values()) == meta["samples"]


def _masked(level: Level) -> str:
    return ": its gradients are likely masked" if level is LEVELS[Adaptive.name] else ""


def _in_sentence(rate: Rate) -> str:
    if rate.low is None or rate.high is None:
        return percentage(rate.value)
    return f"{percentage(rate.value)} ({percent(rate.low)} to {percent(rate.high)})"


def _listed(names: Sequence[str]) -> str:
    """List names in a sentence, the first few where they are many."""
    shown = list(names[:_MOST_NAMES])
    if len(names) > _MOST_NAMES:
        return f"{', '.join(shown)} and {len(names) - _MOST_NAMES} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
