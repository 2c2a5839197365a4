"""What Salus must show beside its peers, and whether it does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

#: One contender's stored result, as attacks.py writes it.
Result = dict[str, Any]
#: A row's stored results on one data set at one eps.
Record = dict[str, Any]

ART, FOOLBOX = "adversarial-robustness-toolbox", "foolbox"
HALF_A_POINT = 0.005
ONE_PERCENT = 1.01


@dataclass(frozen=True)
class BarVerdict:
    """Whether a bar is met; ``met`` is None where no peer ran to compare with."""

    bar: str
    found: str
    met: bool | None


Bar = Callable[[Record], Iterator[BarVerdict]]


def no_weaker(record: Record) -> Iterator[BarVerdict]:
    """Success no more than half a point under the best peer's, on the samples that the peer attacked."""
    peers = _peers(record)
    for own in _own(record):
        worst = max(peers, key=lambda peer: _success(peer) - _success(own, peer), default=None)
        if worst is None:
            yield BarVerdict("success", "no peer ran", None)
            continue
        reached, theirs = _success(own, worst), _success(worst)
        found = f"{reached:.1%}, {_name(worst)} {theirs:.1%}"
        bar = f"{_of(own)}success no more than half a point under the best peer's"
        yield BarVerdict(bar, found, reached >= theirs - HALF_A_POINT)


def no_farther(record: Record) -> Iterator[BarVerdict]:
    """Median distance at most 1.01 times the best peer's, at no more passes; failures count as infinitely far."""
    (own,) = _own(record)
    peers = _peers(record)
    if not peers:
        yield BarVerdict("distance", "no peer ran", None)
        return
    best = _nearest(peers, own)
    mine, theirs, cost = _median(own, best), _median(best), "backward" if best["backward"] else "queries"
    found = f"{mine:.4g} in {own[cost]:.0f}, {_name(best)} {theirs:.4g} in {best[cost]:.0f} ({_words(cost)})"
    bar = f"median distance at most {ONE_PERCENT:g} times the best peer's at no more {_words(cost)}"
    yield BarVerdict(bar, found, mine <= ONE_PERCENT * theirs and own[cost] <= best[cost])


def fewer_passes(share: float) -> Bar:
    """Forward and backward passes a sample, as a share of the best peer's: the nearest one's."""

    def bar(record: Record) -> Iterator[BarVerdict]:
        (own,) = _own(record)
        peers = _peers(record)
        if not peers:
            yield BarVerdict("passes", "no peer ran", None)
            return
        best = _nearest(peers, own)
        found = f"{own['backward']:.0f}, {_name(best)} {best['backward']:.0f}"
        met = own["backward"] <= share * best["backward"]
        yield BarVerdict(f"at most {share:g} of the best peer's backward passes", found, met)

    return bar


def of_nominal(limit: float, settings: str) -> Bar:
    """Time over that of the bare forward and backward passes."""

    def bar(record: Record) -> Iterator[BarVerdict]:
        for own in _own(record, settings):
            yield BarVerdict(
                f"{settings}: at most {limit:g} of the bare passes", f"{own['of_bare']:.2f}", own["of_bare"] <= limit
            )

    return bar


def faster(factor: float, than: str | None = None, settings: str | None = None, *, per_query: bool = False) -> Bar:
    """Time a sample (or a query), so many times less than a library's, or than the fastest peer that does as well."""

    def bar(record: Record) -> Iterator[BarVerdict]:
        (own,) = _own(record, settings)
        rivals = [peer for peer in _peers(record) if than in (None, peer["library"])]
        if than is None:
            best = max(rivals, key=lambda peer: _success(peer) - _success(own, peer), default=None)
            rivals = [peer for peer in rivals if _as_good(peer, own) or peer is best]
        whom = f"{_short(than)}'s speed" if than else "the speed of the best peer"
        if factor == 1:
            name = f"{_of(own)}no slower than the best peer"
        else:
            name = f"{_of(own)}{factor:g} times {whom}{', a query' if per_query else ''}"
        if not rivals:
            yield BarVerdict(name, "it did not run" if than else "no peer ran", None)
            return
        # A time bar holds where it holds by the clock and in processor seconds.
        ratios = [
            min(_cost(peer, unit, per_query) / _cost(own, unit, per_query) for unit in ("seconds", "cpu"))
            for peer in rivals
        ]
        worst = ratios.index(min(ratios))
        # What is left when Salus's own time is taken away: its forward and backward passes alone.
        most = own["of_bare"] * _cost(rivals[worst], "seconds", per_query) / _cost(own, "seconds", per_query)
        found = f"{ratios[worst]:.2f} times {_name(rivals[worst])}; its passes alone would make it {most:.2f} times"
        yield BarVerdict(name, found, ratios[worst] >= factor)

    return bar


def at_largest(bar: Bar) -> Bar:
    """Hold a bar in the larger ball alone: stopping early cannot help with samples that never fall."""
    return lambda record: bar(record) if record["largest"] else iter(())


def judge(bars: Iterable[Bar], record: Record) -> list[BarVerdict]:
    """Hold a record against the bars of its row."""
    if not _own(record):
        return [BarVerdict("Salus runs", _why(record), False)]
    return [verdict for bar in bars for verdict in bar(record)]


def _own(record: Record, settings: str | None = None) -> list[Result]:
    return [
        result
        for result in record["results"]
        if result["library"] == "salus" and not result["error"] and settings in (None, result["settings"])
    ]


def _why(record: Record) -> str:
    return next((result["error"] for result in record["results"] if result["library"] == "salus"), "has no such attack")


def _peers(record: Record) -> list[Result]:
    return [result for result in record["results"] if result["library"] != "salus" and not result["error"]]


def _as_good(peer: Result, own: Result) -> bool:
    """Tell whether a peer is a rival in time: faster and weaker is no feat."""
    if _success(peer) < _success(own, peer) - HALF_A_POINT:
        return False
    return own["goal"] != "nearest" or _median(peer) <= ONE_PERCENT * _median(own, peer)


def _success(result: Result, like: Result | None = None) -> float:
    count = result["samples"] if like is None else min(like["samples"], result["samples"])
    return float(result["success"][:count].count("1") / count)


def _median(result: Result, like: Result | None = None) -> float:
    """Compute the median distance over the samples that ``like`` attacked; that of a failure is infinite."""
    count = result["samples"] if like is None else min(like["samples"], result["samples"])
    distances = sorted(
        distance if won == "1" else math.inf
        for won, distance in zip(result["success"][:count], result["distance"][:count], strict=True)
    )
    return float(distances[(count - 1) // 2] + distances[count // 2]) / 2


def _nearest(peers: list[Result], own: Result) -> Result:
    """Find the best peer: the one whose distance, over that of ours on its samples, is the lowest."""
    return min(peers, key=lambda peer: _median(peer) / min(_median(own, peer), 1e9))


def _cost(result: Result, unit: str, per_query: bool) -> float:
    cost: float = result[unit] / result["attacked"]
    return cost / result["queries"] if per_query else cost


def _words(cost: str) -> str:
    return "backward passes" if cost == "backward" else "queries"


def _of(own: Result) -> str:
    return "" if own["settings"] == "ours" else f"{own['settings']}: "


def _short(library: str | None) -> str:
    return "ART" if library == ART else (library or "")


def _name(result: Result) -> str:
    return f"{_short(result['library'])} ({result['settings']})"
