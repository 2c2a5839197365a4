"""Tables 7, 8 and 9: an attacker who has a twin of the guard, trained apart, and follows Eq. 6 on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property, partial
from typing import Any

from torch import Tensor

from salus.attacks import BIM, FGSM, Attack
from salus.classifier import Classifier
from salus.data import Dataset
from salus.detectors import IDefender
from salus.guard import Guard, Verdict
from salus.metrics import proportion
from salus.threats import Eq6, adaptive, full_strength, gray_box, oblivious
from salus_studies.i_defender import scored
from salus_studies.i_defender.bench import Bench, Material, first
from salus_studies.i_defender.choice import Setting
from salus_studies.i_defender.published import GRAY_BOX, Column

#: What Salus's own attackers are set on.
OWN = GRAY_BOX[0]
THREATS = ("oblivious", "gray-box", "adaptive")


def attack_of(column: Column, seed: int) -> Attack:
    """Build a column's attack."""
    assert column.eps is not None  # noqa: S101 - of every column of Tables 7 to 9
    if column.attack == "fgsm":
        return FGSM(eps=column.eps, seed=seed)
    return BIM(eps=column.eps, norm="l2" if column.attack == "iter-l2" else "linf", seed=seed)


class Twins:
    """Two networks of one architecture trained apart, the source of attacks and their target.

    Args:
        bench: where the steps are stored.
        material: the data.
        pair: names the two in results: ``shallow``, ``deep`` or ``imagenet``.
        networks: source and target; None for one that the time did not allow.
        setting: I-defender's, of both; None where the time did not allow the choice.
    """

    def __init__(
        self,
        bench: Bench,
        material: Material,
        pair: str,
        networks: Sequence[Classifier | None],
        setting: Setting | None,
    ) -> None:
        self.bench, self.material, self.pair, self.setting = bench, material, pair, setting
        self.source, self.target = networks
        self.why_not = (
            "no time left for its networks"
            if self.source is None or self.target is None
            else "no time left for the choice of its layer"
            if setting is None
            else None
        )

    def judge(self, section: str, columns: Sequence[Column], alphas: Sequence[float], images: int | None) -> None:
        """Attack the source by Eq. 6 with every alpha, and judge both.

        Args:
            section: of the results.
            columns: the attacks.
            alphas: weights of Eq. 6.
            images: test images attacked; None for all.
        """
        test = first(self.material.test, images)
        for column in columns:
            for alpha in alphas:
                blank = {"pair": self.pair, "column": column.key, "alpha": alpha}
                if self.why_not is not None:
                    self.bench.leave_out(section, self.why_not, blank)
                    continue
                name = f"{section}-{self.pair}-{column.key}-{alpha:g}"
                self.bench.record(
                    section,
                    name,
                    f"{self.pair} {column.attack}",
                    [*self._key(test), asdict(column), alpha],
                    partial(self._eq6, test, column, alpha),
                    blank,
                )

    def own(self, images: int) -> None:
        """Let Salus's own attackers loose on the target: they show what Eq. 6 leaves standing."""
        test = first(self.material.test, images)
        for threat in THREATS:
            blank = {"pair": self.pair, "column": OWN.key, "threat_model": threat}
            if self.why_not is not None:
                self.bench.leave_out("own", self.why_not, blank)
                continue
            self.bench.record(
                "own",
                f"own-{self.pair}-{threat}",
                f"own {threat}",
                [*self._key(test), threat],
                partial(self._own, test, threat),
                blank,
            )

    @cached_property
    def guards(self) -> tuple[Guard, Guard]:
        """I-defender with ID-95's thresholds on the source and on the target."""
        source, target = (
            Guard(network, [self._fit(network)], name=role)
            for role, network in (("source", self.source), ("target", self.target))
            if network is not None
        )
        return source, target

    def _fit(self, classifier: Classifier) -> IDefender:
        assert self.setting is not None  # noqa: S101 - otherwise nothing is judged
        return self.setting.fit(classifier, self.material, self.bench.scale.fitting, self.bench.seed)

    def _key(self, test: Dataset) -> list[Any]:
        assert self.source is not None  # noqa: S101 - otherwise nothing is judged
        assert self.target is not None  # noqa: S101
        assert self.setting is not None  # noqa: S101
        return [
            self.source.fingerprint(),
            self.target.fingerprint(),
            self.setting.describe(),
            test.fingerprint(),
            self.bench.scale.fitting,
            self.bench.seed,
            self.material.splits.train.fingerprint(),
        ]

    def _eq6(self, test: Dataset, column: Column, alpha: float) -> dict[str, Any]:
        source, target = self.guards
        attack = full_strength(attack_of(column, self.bench.seed))
        x_adv = attack(Eq6(source, alpha=alpha), test.x, test.y)
        return {side: _judged(guard, test, x_adv) for side, guard in (("source", source), ("target", target))}

    def _own(self, test: Dataset, threat: str) -> dict[str, Any]:
        source, target = self.guards
        attack = attack_of(OWN, self.bench.seed)
        if threat == "oblivious":
            x_adv = oblivious(attack, target, test.x, test.y).x_adv
        else:
            made = (
                gray_box(attack, source, test.x, test.y)
                if threat == "gray-box"
                else adaptive(attack, target, test.x, test.y)
            )
            x_adv = made.x_adv
        return _judged(target, test, x_adv)


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
