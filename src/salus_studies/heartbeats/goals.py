"""The goals that were set for the hardened heartbeat classifiers before they were measured, and how each is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from salus.metrics.wording import percentage
from salus_studies.frame.markdown import Record
from salus_studies.heartbeats.measured import attacked, count_test, lowest_sensitivities, sensitivities

Status = Literal["met", "missed", "not finished", "not run"]

#: Beats drawn at natural prevalence for AutoAttack and for the curve.
NATURAL = 2000


@dataclass(frozen=True)
class GoalVerdict:
    """What became of a goal.

    Attributes:
        words: the goal.
        bar: the number to reach.
        status: what became of it.
        value: the number measured; None where it was not run.
        low: lower end of its 95% interval, where it has one.
        high: upper end.
        binds: what keeps it from being met, in words; empty where it is met.
        share: whether the numbers are shares, to be shown in percent.
    """

    words: str
    bar: float
    status: Status
    value: float | None = None
    low: float | None = None
    high: float | None = None
    binds: str = ""
    share: bool = True

    @property
    def short_by(self) -> float:
        """How much is missing."""
        return 0.0 if self.status != "missed" or self.value is None else self.bar - self.value


Rule = Callable[[Record | None], GoalVerdict]


def judge(split: str, result: Record | None) -> list[GoalVerdict]:
    """Judge every goal of a split."""
    return [rule(result) for rule in GOALS[split]]


def _accuracy(words: str, bar: float, part_name: str) -> Rule:
    def rule(result: Record | None) -> GoalVerdict:
        part = _part(result, part_name)
        if result is None or part is None:
            return GoalVerdict(words, bar, "not run")
        expected = min(NATURAL, count_test(result)) if part_name == "autoattack" else count_test(result)
        status = _status(part["accuracy"] >= bar, part["n"], expected)
        binds = _lost(result, part, bar, part_name) if status == "missed" else ""
        return GoalVerdict(words, bar, status, part["accuracy"], part["accuracy_low"], part["accuracy_high"], binds)

    return rule


def _macro_f1(words: str, bar: float, part_name: str) -> Rule:
    def rule(result: Record | None) -> GoalVerdict:
        part = _part(result, part_name)
        if result is None or part is None:
            return GoalVerdict(words, bar, "not run", share=False)
        status = _status(part["macro_f1"] >= bar, part["n"], count_test(result))
        row = min(part["per_class"], key=f1)
        sensitivity, predictivity = (percentage(row[key]) for key in ("sensitivity", "positive_predictivity"))
        binds = (
            f"{row['class']} is lowest: F1 {f1(row):.2f}, sensitivity {sensitivity}, positive predictivity "
            f"{predictivity}"
        )
        return GoalVerdict(words, bar, status, part["macro_f1"], binds=binds if status == "missed" else "", share=False)

    return rule


def _class_f1(words: str, bar: float, part_name: str, name: str) -> Rule:
    def rule(result: Record | None) -> GoalVerdict:
        part = _part(result, part_name)
        if result is None or part is None:
            return GoalVerdict(words, bar, "not run", share=False)
        row = next(row for row in part["per_class"] if row["class"] == name)
        status = _status(f1(row) >= bar, part["n"], count_test(result))
        sensitivity, predictivity = (percentage(row[key]) for key in ("sensitivity", "positive_predictivity"))
        binds = f"sensitivity {sensitivity}, positive predictivity {predictivity}" if status == "missed" else ""
        return GoalVerdict(words, bar, status, f1(row), binds=binds, share=False)

    return rule


def _every_class(words: str, bar: float) -> Rule:
    def rule(result: Record | None) -> GoalVerdict:
        part = attacked(result, "pgd")
        if result is None or part is None:
            return GoalVerdict(words, bar, "not run")
        lowest = lowest_sensitivities(result)
        name, value = _lowest(lowest)
        status = _status(value >= bar, part["n"], count_test(result))
        clean = sensitivities(result["clean"]).get(name)
        binds = f"{name} is lowest, at {percentage(clean)} before any attack"
        others = [other for other, share in lowest.items() if share < bar and other != name]
        binds += f"; below the goal too: {', '.join(others)}" if others else ""
        row = next(row for row in part["per_class"] if row["class"] == name)
        low, high = (row[f"sensitivity_{end}"] for end in ("low", "high"))
        if value != row["sensitivity"]:  # AutoAttack's, which has no interval of its own when pooled
            low = high = None
        return GoalVerdict(words, bar, status, value, low, high, binds if status == "missed" else "")

    return rule


#: Set before these networks were judged on test beats.
GOALS: dict[str, tuple[Rule, ...]] = {
    "beats": (
        _accuracy("accuracy on clean beats", 0.993, "clean"),
        _accuracy("accuracy under PGD-40x5", 0.987, "pgd"),
        _accuracy("accuracy under AutoAttack", 0.987, "autoattack"),
        _every_class("sensitivity of every class under attack", 0.90),
    ),
    "patients": (
        _macro_f1("macro-F1 on clean beats", 0.75, "clean"),
        _class_f1("F1 of S on clean beats", 0.70, "clean", "S"),
        _macro_f1("macro-F1 under PGD-40x5", 0.70, "pgd"),
        _class_f1("F1 of S under PGD-40x5", 0.60, "pgd", "S"),
        _every_class("sensitivity of every class under attack", 0.30),
    ),
}

#: What a setting has to reach on validation data to promise the goals: (figure, bar) clean and under attack.
ON_VALIDATION = {
    "beats": (("clean_accuracy", 0.993), ("robust_accuracy", 0.987)),
}


def f1(row: Record) -> float:
    """Compute the harmonic mean of a class's sensitivity and positive predictivity."""
    sensitivity, predictivity = row["sensitivity"] or 0.0, row["positive_predictivity"] or 0.0
    return float(2 * sensitivity * predictivity / (sensitivity + predictivity)) if sensitivity + predictivity else 0.0


def _part(result: Record | None, name: str) -> Record | None:
    return result.get("clean") if result is not None and name == "clean" else attacked(result, name)


def _status(reached: bool, n: int, expected: int) -> Status:
    if n < expected:
        return "not finished"
    return "met" if reached else "missed"


def _lowest(shares: dict[str, float]) -> tuple[str, float]:
    name = min(shares, key=shares.__getitem__)
    return name, shares[name]


def _lost(result: Record, part: Record, bar: float, part_name: str) -> str:
    """Say whose beats are wrong, and how much of it was so before the attack."""
    wrong = {row["class"]: round(row["n"] * (1 - row["sensitivity"])) for row in part["per_class"] if row["n"]}
    most = max(wrong, key=wrong.__getitem__)
    words = f"{sum(wrong.values()):,} of {part['n']:,} beats wrong, {wrong[most]:,} of them {most}"
    if part_name == "clean":
        return words
    before = 1 - result["clean"]["accuracy"]
    return f"{words}; clean errors ({percentage(before, 2)}) use up {before / (1 - bar):.0%} of what the goal allows"
