"""Table 6: attacks on CIFAR-10's classifier as strong as the paper's, I-defender beside supervised detectors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from typing import Any

from torch import Tensor

from salus.attacks import BIM, FGSM, Attack, DeepFool
from salus.classifier import Classifier
from salus.threats import full_strength
from salus_studies.i_defender import scored
from salus_studies.i_defender.bench import Bench, Material, first
from salus_studies.i_defender.black_box import fitted, kept
from salus_studies.i_defender.choice import Readings
from salus_studies.i_defender.published import SEMI_WHITE_BOX, Column, TunedColumn
from salus_studies.i_defender.taught import METHODS, Taught

#: Between which sizes an attack's strength is looked for.
_REACH = {"linf": (1 / 2550, 0.5), "l2": (0.01, 30.0)}

#: A DeepFool that has not crossed by then is not helped by more steps inside its ball.
_DEEPFOOL_STEPS = 20


def attack_of(column: Column, eps: float, seed: int) -> Attack:
    """Build a column's attack at a size, at full strength."""
    attack: Attack
    if column.attack == "fgsm":
        attack = FGSM(eps=eps, seed=seed)
    elif column.attack == "deepfool":
        attack = DeepFool(eps=eps, steps=_DEEPFOOL_STEPS, seed=seed)
    else:
        attack = BIM(eps=eps, norm="l2" if column.attack == "iter-l2" else "linf", schedule="madry", seed=seed)
    return full_strength(attack)


def tune(
    accuracy: Callable[[float], float], goal: float, low: float, high: float, halvings: int
) -> list[tuple[float, float]]:
    """Look for the size at which an attack leaves a certain accuracy, by bisection of the logarithm.

    Returns:
        Every size tried with the accuracy there; the nearest accuracy is that of the size to take.
    """
    tried = []
    for _ in range(halvings):
        eps = math.sqrt(low * high)
        reached = accuracy(eps)
        tried.append((eps, reached))
        low, high = (eps, high) if reached > goal else (low, eps)
    return tried


class SemiWhiteBox:
    """The attacker who knows the classifier and not its defence.

    Args:
        bench: where the steps are stored.
        material: the data.
        classifier: attacked and judged.
        readings: I-defenders of it.
    """

    def __init__(self, bench: Bench, material: Material, classifier: Classifier, readings: Readings) -> None:
        self.bench, self.material, self.classifier, self.readings = bench, material, classifier, readings
        self.test = first(material.test, bench.scale.wide_images)
        self._copies: dict[str, Tensor] = {}

    def judge(self) -> dict[str, float | None]:
        """Tune every column, and judge every method on it; give the sizes found, by column."""
        sizes = {column.key: self._tuned(column) for column in SEMI_WHITE_BOX}
        first_eps = sizes[SEMI_WHITE_BOX[0].key]
        taught = None if first_eps is None else Taught(self.bench, self.material, self.classifier, first_eps)
        if taught is not None:
            taught.choose()
        for column in SEMI_WHITE_BOX:
            for method in ("i-defender", *METHODS):
                blank = {"column": column.key, "method": method}
                eps = sizes[column.key]
                if eps is None or taught is None:
                    self.bench.leave_out("semi_white_box", "no time left to tune the attacks' strengths", blank)
                elif method == "i-defender":
                    self._own(column, eps, blank)
                else:
                    self._other(column, eps, taught, method, blank)
        return sizes

    def _tuned(self, column: TunedColumn) -> float | None:
        scale, few = self.bench.scale, first(self.material.validation, self.bench.scale.tuning_images)
        goal = column.adversarial_accuracy / 100
        norm = attack_of(column, 0.1, 0).norm

        def accuracy(eps: float) -> float:
            x_adv = attack_of(column, eps, self.bench.seed)(self.classifier, few.x, few.y)
            return float((self.classifier.predict(x_adv).argmax(1) == few.y).double().mean())

        def search() -> dict[str, Any]:
            tried = tune(accuracy, goal, *_REACH[norm], scale.halvings)
            eps, reached = min(tried, key=lambda one: abs(one[1] - goal))
            return {"eps": eps, "norm": norm, "reached": reached, "images": len(few), "tried": tried}

        key = [
            self.classifier.fingerprint(),
            few.fingerprint(),
            asdict(column),
            _REACH[norm],
            scale.halvings,
            _DEEPFOOL_STEPS,
            self.bench.seed,
        ]
        done = self.bench.record(
            "tuned", f"tuned-{column.key}", f"tuning {column.attack}", key, search, {"column": column.key}
        )
        return float(done["eps"]) if done["status"] == "done" else None

    def _own(self, column: Column, eps: float, blank: dict[str, Any]) -> None:
        key = [
            *self._key(column, eps),
            [one.describe() for one in self.readings.rows],
            self.readings.keys,
            self.bench.scale.fitting,
        ]
        name = f"table-6-i-defender-{column.key}"
        self.bench.record(
            "semi_white_box", name, "table 6", key, lambda: self._i_defender(column, eps), {**blank, "eps": eps}
        )

    def _other(self, column: Column, eps: float, taught: Taught, method: str, blank: dict[str, Any]) -> None:
        layers = taught.chosen.get(method)
        blank = {**blank, "eps": eps}
        if layers is None:
            self.bench.leave_out("semi_white_box", taught.reasons[method], blank)
            return

        def work() -> dict[str, Any]:
            detector = taught.detector(method)
            x_adv = self._x_adv(column, eps)
            clean, attacked = (scored.raw_scores(self.classifier, detector, x) for x in (self.test.x, x_adv))
            before, after = (self.classifier.predict(x).argmax(1).cpu() for x in (self.test.x, x_adv))
            fooling = scored.fooled(before, after, self.test.y)
            return {
                **scored.answers(before, after, self.test.y),
                **scored.areas(clean, attacked, fooling),
                "at": {"own": scored.at_threshold(clean, attacked, fooling, 0.0)},
                "layers": list(layers),
                "notes": detector.notes_,
            }

        key = [*self._key(column, eps), method, layers, taught.key]
        name = f"table-6-{method}-{column.key}"
        self.bench.record("semi_white_box", name, f"table 6 {method}", key, work, blank)

    def _key(self, column: Column, eps: float) -> list[Any]:
        return [
            self.classifier.fingerprint(),
            self.test.fingerprint(),
            column.key,
            eps,
            self.bench.seed,
            self.material.splits.train.fingerprint(),
        ]

    @cached_property
    def _detectors(self) -> dict[str, Any]:
        return fitted(self.bench, self.material, self.classifier, list(self.readings.rows))

    @cached_property
    def _clean(self) -> scored.Seen:
        return scored.look(self.classifier, self._detectors, self.test.x)

    def _x_adv(self, column: Column, eps: float) -> Tensor:
        if column.key not in self._copies:
            attack = attack_of(column, eps, self.bench.seed)
            self._copies[column.key] = attack(self.classifier, self.test.x, self.test.y)
        return self._copies[column.key]

    def _i_defender(self, column: Column, eps: float) -> dict[str, Any]:
        clean = self._clean
        seen = scored.look(self.classifier, self._detectors, self._x_adv(column, eps))
        fooling = scored.fooled(clean.labels, seen.labels, self.test.y)
        rows = []
        for one in self.readings.rows:
            scores = clean.scores[one.key], seen.scores[one.key]
            at = {name: scored.at_threshold(*scores, fooling, value) for name, value in scored.THRESHOLDS.items()}
            rows.append(
                {**one.describe(), "kept": kept(self._detectors[one.key]), **scored.areas(*scores, fooling), "at": at}
            )
        return {
            **scored.answers(clean.labels, seen.labels, self.test.y),
            "chosen": self.readings.keys,
            "detectors": rows,
        }
