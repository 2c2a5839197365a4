"""Monitors of callers in an audit: fitted to the groups of the training side, and tried on those of the test side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from salus.atomic import write_json
from salus.data import Dataset, Splits
from salus.data.packed import take
from salus.detectors.queries import MONITORS, InProcess, Monitor, Stream, load_monitor, save_monitor
from salus.errors import BundleError, CalibrationError
from salus.guard import Guard
from salus.metrics import proportion
from salus.progress import console, progress
from salus.storage import digest, slug
from salus.threats.under_watch import CallerWatch

#: The fewest inputs of a caller that teach what one sends.
_FEWEST = 20
#: Inputs of a caller who sends several groups, where none has the fewest: a clinic with its lesions.
_TOGETHER = 100
#: Inputs that are shown to a monitor at once.
_PART = 512


@dataclass(frozen=True, eq=False)
class Honest:
    """What honest callers came to under a monitor, where an alarm refuses all that follows.

    Attributes:
        callers: how many sent something.
        alarmed: how many of them raised the alarm.
        refused: of each input in the order of the callers, whether it was refused, bool ``[N]``.
        senders: whose it was, int64 ``[N]``.
    """

    callers: int
    alarmed: int
    refused: Tensor
    senders: Tensor

    @property
    def share(self) -> float:
        """The share of the inputs that was refused; 0 where there were none."""
        return float(self.refused.float().mean()) if len(self.refused) else 0.0

    def figures(self) -> dict[str, Any]:
        """Return the fields of a cell's record; the interval draws callers again."""
        counts = {"callers": self.callers, "alarmed": self.alarmed, "sent": len(self.refused)}
        return {"honest": counts, **proportion(self.refused, groups=self.senders).named("honest_refused")}


def need_groups(data: Dataset, name: str) -> Tensor:
    """Return the groups of the samples, each of which is a caller.

    Raises:
        CalibrationError: there are none.
    """
    if data.groups is None:
        raise CalibrationError(
            f"Which samples of {name!r} one caller would send is not known: they have no groups; name the column or "
            "take data that have some (--group-by)."
        )
    return data.groups


def callers(data: Dataset, name: str) -> list[tuple[str, Tensor]]:
    """Say what each honest caller sends: the samples of one group in the order of the data.

    Groups of fewer than 20 samples are left out; where fewer than two groups have so many (photographs of lesions),
    callers send whole groups, one after another, about a hundred samples each.

    Returns:
        Names, and positions int64 ``[n]``.
    """
    word, groups = data.group_word, need_groups(data, name)
    each = [(f"{word} {int(group)}", (groups == group).nonzero()[:, 0]) for group in groups.unique()]
    large = [(who, rows) for who, rows in each if len(rows) >= _FEWEST]
    if len(large) >= 2:
        return large
    joined: list[list[tuple[str, Tensor]]] = [[]]
    for caller in each:
        if sum(len(rows) for _, rows in joined[-1]) >= _TOGETHER:
            joined.append([])
        joined[-1].append(caller)
    together = [(f"{part[0][0]} and {len(part) - 1} more", torch.cat([rows for _, rows in part])) for part in joined]
    return [(who, rows) for who, rows in together if len(rows) >= _FEWEST]


def honest_streams(guard: Guard, data: Dataset, name: str) -> list[Stream]:
    """Let each honest caller send samples, and the guard answer them; see :func:`callers`."""
    found, senders = [], callers(data, name) if len(data) else []
    with progress(f"Judging what {len(senders)} callers send", len(senders)) as advance:
        for who, rows in senders:
            x = take(data.x, rows)
            found.append(Stream(who, x, guard(x.to(guard.classifier.device)).answers.cpu()))
            advance()
    return found


def fit_to_training(monitor: Monitor, guard: Guard, splits: Splits) -> Monitor:
    """Fit a monitor to the callers of the training side, none of whom may raise the alarm.

    Raises:
        CalibrationError: the data have no groups, or too few.
    """
    parts = [part for part in (splits.train, splits.validation, splits.calibration) if len(part)]
    learnt = [stream for part in parts for stream in honest_streams(guard, part, splits.name)]
    if len(learnt) < 2:
        raise CalibrationError(
            f"The training side of {splits.name!r} has {len(learnt)} groups of {_FEWEST} samples or more, each of them "
            "a caller; a monitor needs two, and better twenty."
        )
    return monitor.fit(learnt, classifier=guard.classifier)


def tried(monitor: Monitor, streams: Sequence[Stream]) -> Honest:
    """Let honest callers ask, each with an empty memory, and count what is refused from the first alarm on."""
    memory, masks, alarmed = monitor.memory, [], 0
    try:
        for stream in streams:
            monitor.memory = InProcess(salt=memory.salt())
            pairs = zip(stream.x.split(_PART), stream.clock.split(_PART), stream.answers.split(_PART), strict=True)
            alarms = [monitor.observe(stream.caller, x, clock, answers).alarm for x, clock, answers in pairs]
            masks.append(torch.cat(alarms).cummax(0).values)
            alarmed += bool(masks[-1].any())
    finally:
        monitor.memory = memory
    senders = torch.tensor([number for number, mask in enumerate(masks) for _ in range(len(mask))], dtype=torch.int64)
    return Honest(len(streams), alarmed, torch.cat(masks) if masks else torch.zeros(0, dtype=torch.bool), senders)


def watch(guard: Guard, spec: str, splits: Splits, folder: Path) -> CallerWatch:
    """Fit and store a guard's monitor, and what honest callers come to under it; or load them where they were stored.

    Args:
        guard: whose callers are watched.
        spec: the monitor, ``lifelike:waver=0``.
        splits: the data.
        folder: of the audit.

    Raises:
        CalibrationError: the data have no groups, or too few.
    """
    parts = {part: [data.fingerprint(), _groups_of(data)] for part, data in splits}
    facts = {"spec": spec, "guard": guard.fingerprint(), "samples": parts}
    place = folder / "monitors" / f"{slug(f'{spec}-{guard.name}')}-{digest(facts)[:8]}"
    card = place / "honest.json"
    if card.exists():
        try:
            return CallerWatch(load_monitor(place, guard.classifier), json.loads(card.read_text(encoding="utf-8")))
        except (BundleError, OSError, ValueError) as error:
            console.print(f"The stored monitor {spec!r} cannot be used ({error}); it is fitted again.")
    monitor = fit_to_training(MONITORS.parse(spec), guard, splits)
    honest = tried(monitor, honest_streams(guard, splits.test, splits.name)).figures()
    save_monitor(monitor, place)
    write_json(card, honest)
    return CallerWatch(monitor, honest)


def _groups_of(data: Dataset) -> str | None:
    return None if data.groups is None else digest(data.groups.tolist())
