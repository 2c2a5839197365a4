"""MultiMagNet's calibration stage: a grid of its hyper-parameters, scored, and the best chosen (Section 4.1).

Every member of the repository sees every input once; all thresholds, votes and scores follow from what it measured.
A combination's scores are exact means over all the ensembles that can be drawn; the paper mounts one at random.

References:
    Machado, Goldschmidt and Silva, "MultiMagNet", ICEIS 2019.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from salus.batches import rows_at_once
from salus.classifier import Classifier
from salus.detectors.divergence import jensen_shannon, log_probabilities, reconstruction_error
from salus.detectors.multimagnet_grid import Calibration, DetectionShares, Grid, Measure, Scored
from salus.detectors.votes import drop_rate_thresholds, expected_rejections
from salus.errors import CalibrationError
from salus.generative import Repository


@dataclass(frozen=True, eq=False)
class Measured:
    """What all members of a repository measured on N inputs.

    Attributes:
        members: their names.
        values: ``[N, m]`` by metric and temperature.
        labels: the classes that the classifier gives the members' reconstructions, int64 ``[N, m]``; None where no
            divergence was asked for.
        repository: the fingerprint of the repository; empty when it is not known.
    """

    members: tuple[str, ...]
    values: Mapping[Measure, Tensor]
    labels: Tensor | None = None
    repository: str = ""

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))


@torch.no_grad()
def measure(
    classifier: Classifier, repository: Repository, x: Tensor, measures: Sequence[Measure], *, batch_size: int = 512
) -> Measured:
    """Let every member see every input x ``[N, ...]`` once, and compute all these measures from that.

    Raises:
        CalibrationError: there are no inputs.
    """
    if not len(x):
        raise CalibrationError("MultiMagNet's calibration stage needs inputs to measure, and got none.")
    members = range(len(repository))
    temperatures = [temperature for metric, temperature in measures if metric == "jsd"]
    columns: dict[Measure, list[Tensor]] = {each: [] for each in measures}
    labels: list[Tensor] = []
    for part in torch.split(x, rows_at_once(x, batch_size)):
        made = [repository.reconstruct(i, part) for i in members]  # m times [n, ...]
        if ("re", None) in columns:
            columns["re", None].append(torch.stack([reconstruction_error(part, one) for one in made], 1))
        if temperatures:
            logits, others = classifier.predict(part), torch.stack([classifier.predict(one) for one in made], 1)
            labels.append(others.argmax(2))
            for temperature in temperatures:
                p, q = (log_probabilities(each, temperature or 1.0) for each in (logits[:, None], others))
                columns["jsd", temperature].append(jensen_shannon(p, q))  # [n, m]
    values = {each: torch.cat(parts) for each, parts in columns.items()}
    return Measured(repository.names, values, torch.cat(labels) if labels else None, repository.fingerprint())


def score(clean: Measured, adversarial: Measured, grid: Grid, *, legitimate: Measured | None = None) -> list[Scored]:
    """Score every combination of the grid, in its order.

    Args:
        clean: clean inputs to be accepted, measured.
        adversarial: inputs to be rejected, measured.
        grid: what to try.
        legitimate: the clean inputs that thresholds come from, measured; those to be accepted when not given.

    Raises:
        CalibrationError: the repository has too few members for a size in the grid.
    """
    m, source = len(clean.members), legitimate or clean
    if max(grid.sizes) > m:
        raise CalibrationError(f"MultiMagNet cannot draw n = {max(grid.sizes)} of {m} members; ask for {m} at most.")
    rows = []
    alike = groupby(grid.combinations(), lambda one: (one.measure, one.drop_rate, one.approach))
    for (measured, drop_rate, approach), group in alike:
        combinations = list(group)  # they differ in n alone
        sizes = [combination.n for combination in combinations]
        thresholds = drop_rate_thresholds(source.values[measured], drop_rate)
        rejected = (
            expected_rejections(side.values[measured], thresholds, sizes, approach) for side in (clean, adversarial)
        )
        for combination, of_clean, of_adversarial in zip(combinations, *rejected, strict=True):
            outcome = DetectionShares(
                accepted_clean=len(clean) - of_clean,
                rejected_clean=of_clean,
                accepted_adversarial=len(adversarial) - of_adversarial,
                rejected_adversarial=of_adversarial,
            )
            rows.append(Scored(combination=combination, outcome=outcome))
    return rows


def choose_by_accuracy(
    clean: Measured, adversarial: Measured, grid: Grid, *, attack: str, legitimate: Measured | None = None
) -> Calibration:
    """Choose the combination of the highest accuracy (Section 4.1.4); this knows the attack that is to come.

    Args:
        clean: legitimate validation inputs, measured; the paper's V_leg.
        adversarial: what the attack made of them, measured; V_atk.
        grid: what to try.
        attack: its name.
        legitimate: the inputs that thresholds come from, measured, where accuracy is counted on some of them alone,
            as the paper does: on 2,000 of 5,000.
    """
    rows = score(clean, adversarial, grid, legitimate=legitimate)
    best = max(rows, key=lambda row: (round(row.outcome.accuracy, 12), *_of_equals(row)))
    return _calibration("the highest accuracy", attack, best, legitimate or clean, rows)


def choose_on_clean(clean: Measured, blended: Measured, grid: Grid, *, false_alarm_rate: float) -> Calibration:
    """Choose without any attack, on clean inputs alone.

    Of the combinations that reject at most the asked share of clean inputs, it is the one that rejects the most
    :func:`blends` of them. So it accepts what it must, and as little as it can of what lies between the classes: the
    smallest set of a given mass, its volume told by artificial outliers (Steinwart, Hush and Scovel, 2005).

    Args:
        clean: legitimate validation inputs, measured.
        blended: their blends, measured.
        grid: what to try.
        false_alarm_rate: the largest share of clean inputs to be rejected.

    Raises:
        CalibrationError: no combination keeps the rate.
    """
    rows = score(clean, blended, grid)
    affordable = [row for row in rows if 1 - row.outcome.ppv <= false_alarm_rate + 1e-12]
    if not affordable:
        least = min(1 - row.outcome.ppv for row in rows)
        raise CalibrationError(
            f"No combination of MultiMagNet's grid keeps false alarms at {false_alarm_rate:g}; the fewest are "
            f"{least:.2g}. Ask for that, or give smaller drop rates."
        )
    best = max(affordable, key=lambda row: (round(row.outcome.npv, 12), *_of_equals(row)))
    rule = f"at most {false_alarm_rate:g} of clean inputs rejected, then the most blends of clean inputs"
    return _calibration(rule, "blends of clean inputs", best, clean, rows)


def blends(x: Tensor, labels: Tensor, *, seed: int = 0) -> Tensor:
    """Mix each clean input with one of another class: ``(1 - w) x + w x'``, w uniform between 0 and 1/2.

    Args:
        x: clean inputs ``[N, ...]``.
        labels: their classes ``[N]``.
        seed: of partners and weights.

    Raises:
        CalibrationError: they are all of one class.
    """
    order = labels.argsort(stable=True)
    counts = torch.bincount(labels)
    if int(counts.max()) == len(labels):
        raise CalibrationError("Blends need clean inputs of two classes at least; all of these are of one.")
    own = counts[labels]  # [N], inputs of the same class: a block in the order
    start = (counts.cumsum(0) - counts)[labels]
    rng = torch.Generator().manual_seed(seed)
    chance = torch.rand(2, len(x), generator=rng).to(x.device)
    place = (chance[0].double() * (len(x) - own)).long()
    partner = order[torch.where(place >= start, place + own, place)]
    weight = (chance[1] / 2).reshape(-1, *[1] * (x.ndim - 1))
    return (1 - weight) * x + weight * x[partner]


def _of_equals(row: Scored) -> tuple[float, int]:
    """Prefer the one with fewer false alarms, then with fewer members."""
    return round(row.outcome.ppv, 12), -row.combination.n


def _calibration(rule: str, adversarial: str, best: Scored, clean: Measured, rows: Sequence[Scored]) -> Calibration:
    chosen = best.combination
    thresholds = drop_rate_thresholds(clean.values[chosen.measure], chosen.drop_rate)
    named = dict(zip(clean.members, thresholds.tolist(), strict=True))
    return Calibration(
        rule=rule,
        adversarial=adversarial,
        best=best,
        thresholds=named,
        grid=tuple(rows),
        repository=clean.repository,
    )
