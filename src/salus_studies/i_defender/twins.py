"""Tables 7, 8 and 9: an attacker who has a twin of the guard, trained apart, and follows Eq. 6 on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from salus.attacks import BIM, FGSM, Attack
from salus.classifier import Classifier
from salus.data import Dataset
from salus.guard import Guard
from salus.metrics import proportion
from salus.threats import Eq6, adaptive, full_strength, gray_box, oblivious
from salus.threats.adaptive import CONTROL, UNION
from salus.threats.engines import changed
from salus.threats.gray_box import twin_variants
from salus.threats.objectives import ClassConsistent, GuardObjective
from salus.threats.worst import Variant, Worst
from salus.verdict import Verdict
from salus_studies.frame.step import Step
from salus_studies.i_defender import scored
from salus_studies.i_defender.bench import Bench, Material, first
from salus_studies.i_defender.choice import StateModel
from salus_studies.i_defender.published import ALPHAS, GRAY_BOX, SizedColumn

#: What Salus's own attackers are set on.
OWN = GRAY_BOX[0]
THREATS = ("oblivious", "gray-box", "adaptive")


def attack_of(column: SizedColumn, seed: int) -> Attack:
    """Build a column's attack."""
    if column.attack == "fgsm":
        return FGSM(eps=column.eps, seed=seed)
    return BIM(eps=column.eps, norm="l2" if column.attack == "iter-l2" else "linf", schedule="madry", seed=seed)


@dataclass(frozen=True, eq=False)
class Pair:
    """Two networks of one architecture trained apart, the source of attacks and their target, and I-defender's setting.

    Attributes:
        source: the attacker's.
        target: what is attacked in the end.
        setting: I-defender's, of both.
    """

    source: Classifier
    target: Classifier
    setting: StateModel


def pair_of(networks: Sequence[Classifier | None], setting: StateModel | None) -> Pair | str:
    """Put a pair together, source first, or say why there is none."""
    source, target = networks
    if source is None or target is None:
        return "its networks are not trained"
    return "no time left for the choice of its layer" if setting is None else Pair(source, target, setting)


class Twins:
    """What attackers who have a twin of the guard come to.

    Args:
        bench: where the steps are stored.
        material: the data.
        name: of the pair in results: ``shallow``, ``deep`` or ``imagenet``.
        pair: the two networks; or why there are none.
    """

    def __init__(self, bench: Bench, material: Material, name: str, pair: Pair | str) -> None:
        self.bench, self.material, self.name, self.pair = bench, material, name, pair
        self._guards: tuple[Guard, Guard] | None = None

    def judge(self, section: str, columns: Sequence[SizedColumn], alphas: Sequence[float], images: int | None) -> None:
        """Attack the source by Eq. 6 with every alpha, and judge both.

        Args:
            section: of the results.
            columns: the attacks.
            alphas: weights of Eq. 6.
            images: test images attacked; None for all.
        """
        test, todo = first(self.material.test, images), []
        for column in columns:
            for alpha in alphas:
                blank = {"pair": self.name, "column": column.key, "alpha": alpha}
                if isinstance(self.pair, str):
                    self.bench.leave_out(section, self.pair, blank)
                    continue
                todo.append(
                    Step(
                        name=f"{section}-{self.name}-{column.key}-{alpha:g}",
                        kind=f"{self.name} {column.attack}",
                        key=[*self._key(self.pair, test), asdict(column), alpha],
                        function=by_eq6,
                        arguments=(blank, attack_of(column, self.bench.seed), alpha),
                        blank=blank,
                    )
                )
        self._do(section, todo, test)

    def own(self, images: int) -> None:
        """Let Salus's own attackers loose on the target: they show what Eq. 6 leaves standing."""
        test, todo = first(self.material.test, images), []
        for threat in THREATS:
            blank = {"pair": self.name, "column": OWN.key, "threat_model": threat}
            if isinstance(self.pair, str):
                self.bench.leave_out("own", self.pair, blank)
                continue
            todo.append(
                Step(
                    name=f"own-{self.name}-{threat}",
                    kind=f"own {threat}",
                    key=[*self._key(self.pair, test), threat],
                    function=by_our_own,
                    arguments=(blank, attack_of(OWN, self.bench.seed), threat),
                    blank=blank,
                )
            )
        self._do("own", todo, test)

    def alone(self, images: int | None) -> None:
        """Attack the source by each way alone, by all of them and by the control, and judge both."""
        test, blank = first(self.material.test, images), {"pair": self.name, "column": OWN.key}
        if isinstance(self.pair, str):
            self.bench.leave_out("alone", self.pair, blank)
            return
        step = Step(
            name=f"alone-{self.name}",
            kind="alone",
            key=self._key(self.pair, test),
            function=by_each_alone,
            arguments=(blank, attack_of(OWN, self.bench.seed)),
            blank=blank,
        )
        self._do("alone", [step], test)

    def _do(self, section: str, todo: Sequence[Step], test: Dataset) -> None:
        """Do steps on the guards and the test images, which are fitted and shared where any is left to be done."""
        steps = self.bench.steps
        given: tuple[Any, ...] = (None, None, None)
        if not isinstance(self.pair, str) and any(steps.read(step.name, step.key) is None for step in todo):
            given = tuple(map(steps.share, (*self.guards(self.pair), test)))
        self.bench.record_all(section, [replace(step, arguments=(*given, *step.arguments)) for step in todo])

    def guards(self, pair: Pair) -> tuple[Guard, Guard]:
        """I-defender with ID-95's thresholds on the source and on the target, fitted once."""
        if self._guards is None:
            samples, seed = self.bench.scale.fitting, self.bench.seed
            source, target = (
                Guard(network, [pair.setting.fit(network, self.material, samples, seed)], name=role)
                for role, network in (("source", pair.source), ("target", pair.target))
            )
            self._guards = source, target
        return self._guards

    def _key(self, pair: Pair, test: Dataset) -> list[Any]:
        return [
            pair.source.fingerprint(),
            pair.target.fingerprint(),
            pair.setting.describe(),
            test.fingerprint(),
            self.bench.scale.fitting,
            self.bench.seed,
            self.material.splits.train.fingerprint(),
        ]


def by_eq6(
    source: Guard, target: Guard, test: Dataset, blank: dict[str, Any], attack: Attack, alpha: float
) -> dict[str, Any]:
    """Attack the source by Eq. 6, and judge both; ``blank`` says what it is."""
    x_adv = full_strength(attack)(Eq6(source, alpha=alpha), test.x, test.y)
    return {**blank, **{side: _judged(guard, test, x_adv) for side, guard in (("source", source), ("target", target))}}


def by_each_alone(source: Guard, target: Guard, test: Dataset, blank: dict[str, Any], attack: Attack) -> dict[str, Any]:
    """Attack the source by each way alone, and by all of them together; judge both guards.

    The control follows the plain cross-entropy until the source accepts a wrong label, and no further. The union takes
    for each image what lies deepest in the region that the source accepts.
    """
    every = Worst(attack, source, test.x, test.y, None, None, smallest=False)
    rows = []
    for name, variants in ways(attack, source, test.y).items():
        one = Worst(attack, source, test.x, test.y, None, None, smallest=False)
        everybody = torch.ones_like(one.standing)
        one.try_all(variants, lambda everybody=everybody: everybody)  # type: ignore[misc]
        every.take_from(one)
        rows.append((name, one.nearest))
    rows.append((UNION, every.nearest))
    guards = {"source": source, "target": target}
    judged = [
        {"attacker": name, **{side: _judged(guard, test, x_adv) for side, guard in guards.items()}}
        for name, x_adv in rows
    ]
    return {**blank, "rows": judged}


def ways(attack: Attack, source: Guard, y: Tensor) -> dict[str, list[Variant]]:
    """List the ways to attack a guard's twin by their names: the control, Eq. 6 with each alpha, class-consistent."""
    engine = full_strength(attack)
    plain = Variant(CONTROL, changed(attack, early_stop=True), GuardObjective(source), [None], "fresh")
    found = {CONTROL: [plain]}
    for alpha in ALPHAS:
        eq6 = Eq6(source, alpha=alpha)
        found[eq6.title] = [Variant(eq6.title, engine, eq6, [None], "fresh")]
    consistent = [one for one in twin_variants(attack, source, y) if isinstance(one.objective, ClassConsistent)]
    return {**found, "class-consistent": consistent}


def by_our_own(
    source: Guard, target: Guard, test: Dataset, blank: dict[str, Any], attack: Attack, threat: str
) -> dict[str, Any]:
    """Attack the target by one who knows what the threat model says; ``blank`` says what it is."""
    if threat == "oblivious":
        x_adv = oblivious(attack, target, test.x, test.y).x_adv
    elif threat == "gray-box":
        x_adv = gray_box(attack, source, test.x, test.y).x_adv
    else:
        x_adv = adaptive(attack, target, test.x, test.y).x_adv
    return {**blank, **_judged(target, test, x_adv)}


def _judged(guard: Guard, test: Dataset, x_adv: Tensor) -> dict[str, Any]:
    """Count what a guard says of clean and attacked images."""
    clean, attacked = guard(test.x), guard(x_adv)
    y = test.y.cpu()
    before, after = clean.labels.cpu(), attacked.labels.cpu()
    scores = _suspicion(clean), _suspicion(attacked)
    good = (clean.answers == test.y).cpu()
    fallen = ((attacked.answers != test.y) & (attacked.answers >= 0)).cpu()
    return {
        **scored.answers(before, after, y),
        **scored.areas(*scores, scored.fooled(before, after, y)),
        **proportion(good.numpy()).named("good"),
        **proportion((good & ~fallen).numpy()).named("robust_accuracy"),
        **proportion(fallen.numpy(), good.numpy()).named("attack_success_rate"),
        **proportion(fallen.numpy()).named("fallen_all"),
    }


def _suspicion(verdict: Verdict) -> Tensor:
    (scores,) = verdict.scores.values()
    return scores.cpu()
