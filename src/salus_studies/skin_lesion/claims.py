"""Sentences of the thesis, each tried on its own tables and on ours by the same rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from salus_studies.frame.markdown import Record, done, listed
from salus_studies.skin_lesion.measured import Lookup, as_published, cell
from salus_studies.skin_lesion.paired import Resampled, spread
from salus_studies.skin_lesion.published import NETWORKS

#: What a rule finds: a word, and the numbers.
Finding = tuple[str, str]

CONFIRMED, CONTRADICTED, UNDECIDED = "confirmed", "contradicted", "undecided"
BEYOND, NO_NUMBERS = "cannot be told at this scale", "no numbers"

Stage = tuple[str, str]  # attack, defence
Look = tuple[str, str, str, str]  # network, attack, defence, figure

#: Points within which numbers are "close", in the sentences that say so.
CLOSE = 5.0

#: Figures that depend on which classes mean disease.
OF_HEALTH = ("health_accuracy", "health_sensitivity", "npv", "fnr")


@dataclass(frozen=True)
class Component:
    """One thing that a sentence says: a margin of a few figures, which is above 0 where it holds.

    Attributes:
        words: say which figure is meant, and under what; "" where it need not be said.
        looks: the figures, in percent.
        margin: of these.
        closed: whether 0 still holds.
    """

    words: str
    looks: tuple[Look, ...]
    margin: Callable[..., Any]
    closed: bool = False

    def numbers(self, values: Sequence[float]) -> str:
        """Write the figures, by network."""
        network, attack = self.looks[0][:2]
        under = f" under {attack.upper()}" if len(self.looks) == 1 and attack != "none" else ""
        words = f"{self.words}, " if self.words else ""
        return f"{words}{NETWORKS[network]}{under} {' → '.join(f'{value:.1f}' for value in values)}"


@dataclass(frozen=True)
class Claim:
    """A sentence of the thesis and a rule to try it by.

    Attributes:
        sentence: what it says.
        place: where.
        rule: how it is read here, in words.
        components: all of which must hold.
        absolute: it says how good those very networks are, which others in their place cannot tell.
    """

    sentence: str
    place: str
    rule: str
    components: tuple[Component, ...]
    absolute: bool = False

    @property
    def of_health(self) -> bool:
        """Whether it depends on which classes mean disease."""
        return any(look[3] in OF_HEALTH for component in self.components for look in component.looks)

    def by(self, source: Lookup) -> Finding:
        """Try it on printed numbers, which have no intervals."""
        holds, clauses = True, []
        for component in self.components:
            values = [source(*look) for look in component.looks]
            known = [value for value in values if value is not None]
            if len(known) < len(values):
                return NO_NUMBERS, ""
            margin = float(component.margin(*known))
            holds &= margin > -1e-9 if component.closed else margin > 1e-9
            clauses.append(component.numbers(known))
        return (CONFIRMED if holds else CONTRADICTED), "; ".join(clauses)

    def by_ours(self, results: Record, health_map: str) -> Finding:
        """Try it on ours, over resampled lesions.

        Confirmed where the interval of every component's margin is above 0, contradicted where that of any is below,
        undecided where neither is so; of networks that were measured alone.
        """
        images, networks = Resampled.of(results), measured(results)
        if images is None or not networks:
            return NO_NUMBERS, ""
        words, clauses = [], []
        for component in self.components:
            if component.looks[0][0] not in networks:
                continue
            series = [images.figure(cell(results, *look[:3]), look[3], health_map) for look in component.looks]
            known = [each for each in series if each is not None]
            if len(known) < len(series):
                return NO_NUMBERS, ""
            margin = spread(np.asarray(component.margin(*known), dtype=float))
            words.append(CONFIRMED if margin.low > 0 else CONTRADICTED if margin.high < 0 else UNDECIDED)
            clauses.append(component.numbers([float(each[0]) for each in known]))
        numbers = "; ".join(clauses)
        if self.absolute and not as_published(results):
            return BEYOND, numbers
        if CONTRADICTED in words:
            return CONTRADICTED, numbers
        return (UNDECIDED if UNDECIDED in words else CONFIRMED), numbers


def measured(results: Record) -> list[str]:
    """List the networks on which sentences can be tried."""
    return [network for network in NETWORKS if done(cell(results, network, "none", "none"))]


def alone(results: Record) -> str:
    """Say on which networks sentences are tried where it is not all of them; "" where it is, or none is there."""
    networks = measured(results)
    names = listed([NETWORKS[network] for network in networks])
    return f" on {names} alone" if 0 < len(networks) < len(NETWORKS) else ""


def spelled_out(finding: Finding) -> str:
    """Write a finding for a table."""
    word, numbers = finding
    return f"**{word}**" + (f": {numbers}" if numbers else "")


def _compared(
    figure: str,
    before: Stage,
    after: Stage,
    margin: Callable[[Any, Any], Any],
    words: str = "",
    *,
    closed: bool = False,
) -> tuple[Component, ...]:
    """Compare one figure of two experiments, on both networks."""
    return tuple(
        Component(words, ((network, *before, figure), (network, *after, figure)), margin, closed)
        for network in NETWORKS
    )


def _within(low: float, high: float, figure: str, attacks: Iterable[str], defence: str, words: str = "") -> Any:
    """Ask for one figure to lie in a range."""
    return tuple(
        Component(words, ((network, attack, defence, figure),), lambda v: np.minimum(v - low, high - v), True)
        for attack in attacks
        for network in NETWORKS
    )


def _falls(before: Any, after: Any) -> Any:
    return before - after


def _rises(before: Any, after: Any) -> Any:
    return after - before


def _no_worse(before: Any, after: Any) -> Any:
    return after - before + CLOSE


def _no_more(before: Any, after: Any) -> Any:
    return before + CLOSE - after


def _better(defence: str) -> tuple[Component, ...]:
    """Ask for higher accuracy and fewer missed than undefended, under both attacks."""
    return tuple(
        component
        for attack in ("fgsm", "uap")
        for figure, margin in (("accuracy", _rises), ("fnr", _falls))
        for component in _compared(
            figure, (attack, "none"), (attack, defence), margin, f"{attack.upper()}, {_WORDS[figure]}"
        )
    )


def _best() -> tuple[Component, ...]:
    """Ask for both countermeasures together to be best of all."""
    found = []
    for attack in ("fgsm", "uap"):
        for network in NETWORKS:
            for figure, margin in (
                ("accuracy", lambda alone, low, both: both - np.maximum(alone, low)),
                ("fnr", lambda alone, low, both: np.minimum(alone, low) - both),
            ):
                looks = tuple((network, attack, defence, figure) for defence in ("retraining", "low-level", "both"))
                found.append(Component(f"{attack.upper()}, {_WORDS[figure]} by each and both", looks, margin))
    return tuple(found)


_PLAIN = ("none", "none")
_WORDS = {"accuracy": "accuracy", "fnr": "FNR", "npv": "NPV", "health_accuracy": "health accuracy", "recall": "recall"}

CLAIMS = (
    Claim(
        "These models achieved an overall accuracy of 84%.",
        "section 4.1",
        "accuracy of both at least 83.5%",
        _within(83.5, 100, "accuracy", ("none",), "none"),
        absolute=True,
    ),
    Claim(
        "Inception V3 and ResNet50 have been implemented and evaluated, with above 90% accuracy and between 5 and 8% "
        "FNR.",
        "abstract",
        "health accuracy above 90%, FNR from 5 to 8%",
        _within(90, 100, "health_accuracy", ("none",), "none", "health accuracy")
        + _within(4.95, 8.05, "fnr", ("none",), "none", "FNR"),
        absolute=True,
    ),
    Claim(
        "The accuracy of our model has dropped from around 80% to 15% (FGSM).",
        "section 4.3.1",
        "FGSM at 2/255 more than halves accuracy",
        _compared("accuracy", _PLAIN, ("fgsm", "none"), lambda before, after: before / 2 - after),
    ),
    Claim(
        "The FNR is high and the NPV low (after FGSM).",
        "section 4.3.1",
        "FNR higher and NPV lower than without attack",
        _compared("fnr", _PLAIN, ("fgsm", "none"), _rises, "FNR")
        + _compared("npv", _PLAIN, ("fgsm", "none"), _falls, "NPV"),
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
        _compared("accuracy", ("fgsm", "none"), ("uap", "none"), _falls),
    ),
    Claim(
        "The adversarial retraining improves the results we have had against both FGSM and UAP.",
        "section 4.4.1",
        "accuracy higher and FNR lower than undefended, attacker with a copy",
        _better("retraining"),
    ),
    Claim(
        "If we look at the health-oriented matrix and metrics, this method better mitigates FGSM than UAP "
        "(retraining).",
        "section 4.4.1",
        "FNR after retraining lower under FGSM than under UAP",
        _compared("fnr", ("uap", "retraining"), ("fgsm", "retraining"), _falls),
    ),
    Claim(
        "The LLT slightly improves the results we have against both FGSM and UAP.",
        "section 4.4.2",
        "accuracy higher and FNR lower than undefended",
        _better("low-level"),
    ),
    Claim(
        "When we combined both mitigation methods, we ended with even better results.",
        "section 4.4.3",
        "accuracy with both higher than with retraining alone",
        _compared("accuracy", ("fgsm", "retraining"), ("fgsm", "both"), _rises, "FGSM")
        + _compared("accuracy", ("uap", "retraining"), ("uap", "both"), _rises, "UAP"),
    ),
    Claim(
        "For all models and attacks, the association of both countermeasures has given the best results.",
        "abstract",
        "of retraining, low-level transformation and both, both has the best accuracy and the lowest FNR",
        _best(),
    ),
    Claim(
        "The results improve drastically against UAP and are close to the results before any attack (both).",
        "section 4.4.3",
        f"accuracy and recall within {CLOSE:g} points of those without attack or above",
        _compared("accuracy", _PLAIN, ("uap", "both"), _no_worse, "accuracy", closed=True)
        + _compared("recall", _PLAIN, ("uap", "both"), _no_worse, "recall", closed=True),
    ),
    Claim(
        "Inception V3 and ResNet50 ended with around 85% of accuracy and a low false-negative rate around 7% under "
        "both FGSM and UAP attacks.",
        "abstract",
        "with both, health accuracy at least 80% and FNR at most 10%",
        _within(80, 100, "health_accuracy", ("fgsm", "uap"), "both", "health accuracy")
        + _within(0, 10, "fnr", ("fgsm", "uap"), "both", "FNR"),
        absolute=True,
    ),
    Claim(
        "The results of our mitigation methods against FGSM are acceptable, yet not as good as the results against "
        "UAP.",
        "section 5.1",
        "accuracy with both lower under FGSM than under UAP",
        _compared("accuracy", ("uap", "both"), ("fgsm", "both"), _falls),
    ),
    Claim(
        "The health-oriented metrics came back to good values.",
        "section 5.1",
        f"with both, health accuracy and FNR within {CLOSE:g} points of those without attack, or better",
        tuple(
            component
            for attack in ("fgsm", "uap")
            for figure, margin in (("health_accuracy", _no_worse), ("fnr", _no_more))
            for component in _compared(
                figure, _PLAIN, (attack, "both"), margin, f"{attack.upper()}, {_WORDS[figure]}", closed=True
            )
        ),
    ),
)
