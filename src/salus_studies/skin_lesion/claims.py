"""Sentences of the thesis, each tried on its own tables and on ours by the same rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from salus_studies.skin_lesion.measured import Lookup
from salus_studies.skin_lesion.published import NETWORKS

#: What a rule finds: whether the sentence holds (None: there is no number to tell by), and the numbers.
Finding = tuple["bool | None", str]
Rule = Callable[[Lookup], Finding]
Stage = tuple[str, str]  # attack, defence

#: Points within which numbers are "close", in the sentences that say so.
CLOSE = 5.0


@dataclass(frozen=True)
class Claim:
    """A sentence of the thesis and a rule to try it by.

    Attributes:
        sentence: what it says.
        place: where.
        rule: how it is read here, in words.
        test: the rule.
    """

    sentence: str
    place: str
    rule: str
    test: Rule


def verdict(finding: Finding) -> str:
    """Say it in a word, with the numbers."""
    holds, numbers = finding
    word = {True: "confirmed", False: "contradicted", None: "no numbers"}[holds]
    return f"**{word}**" + (f": {numbers}" if numbers else "")


def _each(
    source: Lookup, looks: Iterable[tuple[str, str, str, str]], holds: Callable[[list[float]], bool], width: int = 2
) -> Finding:
    """Try a rule on tuples of figures, ``width`` at a time; all must be there."""
    places = list(looks)
    values = [source(*look) for look in places]
    if any(each is None for each in values):
        return None, ""
    numbers = [each for each in values if each is not None]
    clauses, good = [], True
    for first in range(0, len(places), width):
        part = numbers[first : first + width]
        good &= holds(part)
        network, attack = places[first][:2]
        under = f" under {attack.upper()}" if width == 1 and attack != "none" else ""
        clauses.append(f"{NETWORKS[network]}{under} {' → '.join(f'{number:.1f}' for number in part)}")
    return good, "; ".join(clauses)


def _compared(figure: str, before: Stage, after: Stage, holds: Callable[[float, float], bool]) -> Rule:
    """Compare one figure of two experiments, on both networks."""

    def test(source: Lookup) -> Finding:
        looks = [(network, *each, figure) for network in NETWORKS for each in (before, after)]
        return _each(source, looks, lambda pair: holds(pair[0], pair[1]))

    return test


def _joined(*tests: tuple[str, Rule]) -> Rule:
    """Ask for all of several rules."""

    def test(source: Lookup) -> Finding:
        findings = [(words, rule(source)) for words, rule in tests]
        if any(holds is None for _, (holds, _) in findings):
            return None, ""
        numbers = "; ".join(f"{words}: {numbers}" for words, (_, numbers) in findings)
        return all(holds for _, (holds, _) in findings), numbers

    return test


def _within(low: float, high: float, figure: str, attacks: tuple[str, ...], defence: str) -> Rule:
    """Ask for one figure to lie in a range."""

    def test(source: Lookup) -> Finding:
        looks = [(network, attack, defence, figure) for attack in attacks for network in NETWORKS]
        return _each(source, looks, lambda one: low <= one[0] <= high, 1)

    return test


def _less(before: float, after: float) -> bool:
    return after < before


def _more(before: float, after: float) -> bool:
    return after > before


_PLAIN = ("none", "none")


def _best(source: Lookup) -> Finding:
    clauses, good = [], True
    for network, title in NETWORKS.items():
        for attack in ("fgsm", "uap"):
            accuracies = {
                defence: source(network, attack, defence, "accuracy") for defence in ("retraining", "low-level", "both")
            }
            misses = {defence: source(network, attack, defence, "fnr") for defence in accuracies}
            numbers = [*accuracies.values(), *misses.values()]
            if any(each is None for each in numbers):
                return None, ""
            right = max(accuracies, key=lambda defence: accuracies[defence] or 0.0)
            missed = min(misses, key=lambda defence: misses[defence] or 0.0)
            good &= right == missed == "both"
            if (right, missed) != ("both", "both"):
                clauses.append(f"{title} under {attack.upper()}: best accuracy by {right}, lowest FNR by {missed}")
    return good, "; ".join(clauses)


CLAIMS = (
    Claim(
        "These models achieved an overall accuracy of 84%.",
        "section 4.1",
        "accuracy of both at least 83.5%",
        _within(83.5, 100, "accuracy", ("none",), "none"),
    ),
    Claim(
        "Inception V3 and ResNet50 have been implemented and evaluated, with above 90% accuracy and between 5 and 8% "
        "FNR.",
        "abstract",
        "health accuracy above 90%, FNR from 5 to 8%",
        _joined(
            ("health accuracy", _within(90, 100, "health_accuracy", ("none",), "none")),
            ("FNR", _within(4.95, 8.05, "fnr", ("none",), "none")),
        ),
    ),
    Claim(
        "The accuracy of our model has dropped from around 80% to 15% (FGSM).",
        "section 4.3.1",
        "FGSM at 2/255 more than halves accuracy",
        _compared("accuracy", _PLAIN, ("fgsm", "none"), lambda before, after: after < before / 2),
    ),
    Claim(
        "The FNR is high and the NPV low (after FGSM).",
        "section 4.3.1",
        "FNR higher and NPV lower than without attack",
        _joined(
            ("FNR", _compared("fnr", _PLAIN, ("fgsm", "none"), _more)),
            ("NPV", _compared("npv", _PLAIN, ("fgsm", "none"), _less)),
        ),
    ),
    Claim(
        "The accuracy after UAP drops near 0 for both models.",
        "section 4.3.2",
        f"accuracy below {CLOSE:g}%",
        _within(0, CLOSE, "accuracy", ("uap",), "none"),
    ),
    Claim(
        "UAP is even more powerful than the FGSM.",
        "section 4.3.2",
        "accuracy lower under UAP than under FGSM",
        _compared("accuracy", ("fgsm", "none"), ("uap", "none"), _less),
    ),
    Claim(
        "The adversarial retraining improves the results we have had against both FGSM and UAP.",
        "section 4.4.1",
        "accuracy higher and FNR lower than undefended, attacker with a copy",
        _joined(
            ("FGSM, accuracy", _compared("accuracy", ("fgsm", "none"), ("fgsm", "retraining"), _more)),
            ("FGSM, FNR", _compared("fnr", ("fgsm", "none"), ("fgsm", "retraining"), _less)),
            ("UAP, accuracy", _compared("accuracy", ("uap", "none"), ("uap", "retraining"), _more)),
            ("UAP, FNR", _compared("fnr", ("uap", "none"), ("uap", "retraining"), _less)),
        ),
    ),
    Claim(
        "If we look at the health-oriented matrix and metrics, this method better mitigates FGSM than UAP "
        "(retraining).",
        "section 4.4.1",
        "FNR after retraining lower under FGSM than under UAP",
        _compared("fnr", ("uap", "retraining"), ("fgsm", "retraining"), _less),
    ),
    Claim(
        "The LLT slightly improves the results we have against both FGSM and UAP.",
        "section 4.4.2",
        "accuracy higher and FNR lower than undefended",
        _joined(
            ("FGSM, accuracy", _compared("accuracy", ("fgsm", "none"), ("fgsm", "low-level"), _more)),
            ("FGSM, FNR", _compared("fnr", ("fgsm", "none"), ("fgsm", "low-level"), _less)),
            ("UAP, accuracy", _compared("accuracy", ("uap", "none"), ("uap", "low-level"), _more)),
            ("UAP, FNR", _compared("fnr", ("uap", "none"), ("uap", "low-level"), _less)),
        ),
    ),
    Claim(
        "When we combined both mitigation methods, we ended with even better results.",
        "section 4.4.3",
        "accuracy with both higher than with retraining alone",
        _joined(
            ("FGSM", _compared("accuracy", ("fgsm", "retraining"), ("fgsm", "both"), _more)),
            ("UAP", _compared("accuracy", ("uap", "retraining"), ("uap", "both"), _more)),
        ),
    ),
    Claim(
        "For all models and attacks, the association of both countermeasures has given the best results.",
        "abstract",
        "of retraining, low-level transformation and both, both has the best accuracy and the lowest FNR",
        _best,
    ),
    Claim(
        "The results improve drastically against UAP and are close to the results before any attack (both).",
        "section 4.4.3",
        f"accuracy and recall within {CLOSE:g} points of those without attack or above",
        _joined(
            ("accuracy", _compared("accuracy", _PLAIN, ("uap", "both"), lambda b, a: a >= b - CLOSE)),
            ("recall", _compared("recall", _PLAIN, ("uap", "both"), lambda b, a: a >= b - CLOSE)),
        ),
    ),
    Claim(
        "Inception V3 and ResNet50 ended with around 85% of accuracy and a low false-negative rate around 7% under "
        "both FGSM and UAP attacks.",
        "abstract",
        "with both, health accuracy at least 80% and FNR at most 10%",
        _joined(
            ("health accuracy", _within(80, 100, "health_accuracy", ("fgsm", "uap"), "both")),
            ("FNR", _within(0, 10, "fnr", ("fgsm", "uap"), "both")),
        ),
    ),
    Claim(
        "The results of our mitigation methods against FGSM are acceptable, yet not as good as the results against "
        "UAP.",
        "section 5.1",
        "accuracy with both lower under FGSM than under UAP",
        _compared("accuracy", ("uap", "both"), ("fgsm", "both"), _less),
    ),
    Claim(
        "The health-oriented metrics came back to good values.",
        "section 5.1",
        f"with both, health accuracy and FNR within {CLOSE:g} points of those without attack, or better",
        _joined(
            *(
                (f"{attack.upper()}, {words}", _compared(figure, _PLAIN, (attack, "both"), rule))
                for attack in ("fgsm", "uap")
                for words, figure, rule in (
                    ("health accuracy", "health_accuracy", lambda b, a: a >= b - CLOSE),
                    ("FNR", "fnr", lambda b, a: a <= b + CLOSE),
                )
            )
        ),
    ),
)
