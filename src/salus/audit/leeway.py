"""What an attack can move at all, and whether its radius goes with the data: said before what it did not achieve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from salus.attacks import Attack
from salus.attacks.ball import Ball, L1Ball, L2Ball, ball
from salus.batches import rows_at_once
from salus.data import Dataset
from salus.data.plausibility import Values, listed
from salus.metrics.wording import percentage

#: An attack that can move fewer of the features than this can do little.
LITTLE = 0.5

#: Places that a suggested attack in L0 changes, at most.
_FINDINGS = 3

#: A radius of less than this share of the data's range was meant for other units; from this one on, for none.
_NOTHING, _ALL = 5e-4, 0.5


@dataclass(frozen=True)
class Leeway:
    """How much of its samples an attack can move.

    Attributes:
        norm: the attack's norm.
        eps: its radius; None for no limit.
        movable: share of the features (values) that can change at all, on average over the samples.
    """

    norm: str
    eps: float | None
    movable: float

    @property
    def place(self) -> str:
        """Where that is, in words."""
        return "without a limit" if self.eps is None else f"at eps = {self.eps:g} ({self.norm})"


def leeways(attacks: Sequence[Attack], data: Dataset, values: Values) -> dict[tuple[str, float | None], Leeway]:
    """Measure the leeway of every norm and radius among attacks on these samples; harmless changes have none.

    Where all values are whole numbers, less than one step of them moves nothing that could be stored.
    """
    found: dict[tuple[str, float | None], Leeway] = {}
    for attack in attacks:
        if attack.threat_model is None and (attack.norm, attack.eps) not in found:
            leeway = Leeway(attack.norm, attack.eps, movable_share(attack, data))
            unstored = values.step == 1 and _shorter(leeway, values)
            found[attack.norm, attack.eps] = replace(leeway, movable=0.0) if unstored else leeway
    return found


def movable_share(attack: Attack, data: Dataset) -> float:
    """Return the share of the values that the attack can change, each for itself, on average over the samples.

    A value is held by the mask, by a radius of nothing, and, where it moves by whole units, by a radius or bounds that
    leave no room for one.
    """
    if attack.radius <= 0:
        return 0.0
    if data.mask is None and not any(data.steps) and data.ranges is None:
        return 1.0
    mask = None if data.mask is None else data.mask.to(data.x.device)
    steps = torch.tensor(data.steps, dtype=torch.float64, device=data.x.device) if any(data.steps) else None
    moved = 0
    for x in data.x.split(rows_at_once(data.x, 4096)):
        moved += int(_movable(ball(attack.norm, x, attack.radius, data.bounds, mask, steps, ranges_of(data))).sum())
    return moved / max(data.x.numel(), 1)


def ranges_of(data: Dataset) -> Tensor | None:
    """Give the ranges of a table's features as balls take them, float64 ``[F, 3]``; None where there are none."""
    if data.ranges is None:
        return None
    return torch.tensor(data.ranges.within(data.bounds), dtype=torch.float64, device=data.x.device)


def _movable(region: Ball) -> Tensor:
    """Tell which values can change, bool ``[N, ...]``."""
    x, free = region.x, region.low < region.high
    if region.steps is None:
        return free
    unit = region.steps
    can = torch.zeros_like(free)
    for direction in (-1, 1):
        moved = (x.double() + direction * unit).to(x.dtype)  # by one unit
        inside = (moved >= region.low) & (moved <= region.high) & (moved != x)
        if isinstance(region, (L2Ball, L1Ball)):
            inside &= (moved.double() - x.double()).abs() <= region.eps
        can |= inside
    return torch.where(unit > 0, can & free, free)


def attacker_can(found: Sequence[Leeway], data: Mapping[str, Any], values: Values) -> str | None:
    """Say first how little the attacker could change; None where it was enough.

    Args:
        found: of every attack.
        data: what ``Splits.describe`` says.
        values: what the data look like.
    """
    if not found:
        return None
    unmarked = not data["marks"]["integer"]
    if unmarked and values.step == 1 and all(leeway.eps is not None and _shorter(leeway, values) for leeway in found):
        longest = max(leeway.eps or 0.0 for leeway in found)
        return (
            f"The attacker could change nothing that shows: eps = {longest:g} is {percentage(longest)} of one step of "
            "these data, whose values are whole numbers. So this audit says nothing of robustness; eps is in the units "
            f"of x, from {data['bounds'][0]:g} to {data['bounds'][1]:g}."
        )
    best = max(found, key=lambda leeway: leeway.movable)
    if best.movable >= LITTLE:
        return None
    things = {"table": "features"}.get(data["kind"], "values")
    if best.movable == 0:
        where = best.place if len(found) == 1 else "at any eps tried"
        start = f"The attacker could change nothing {where}: {_held(data)}. So this audit says nothing of robustness"
    else:
        start = f"The attacker could change only {percentage(best.movable)} of the {things} {best.place}: {_held(data)}"
    return start + _fits(found, data)


def _held(data: Mapping[str, Any]) -> str:
    marks = data["marks"]
    whole, fixed = marks["integer"], [*marks["immutable"], *marks["derived"]]
    words = []
    if whole:
        words.append(f"{_features(whole)} {'moves' if len(whole) == 1 else 'move'} by whole units alone (--integer)")
    if fixed:
        words.append(f"{_features(fixed)} not at all (--immutable, --derived)")
    return ", and ".join(words) or "that radius leaves no room"


def _features(names: Sequence[str]) -> str:
    return f"feature {names[0]!r}" if len(names) == 1 else f"{len(names)} features"


def _fits(found: Sequence[Leeway], data: Mapping[str, Any]) -> str:
    """Name the attack that fits: some findings changed, whatever the change of each."""
    marks = data["marks"]
    free = data["shape"][0] - len({*marks["immutable"], *marks["derived"]}) if data["kind"] == "table" else 0
    if free <= 0 or not marks["integer"] or any(leeway.norm == "l0" for leeway in found):
        return "."
    few = min(_FINDINGS, free)
    return (
        f"; the attack that fits changes a few findings, each as far as it likes: --attack sparse-rs:eps={few} "
        f"({few} of {free} features)."
    )


def doubts(found: Sequence[Leeway], data: Dataset, values: Values) -> Iterator[str]:
    """Doubt radii that leave room for little, that no value of the data could follow, or that are of other units."""
    top = max((leeway.movable for leeway in found), default=0.0)
    for leeway in found:
        stored = not _shorter(leeway, values)
        if stored and leeway.movable < min(LITTLE, top):
            yield (
                f"An attack {leeway.place} can change {_share(leeway.movable)} of the values: what it did not achieve "
                "says little."
            )
        if leeway.eps is None or leeway.norm == "l0" or leeway.eps == 0:
            continue
        if not stored:
            step = (
                "one step of the data, 1: all their values are whole numbers"
                if values.step == 1
                else "1/255, one step of images of 8 bits"
            )
            yield (
                f"eps = {leeway.eps:g} ({leeway.norm}) is less than {step}, so no such change can be stored; eps is in "
                f"the units of x, whose bounds are ({data.bounds[0]:g}, {data.bounds[1]:g})."
            )
        elif leeway.eps < _NOTHING * values.span and leeway.norm == "linf":
            yield (
                f"eps = {leeway.eps:g} (linf) is {percentage(leeway.eps / values.span, 3)} of the range of the values "
                f"({values.lowest:.3g} to {values.highest:.3g}): eps is in the units of x; was it meant for other "
                "bounds?"
            )
        elif leeway.eps >= _ALL * values.span and leeway.norm == "linf":
            yield (
                f"eps = {leeway.eps:g} (linf) is at least half the range of the values ({values.lowest:.3g} to "
                f"{values.highest:.3g}): every input can be made like any other, so no classifier stands."
            )
    yield from _features_below(found, data, values)


def _shorter(leeway: Leeway, values: Values) -> bool:
    """Tell whether eps is less than a step that all values keep to."""
    if leeway.eps is None or leeway.norm == "l0" or values.step is None:
        return False
    return leeway.eps < values.step * (1 - 1e-6)


def _features_below(found: Sequence[Leeway], data: Dataset, values: Values) -> Iterator[str]:
    """Name features that are not marked, yet take few values, or whole ones, and that no eps moves by a step."""
    longest = max((way for way in found if way.eps and way.norm != "l0"), key=lambda way: way.eps or 0.0, default=None)
    if data.kind != "table" or values.step is not None or longest is None or longest.eps is None:
        return
    names = data.features or tuple(f"feature {i}" for i in range(len(values.steps)))
    marked = {*data.marks.immutable, *data.marks.integer, *data.marks.derived}
    pairs = zip(names, values.steps, strict=True)
    small = [name for name, step in pairs if name not in marked and longest.eps < step * (1 - 1e-6)]
    if small:
        yield (
            f"eps = {longest.eps:g} ({longest.norm}) is less than one step of {listed(small)}, which "
            f"{'takes' if len(small) == 1 else 'take'} whole numbers or few values: an attacked row may be impossible; "
            "mark what comes in whole units (--integer), and what cannot change (--immutable)."
        )


def _share(share: float) -> str:
    return "none" if share == 0 else f"only {percentage(share)}"
