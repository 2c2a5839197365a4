"""Fits monitors to DS1, sends life through them, and lets attackers ask a guard that they watch, on DS2."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from salus.attacks import NES, Attack, Boundary, HopSkipJump, Square
from salus.attacks.cgba import CGBA
from salus.data.mitdb import DS1, DS2, SAME_PATIENT
from salus.detectors.queries import MONITORS, InProcess, Lifelike, Monitor, Stream, load_monitor, save_monitor
from salus.errors import OptionError
from salus.guard import Guard
from salus.storage import versions
from salus.threats.tolerated import Tolerated
from salus.threats.watched import Access, QueryTrail, Watched
from salus_studies.frame.folder import Folder
from salus_studies.frame.results import Results
from salus_studies.frame.rounding import rounded
from salus_studies.frame.steps import Steps
from salus_studies.queries.asking_nothing import transfer
from salus_studies.queries.life import LIFE, Recording, fitted_to, recordings, sent, ways
from salus_studies.queries.over_http import visits

if TYPE_CHECKING:
    from salus_studies.queries.study import QueriesOptions

#: How near a win must be: in L-infinity, and in L2.
EPS_LINF, EPS_L2 = 0.01, 0.167

#: Monitors that are fitted, by what the page calls them.
WATCHERS = {
    "lifelike": "lifelike",
    "lifelike, waver=0": "lifelike:waver=0",
    "nearest": "nearest",
    "blacklight": "blacklight",
    "perceptual": "perceptual",
}

#: Multiples of the fitted alarm at which the frontier of naive attacks over honest callers is drawn.
LEVELS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 64.0)

#: How the attackers who know the monitor come.
WAYS = {"one account": Access(), "ten accounts, half real": Access(accounts=10, life=0.5)}

#: Monitors that naive attackers meet, and those whose knowing attackers are run.
NAIVE = ("lifelike", "nearest", "blacklight", "perceptual")
KNOWN = {"lifelike": tuple(WAYS), "lifelike, waver=0": ("one account",), "nearest": ("one account",)}

#: Lower alarms of the first monitor, at which attackers who know it come by one account: their frontier.
LOWER = (0.25, 0.5)


@dataclass(frozen=True, eq=False)
class Bench:
    """What all steps work on.

    Attributes:
        guard: who is attacked.
        records: all 48 as callers send them.
        x: beats of DS2 that the guard accepts and gets right ``[N, 1, 280]``.
        y: their labels.
        life: DS2's records, of which accounts send real beats.
    """

    guard: Guard
    records: Mapping[int, Recording]
    x: Tensor
    y: Tensor
    life: Sequence[Stream]


def run(options: QueriesOptions, folder: Folder) -> Results:
    """Do it, a step after another; each is stored.

    Raises:
        OptionError: what the benchmarks measured is missing.
    """
    beside = {"speed": read_measured(options.speed), "lesions": read_measured(options.lesions)}
    guard = Guard.load(options.bundle).hold()
    identity = {
        "seed": options.seed,
        "bundle": guard.fingerprint(),
        "beats": options.beats,
        "queries": options.queries,
        "knowing": [options.knowing, options.knowing_queries],
    }
    steps = folder.claim(identity, {}, options.time)
    bench = _bench(guard, options, steps)
    fitted: dict[str, Any] = {}
    attacks = _attacks(options.queries, options.seed)
    few = replace(bench, x=bench.x[: options.knowing], y=bench.y[: options.knowing])
    knowing = _attacks(options.knowing_queries or options.queries, options.seed)
    knowing.pop("CGBA")
    shape = _noise_shape(bench)
    rows = [_undefended(steps, name, attack, bench) for name, attack in attacks.items()]
    moved = steps.do("transfer", "transfer", [options.seed], lambda: transfer(bench.guard, bench.x, bench.y, options))
    life, first = {}, next(iter(WATCHERS))
    outsider: dict[str, Any] = {"status": "not run", "reason": "no time left to fit the monitor"}
    for watcher, spec in WATCHERS.items():
        monitor = _fitted(steps, watcher, spec, bench)
        if monitor is None:
            left_out = {"status": "not run", "reason": "no time left to fit the monitor"}
            life[watcher] = {LIFE: left_out}
            for way, names in (("one account, naive", attacks if watcher in NAIVE else ()), *_ways(watcher, knowing)):
                rows += [{**left_out, "attack": name, "monitor": watcher, "way": way, "alarm": 1.0} for name in names]
            continue
        fitted[watcher] = _facts(monitor)
        life[watcher] = _life(steps, watcher, monitor, bench, slice(1))
        if watcher in NAIVE:
            rows += [_naive(steps, name, attack, watcher, monitor, bench) for name, attack in attacks.items()]
        for way in KNOWN.get(watcher, ()):
            for name, attack in knowing.items():
                rows.append(_knowing(steps, name, attack, watcher, monitor, way, shape, few))
        if watcher == first:  # all of the monitor that is proposed comes before those beside it
            life[watcher] |= _life(steps, watcher, monitor, bench, slice(1, None))
            rows += [
                _knowing(steps, name, attack, watcher, monitor, next(iter(WAYS)), shape, few, alarm)
                for alarm in LOWER
                for name, attack in knowing.items()
            ]
            outsider = _outsider(steps, options, bench, monitor)
    values = {
        "command": folder.command,
        "machine": f"{platform.platform()}, one thread of a shared core",
        "versions": versions(),
        "seed": options.seed,
        "beats": len(bench.x),
        "queries": options.queries,
        "knowing": [len(few.x), options.knowing_queries or options.queries],
        "guard": guard.describe()["detectors"],
        "thresholds": fitted,
        "life": life,
        "attacks": rows,
        "transfer": moved,
        "outsider": outsider,
        **beside,
    }
    return Results(rounded(values))


def _bench(guard: Guard, options: QueriesOptions, steps: Steps) -> Bench:
    records = recordings(guard, options.data_dir, steps)
    test = [number for number in DS2 if number not in SAME_PATIENT]
    x = torch.cat([records[number].stream.x for number in test])
    y = torch.cat([records[number].labels for number in test])
    answers = torch.cat([records[number].stream.answers for number in test])
    good = ((answers == y) & (y >= 0)).nonzero()[:, 0]
    drawn = good[torch.randperm(len(good), generator=torch.Generator().manual_seed(options.seed))[: options.beats]]
    return Bench(guard, records, x[drawn].clone(), y[drawn].clone(), [records[number].stream for number in test])


def read_measured(place: Path) -> dict[str, Any]:
    """Read what a benchmark measured.

    Raises:
        OptionError: it is missing or damaged.
    """
    try:
        content: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OptionError(f"{place} cannot be read ({error}): measure it by benchmarks/{place.stem}.py.") from error
    return content


def _outsider(steps: Steps, options: QueriesOptions, bench: Bench, monitor: Monitor) -> dict[str, Any]:
    """Let ART's HopSkipJump attack the guard over HTTP, unwatched and watched, from a beat of another class each."""
    x, y = bench.x[: options.outsider], bench.y[: options.outsider]
    others = [int((bench.y != label).nonzero()[0]) for label in y.tolist() if bool((bench.y != label).any())]
    if len(others) < len(y):
        return {"status": "not run", "reason": "the beats are all of one class, and ART walks from another"}
    key = ["ART HopSkipJump", len(x), options.queries, _facts(monitor)]
    return steps.do(
        "outsider",
        "outsider",
        key,
        lambda: visits(
            options.bundle, monitor, x, y, bench.x[others], queries=options.queries, radii=(EPS_LINF, EPS_L2)
        ),
    )


def _attacks(queries: int, seed: int) -> dict[str, Attack]:
    """Make the attackers, in the norm that each knows best."""
    return {
        "HopSkipJump": HopSkipJump(eps=EPS_L2, norm="l2", queries=queries, seed=seed),
        "Boundary": Boundary(eps=EPS_L2, norm="l2", queries=queries, seed=seed),
        "CGBA": CGBA(eps=EPS_L2, norm="l2", queries=queries, seed=seed),
        "Square": Square(eps=EPS_LINF, norm="linf", queries=queries, seed=seed),
        "NES": NES(eps=EPS_LINF, norm="linf", queries=queries, seed=seed),
    }


def _facts(monitor: Monitor) -> dict[str, Any]:
    levels = monitor.tensors()["thresholds"].tolist()
    return {"tests": dict(zip(monitor.tests, levels, strict=True)), **monitor.fitted_}


def _ways(watcher: str, knowing: Mapping[str, Attack]) -> list[tuple[str, Mapping[str, Attack]]]:
    """Say in which ways attackers who know a monitor come, and with which attacks."""
    return [(f"{way}, knowing", knowing) for way in KNOWN.get(watcher, ())]


def _file(watcher: str) -> str:
    return watcher.replace(", ", "-").replace("=", "")


def _fitted(steps: Steps, watcher: str, spec: str, bench: Bench) -> Monitor | None:
    """Fit a monitor to DS1, or read it where it was fitted; None where the time does not allow it."""
    place = steps.folder / "monitors" / _file(watcher)
    step = f"fit-{_file(watcher)}"
    if not place.exists():
        steps.forget(step)

    def work() -> dict[str, Any]:
        monitor = fitted_to(MONITORS.parse(spec), bench.records)
        save_monitor(monitor, place)
        return _facts(monitor)

    if steps.do(step, "fit", [spec, DS1], work)["status"] != "done":
        return None
    return load_monitor(place, bench.guard.classifier)


def _life(steps: Steps, watcher: str, monitor: Monitor, bench: Bench, some: slice) -> dict[str, Any]:
    """Send life through a monitor in some ways, each a step."""
    found = {}
    for number, way in list(enumerate(ways(bench.records, fitted=DS1)))[some]:
        key = [watcher, way.words, _facts(monitor)]
        name = f"life-{_file(watcher)}-{number}"
        found[way.words] = steps.do(name, "life", key, partial(sent, monitor, way))
    return found


def _undefended(steps: Steps, name: str, attack: Attack, bench: Bench) -> dict[str, Any]:
    access = Access(scores=attack.knowledge == "logits")
    watched = _watched(bench, None, access)
    return _step(steps, f"open-{name}", name, "nobody", "one account", attack, watched, watched)


def _naive(steps: Steps, name: str, attack: Attack, watcher: str, monitor: Monitor, bench: Bench) -> dict[str, Any]:
    access = Access(scores=attack.knowledge == "logits")
    watched = _watched(bench, monitor, access, alarm=LEVELS[-1])
    return _step(steps, f"naive-{_file(watcher)}-{name}", name, watcher, "one account, naive", attack, watched, watched)


def _knowing(
    steps: Steps,
    name: str,
    attack: Attack,
    watcher: str,
    monitor: Monitor,
    way: str,
    shape: Tensor,
    bench: Bench,
    alarm: float = 1.0,
) -> dict[str, Any]:
    access = replace(WAYS[way], scores=attack.knowledge == "logits")
    watched = _watched(bench, monitor, access, alarm=alarm)
    facing = Tolerated(watched, queries=int(attack.queries or 1), shape=shape, seed=attack.seed)
    step = f"knowing-{_file(watcher)}-{name}-{access.accounts}{'' if alarm == 1 else f'-{alarm:g}'}"
    return _step(steps, step, name, watcher, f"{way}, knowing", attack, watched, facing) | {"alarm": alarm}


def _noise_shape(bench: Bench) -> Tensor:
    """Say how long life's own differences are in each band: the quietest caller's medians, of one beat of two."""
    lifelike = Lifelike()
    lifelike.learn([bench.records[number].stream for number in DS1[:6]])
    return lifelike.learnt_["knots"][:-1, 0] / 2**0.5


def _watched(bench: Bench, monitor: Monitor | None, access: Access, *, alarm: float = 1.0) -> Watched:
    if monitor is not None:
        monitor.memory = InProcess(most_callers=100_000)
    return Watched(
        bench.guard,
        monitor,
        bench.x,
        bench.y,
        access=access,
        life=bench.life,
        radii=(EPS_LINF, EPS_L2),
        alarm=alarm,
    )


def _step(
    steps: Steps,
    step: str,
    name: str,
    watcher: str,
    way: str,
    attack: Attack,
    watched: Watched,
    facing: Watched | Tolerated,
) -> dict[str, Any]:
    who = {"attack": name, "monitor": watcher, "way": way}
    facts = [] if watched.monitor is None else [_facts(watched.monitor)]
    key = [who, repr(attack), repr(watched.access), facts]
    return steps.do(step, way, key, lambda: _attacked(attack, watched, facing), blank=who) | who


def _attacked(attack: Attack, watched: Watched, facing: Watched | Tolerated) -> dict[str, Any]:
    """Attack, and say what came of it."""
    result = attack.run(facing, watched.x, watched.y, judge=False)
    answers = watched.guard(result.x_adv).answers
    found = (answers >= 0) & (answers != watched.y) & watched.within(result.x_adv, list(range(len(watched.x))))
    asked = torch.tensor([trail.won is not None for trail in watched.trails])
    return {
        "beats": len(watched.x),
        "won": int((found | asked).sum()),
        "over": sum(watched.refused(sample) for sample in range(len(watched.x))),
        "queries": median(trail.queries for trail in watched.trails),
        "sent": median(trail.sent for trail in watched.trails),
        "unsent": sum(facing.unsent) if isinstance(facing, Tolerated) else 0,
        "first": _middle([trail.first for trail in watched.trails]),
        "levels": [_at(level, watched.trails, found) for level in LEVELS],
    }


def _at(level: float, trails: Sequence[QueryTrail], found: Tensor) -> dict[str, Any]:
    """Say what an alarm at this level would have made of attackers who do not know of it."""
    reached = [trail.reaches(level) for trail in trails]
    won = [
        (trail.won is not None and (end is None or trail.won < end)) or (end is None and bool(found[row]))
        for row, (trail, end) in enumerate(zip(trails, reached, strict=True))
    ]
    return {"level": level, "won": sum(won), "noticed": len(reached) - reached.count(None), "first": _middle(reached)}


def _middle(places: Sequence[int | None]) -> float | None:
    """Return the median; None where most are none, as they count as later than all."""
    ordered = sorted(place if place is not None else float("inf") for place in places)
    middle = median(ordered)
    return None if middle == float("inf") else float(middle)
