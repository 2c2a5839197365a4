"""Measuring a cell: its samples attacked, judged by its guard, and counted."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from torch import Tensor

from salus.attacks import Attack
from salus.attacks.ball import ball
from salus.attacks.controls import Control, signal_to_noise
from salus.attacks.draws import normal
from salus.attacks.universal import UAP
from salus.audit.attacker import Attacker
from salus.audit.bare import BareAttacks, aim_of
from salus.audit.cell import Attempt, Cell
from salus.audit.cost import extra_cost
from salus.audit.duration import CellWatch
from salus.audit.leeway import ranges_of
from salus.audit.odds import Odds
from salus.batches import give_back, rows_at_once, rows_held
from salus.data import Dataset
from salus.data.packed import take
from salus.guard import Guard
from salus.metrics import auc, confusion, easiest_label, health, per_class, per_label, proportion, roc
from salus.preprocessing.label_sets import label_sets, set_names
from salus.threats import drive, driver
from salus.threats.base import Alone
from salus.verdict import Verdict

#: Takes what is to be stored of each sample, some samples at a time.
Keep = Callable[[Mapping[str, Tensor]], None]


def measure_cell(
    cell: Cell,
    clean: Verdict,
    keep: Keep = lambda rows: None,
    *,
    watch: CellWatch | None = None,
    bare: BareAttacks | None = None,
) -> dict[str, Any]:
    """Attack, judge and count.

    Args:
        cell: what is measured.
        clean: its guard's verdict on the clean samples.
        keep: given what is to be stored of each sample, some samples at a time: ``label`` and ``accepted``, and of
            attacked ones ``x_adv`` and ``reached``.
        watch: told how far it is.
        bare: attacks that several cells begin with.

    Returns:
        The record.
    """
    started = time.perf_counter()
    record = cell.blank()
    if cell.attempt is None:
        record |= count(cell.data, clean, Odds.on(cell.guard, cell.data.x, cell.data.y, clean))
        record |= _labels(cell.data, clean)
        record["cost"] = None if cell.guard.bare or not cell.guard.local else extra_cost(cell.guard, cell.data.x)
        keep({"label": clean.answers, "accepted": clean.accepted})
    else:
        record |= _attacked(cell, cell.attempt, clean, keep, watch or CellWatch(len(cell.data)), bare)
    record["seconds"] = round(time.perf_counter() - started, 3)
    return record


@dataclass(frozen=True, eq=False)
class Part:
    """What came of some of a cell's samples.

    Attributes:
        stored: what is stored of each: ``x_adv``, ``label``, ``accepted``, ``reached``.
        verdict: the guard's.
        chances: of a guard that draws at random, how probable each answer is; None of others.
        figures: a column each of what was measured ``[n]``.
        alone: what each variant came to by itself.
        names: of the variants.
    """

    stored: Mapping[str, Tensor]
    verdict: Verdict
    chances: Tensor | None
    figures: Mapping[str, Tensor]
    alone: Mapping[str, Alone]
    names: tuple[str, ...]

    def counted(self) -> Part:
        """Return what is needed to count it, which is small."""
        return replace(self, stored={})


class Measurement:
    """A cell under attack, some samples at a time, here or in several places; then all are counted.

    Args:
        cell: the cell.
        attempt: its attack.
        clean: its guard's verdict on the clean samples.
        watch: told how far it is.
        bare: attacks that several cells begin with.
    """

    def __init__(
        self, cell: Cell, attempt: Attempt, clean: Verdict, watch: CellWatch, bare: BareAttacks | None = None
    ) -> None:
        self._cell, self._attempt, self._clean, self._watch = cell, attempt, clean, watch
        self._aim = aim_of(cell.data, cell.guard, attempt)
        # Who is of the target class already is left alone, and counts for no success rate.
        self._at_goal = self._aim == cell.data.y if attempt.aims else torch.zeros_like(clean.accepted)
        knows = attempt.threat.knows_guard
        self._driving = driver(attempt.attack, cell.guard) if knows else None
        self._bare = bare

    @functools.cached_property
    def _attacker(self) -> Attacker:
        cell = self._cell
        begun = None if self._bare is None else self._bare.of(cell, self._aim)
        if begun is not None:
            self._watch.at_hand()
        return Attacker(cell.data, cell.guard, self._attempt, self._watch, begun)

    def parts(self) -> Iterator[Tensor]:
        """Give the positions of the samples of each part, int64 ``[n]``."""
        yield from self._attacker.parts()

    @staticmethod
    def pieces(cell: Cell) -> int:
        """Count the parts of a cell that may be measured in several places; one where it may not be divided."""
        attempt = cell.attempt
        if attempt is None or isinstance(attempt.attack, UAP) or not len(cell.data):  # fitted once, for all parts
            return 1
        return -(-len(cell.data) // rows_held(cell.data.x, attempt.attack.batch_size))

    def part(self, rows: Tensor) -> Part:
        """Attack and judge the samples at these positions."""
        data, guard, attack = self._cell.data, self._cell.guard, self._attempt.attack
        y, at_goal = data.y, self._at_goal
        x = take(data.x, rows).contiguous()
        attacked = self._attacker(x, self._aim[rows], y[rows] if attack.targeted else None, rows)
        x_adv = attacked.x_adv
        if bool(at_goal[rows].any()):
            x_adv[at_goal[rows]] = x[at_goal[rows]]
        verdict = guard(x_adv)
        answers, accepted = verdict.answers, verdict.accepted
        figures = {
            "moved": _distance(attack, x, x_adv),
            "queries": attacked.queries,
            "passes": attacked.passes,
            "variants": attacked.variants,
            "zero": attacked.zero,
            "nonfinite": attacked.nonfinite,
            "noticed": attacked.noticed,
        }
        if self._driving is not None:
            self._watch.drives(len(rows))
            before = self._clean.labels[rows]
            figures |= _driven(self._driving, guard, x, x_adv, y[rows], rows, before=before, seen=verdict)
        if isinstance(attack, Control) and data.kind == "signal":
            figures["noise"] = signal_to_noise(x, x_adv)
        kept: dict[str, Tensor] = {}
        if data.ranges is not None and data.ranges.costly:
            figures["cost"] = kept["cost"] = data.ranges.cost(x, x_adv)
        reached = accepted & (answers != y[rows])
        return Part(
            stored={"x_adv": x_adv, "label": answers, "accepted": accepted, "reached": reached, **kept},
            verdict=verdict,
            chances=guard.chances(x_adv) if guard.random else None,
            figures={name: column for name, column in figures.items() if column is not None},
            alone=attacked.alone,
            names=attacked.names,
        )

    def count(self, parts: Sequence[Part]) -> dict[str, Any]:
        """Count all parts, in the order of their samples."""
        data, guard, attack, clean = self._cell.data, self._cell.guard, self._attempt.attack, self._clean
        y, at_goal, names = data.y, self._at_goal, parts[-1].names
        verdict = Verdict.joined([part.verdict for part in parts])
        each = {name: torch.cat([part.figures[name] for part in parts]) for name in parts[-1].figures}
        chances = [part.chances for part in parts if part.chances is not None]
        odds = Odds.expected(torch.cat(chances), y) if chances else Odds.seen(verdict, y)
        moved = each["moved"]
        counted = ("queries", "passes", "queries_driven")
        record: dict[str, Any] = {name: float(each[name].double().mean()) for name in counted if name in each}
        if "zero" in each:
            taken = max(int(each["passes"].sum()), 1)
            record |= {f"gradients_{name}": float(each[name].sum()) / taken for name in ("zero", "nonfinite")}
        if "variants" in each:
            shares = torch.bincount(each["variants"] + 1, minlength=len(names) + 1)[1:] / len(y)
            record["variants"] = dict(zip(names, shares.tolist(), strict=True))
        before = Odds.on(guard, data.x, y, clean)
        if parts[0].alone:
            record["alone"] = {
                name: _alone(data, before, [part.alone[name] for part in parts if name in part.alone], ~at_goal)
                for name in dict.fromkeys(name for part in parts for name in part.alone)
            }
        record |= count(data, verdict, before, odds, ~at_goal)
        record |= _labels(data, clean, verdict)
        if "noticed" in each:
            record |= _notices(each["noticed"], (clean.answers == y) & ~at_goal, data.groups)
            record |= self._attempt.threat.beside(guard)
        record |= _detection(data, guard, attack, clean, verdict, moved, each.get("driven"))
        reached = (verdict.answers != y) & verdict.accepted & (clean.answers == y)
        # Of attacks that look for the smallest change, it is that of those who fell that tells.
        telling = moved[reached] if attack.closest and bool(reached.any()) else moved
        record["distance_median"] = float(telling.quantile(0.5))
        if "cost" in each:
            record["cost_median"] = float(each["cost"].quantile(0.5))
            record["cost_median_fallen"] = float(each["cost"][reached].quantile(0.5)) if bool(reached.any()) else None
        if "noise" in each:
            ratio = each["noise"][each["noise"].isfinite() & (moved > 0)]
            record["snr_median"] = float(ratio.quantile(0.5)) if len(ratio) else None
        return record | {"examples": _examples(reached, y)}


def _attacked(
    cell: Cell, attempt: Attempt, clean: Verdict, keep: Keep, watch: CellWatch, bare: BareAttacks | None
) -> dict[str, Any]:
    """Attack some samples at a time, and count them all; only figures of each are held, no attacked inputs."""
    measurement, parts = Measurement(cell, attempt, clean, watch, bare), []
    for rows in measurement.parts():
        part = measurement.part(rows)
        keep(part.stored)
        parts.append(part.counted())
        if len(rows) < len(cell.data):
            del part
            give_back()
    return measurement.count(parts)


def _driven(
    engine: Attack, guard: Guard, x: Tensor, x_adv: Tensor, y: Tensor, samples: Tensor, *, before: Tensor, seen: Verdict
) -> dict[str, Tensor | None]:
    """Drive down the scores that the AUC is of: of those whom the attack alone has made the classifier get wrong.

    Args:
        engine: drives.
        guard: the guard.
        x: clean samples ``[n, ...]``.
        x_adv: what an attack made of them ``[n, ...]``.
        y: true labels ``[n]``.
        samples: their positions among all samples ``[n]``.
        before: the classifier's labels of the clean samples ``[n]``.
        seen: the guard's verdict on ``x_adv``.

    Returns:
        ``driven``, the suspicion of each afterwards, and ``queries_driven``, both ``[n]``.
    """
    fooled = (before == y) & (seen.labels != y)
    driven = drive(engine, guard, x, x_adv, y, seen=seen, of_interest=fooled, samples=samples)
    suspicion = seen.suspicion
    if suspicion is not None and bool(fooled.any()):
        after = guard(driven.x_adv[fooled]).suspicion
        suspicion = suspicion if after is None else suspicion.masked_scatter(fooled, after)
    return {"driven": suspicion, "queries_driven": driven.queries}


def _alone(data: Dataset, clean: Odds, parts: Sequence[Alone], eligible: Tensor) -> dict[str, Any]:
    """Count what one variant came to by itself, as :func:`count` does."""
    fallen, good = torch.cat([part.chances for part in parts]), clean.right
    figures: dict[str, Any] = {
        name: float(torch.cat([getattr(part, name) for part in parts]).double().mean())
        for name in ("queries", "passes")
    }
    figures |= proportion(good * (1 - fallen), groups=data.groups).named("robust_accuracy")
    return figures | proportion(fallen, good * eligible, groups=data.groups).named("attack_success_rate")


def _detection(
    data: Dataset,
    guard: Guard,
    attack: Attack,
    clean: Verdict,
    attacked: Verdict,
    changed: Tensor,
    driven: Tensor | None,
) -> dict[str, Any]:
    """Measure the detectors: on all attacked inputs, on those that fooled the classifier, on noise.

    ``driven`` are the suspicions ``[N]`` once the attacker has driven them down; None where nobody did.
    """
    if clean.suspicion is None or attacked.suspicion is None:
        return {}
    y, groups = data.y, data.groups
    fooled = (clean.labels == y) & (attacked.labels != y)
    everything = torch.ones_like(fooled)
    figures: dict[str, Any] = {"successes": int(fooled.sum())}
    curves: dict[str, Any] = {}
    sets = [
        ("detection_auc", "fooled", fooled, attacked.suspicion),
        ("detection_auc_all", "all", everything, attacked.suspicion),
    ]
    if driven is not None:
        sets.append(("detection_auc_driven", "driven", fooled, driven))
    for name, key, which, suspicion in sets:
        sides = (None, None) if groups is None else (groups, groups[which])
        rate = auc(clean.suspicion, suspicion[which], *sides)
        figures |= rate.named(name)
        curves[key] = None if rate.value is None else roc(clean.suspicion, suspicion[which])
    tpr = float((~attacked.accepted[fooled]).float().mean()) if bool(fooled.any()) else None
    curves["operating_point"] = {"fpr": float((~clean.accepted).float().mean()), "tpr": tpr}
    if isinstance(attack, Control):
        return figures | {"roc": curves}
    rejected = ~_accepts_noise(data, guard, attack, changed)
    return figures | {"roc": curves} | proportion(rejected, groups=groups).named("rejected_noise")


def _accepts_noise(data: Dataset, guard: Guard, attack: Attack, changed: Tensor) -> Tensor:
    """Tell which clean samples the guard accepts under random noise as long as the attack may be, or as it was."""
    samples = torch.arange(len(changed), device=changed.device)
    parts = samples.split(rows_at_once(data.x, len(changed)))
    return torch.cat([guard(_noise(data, attack, rows, changed[rows])).accepted for rows in parts])


def _noise(data: Dataset, attack: Attack, samples: Tensor, changed: Tensor) -> Tensor:
    """Return some of the clean samples under such noise."""
    x = data.x[samples]
    mask = None if data.mask is None else data.mask.to(x.device)
    units = torch.tensor(data.steps, device=x.device) if data.steps else None
    region = ball(attack.norm, x, attack.radius, data.bounds, mask, units, ranges_of(data))
    length = changed.to(x.dtype) if attack.eps is None else torch.full_like(changed, attack.eps, dtype=x.dtype)
    direction = region.steepest(normal(attack.seed, samples, tuple(x.shape[1:]), stream=10**6))
    return region.land(region.project(x + length.reshape(-1, *[1] * (x.ndim - 1)) * direction))


def count(
    data: Dataset, verdict: Verdict, clean: Odds, attacked: Odds | None = None, eligible: Tensor | None = None
) -> dict[str, Any]:
    """Count as everywhere in Salus: good = clean, accepted and right; fallen = attacked, accepted and wrong.

    Of a guard that draws at random rates are expectations over its draws, which are independent of each other before
    and after an attack; tables of classes are those of one verdict.

    Args:
        data: the samples.
        verdict: what the guard said, of the attacked ones where there are any.
        clean: the odds before.
        attacked: the odds after.
        eligible: the samples that count for the attack's success rate, bool ``[N]``; all by default.
    """
    y, groups = data.y, data.groups
    positive = [data.classes.index(name) for name in data.positive]
    good, answers = clean.right, verdict.answers
    rates = proportion(good, groups=groups).named("clean_accuracy")
    rates |= proportion(clean.rejected, groups=groups).named("rejected_clean")
    if attacked is not None:
        fallen = attacked.fallen
        rates |= proportion(good * (1 - fallen), groups=groups).named("robust_accuracy")
        of = good if eligible is None else good * eligible
        rates |= proportion(fallen, of, groups=groups).named("attack_success_rate")
        rates |= proportion(fallen, groups=groups).named("fallen_all")
        rates |= proportion(good * attacked.right, groups=groups).named("robust_accuracy_accepted")
        rates |= proportion(attacked.rejected, groups=groups).named("rejected_adversarial")
    return {
        **rates,
        "confusion": confusion(y, answers, data.classes),
        "per_class": per_class(y, answers, data.classes, groups),
        "health": health(y, answers, positive, groups),
    }


def _labels(data: Dataset, clean: Verdict, attacked: Verdict | None = None) -> dict[str, Any]:
    """Count each of several labels by itself, where classes are sets of them."""
    if not data.labels or data.label is not None:
        return {}
    names = set_names(data.labels)
    held = label_sets(len(data.labels))[[names.index(name) for name in data.classes]]
    after = None if attacked is None else attacked.answers
    rows = per_label(held, data.labels, data.y, clean.answers, after, data.groups)
    return {"per_label": rows, "worst_label": easiest_label(rows)}


def _notices(noticed: Tensor, eligible: Tensor, groups: Tensor | None) -> dict[str, Any]:
    """Count the attacks that a monitor noticed, and after how many queries; None where most never were.

    Args:
        noticed: the query at which each was ``[N]``, infinite where it was not.
        eligible: the samples that count for the attack's success rate, bool ``[N]``.
        groups: of the samples ``[N]``.
    """
    middle = median(noticed[eligible].tolist()) if bool(eligible.any()) else math.inf
    rates = proportion(noticed.isfinite(), eligible, groups=groups).named("noticed")
    return {**rates, "first_notice": middle if math.isfinite(middle) else None}


def _distance(attack: Attack, x: Tensor, x_adv: Tensor) -> Tensor:
    """Return how far each sample was moved, float64 ``[N]``."""
    size = rows_at_once(x, len(x))
    pairs = zip(x.split(size), x_adv.split(size), strict=True)
    return torch.cat([ball(attack.norm, one, attack.radius, attack.bounds).distance(other) for one, other in pairs])


def _examples(reached: Tensor, y: Tensor, most: int = 6) -> list[int]:
    """Pick positions of reached samples, classes in turn."""
    queues = [row.tolist() for k in sorted(set(y.tolist())) if len(row := ((y == k) & reached).nonzero()[:, 0])]
    picked: list[int] = []
    while any(queues) and len(picked) < most:
        picked.extend(queue.pop(0) for queue in queues if queue)
    return picked[:most]
