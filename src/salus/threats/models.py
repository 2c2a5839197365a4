"""The threat models, a class each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, TypeAlias

from torch import Tensor

from salus.attacks import Attack, AttackResult
from salus.attacks.taxonomy import (
    BACKDOOR,
    BLACK_BOX,
    TRANSFER,
    WHITE_BOX,
    Knowledge,
    Taxonomy,
    evasion,
    extracting,
    taxonomy,
)
from salus.attacks.universal import UAP
from salus.classifier import Classifier
from salus.data import Dataset
from salus.errors import OptionError, nearest
from salus.guard import Guard
from salus.threats.adaptive import adaptive, each_alone, going_on, variants_of
from salus.threats.base import AttackedSamples, Samples, StandIn, ThreatModel, Turn, Workshop
from salus.threats.engines import (
    changed,
    decision_only,
    full_strength,
    needs_more_than_answers,
    needs_other_than_scores,
    no_adaptive_form,
    oblivious,
    score_only,
    transfer,
)
from salus.threats.gray_box import gray_box, twin_variants
from salus.threats.universal import adaptive_universal, universal_variants
from salus.threats.worst import Variant

Tried: TypeAlias = Callable[[str, int], None]
Done: TypeAlias = Callable[[int], None]


def turns_of(variants: Iterable[Variant]) -> list[Turn]:
    """List the turns that variants take, one for each of their goals."""
    return [Turn(variant.engine, whole=True) for variant in variants for _ in variant.goals]


class OnAClassifier(ThreatModel):
    """An attacker who computes on one classifier, and hopes that the guard falls too."""

    #: The attack is made without a look at the guard, and so as strong as it gets.
    unseeing: ClassVar[bool] = False

    def victim(self, guard: Guard) -> Classifier:
        """Return the classifier that is attacked: the guard's."""
        return guard.classifier

    def begins_with(self, attack: Attack, guard: Guard) -> Classifier | None:
        """Return the classifier that is attacked, where nobody looks while the attack goes on."""
        return self.victim(guard) if self.unseeing else None

    def turns(self, attack: Attack, guard: Guard, samples: Samples) -> list[Turn]:
        """List the attack alone."""
        return [Turn(attack, whole=False, shared=self.begins_with(attack, guard) is not None)]

    def attack(self, attack: Attack, guard: Guard, samples: Samples, *, tried: Tried, done: Done) -> AttackedSamples:
        """Attack the classifier."""
        result = self.run(attack, guard, samples, done)
        return AttackedSamples(
            result.x_adv, result.queries, result.passes, zero=result.zero, nonfinite=result.nonfinite
        )

    def run(self, attack: Attack, guard: Guard, samples: Samples, done: Done) -> AttackResult:
        """Run the attack as such an attacker can."""
        return attack.run(self.victim(guard), samples.x, samples.aim, samples=samples.rows, progress=done)

    def fit(self, attack: UAP, guard: Guard, x: Tensor, y: Tensor) -> Callable[[Samples], AttackedSamples]:
        """Fit one perturbation to the classifier."""
        perturbation = attack.fit(self.victim(guard), x, y)
        return lambda samples: AttackedSamples(perturbation(samples.x))


class WhiteBox(OnAClassifier):
    """The bare classifier, attacked directly."""

    name = "white-box"
    summary = "The attack is computed on the bare classifier and judged on it."
    sees_inside = "the classifier itself, with its gradients"

    @classmethod
    def faces(cls, guard: Guard) -> bool:
        """A bare classifier alone."""
        return guard.bare

    def begins_with(self, attack: Attack, guard: Guard) -> Classifier | None:
        """Return the classifier: what its attacker wants is the first success of the attack at full strength.

        None under a limit of time, which an attack that lets go of who has fallen makes more of.
        """
        limited = attack.time_limit is not None and full_strength(attack) != attack
        return None if limited else guard.classifier

    def run(self, attack: Attack, guard: Guard, samples: Samples, done: Done) -> AttackResult:
        """Attack it, and take the first success."""
        if samples.bare is None:
            return super().run(attack, guard, samples, done)
        done(len(samples.x))
        return samples.bare if samples.bare.first is None else samples.bare.first


@dataclass(frozen=True, eq=False)
class Transfer(OnAClassifier):
    """An attacker who has a classifier of their own."""

    name: ClassVar[str] = "transfer"
    summary: ClassVar[str] = "The attacker knows only a substitute that was trained apart."
    trains: ClassVar[str | None] = "a transfer or gray-box attacker"
    deals: ClassVar[bool] = True
    unseeing: ClassVar[bool] = True

    substitute: StandIn

    @classmethod
    def taxonomy(cls, knowledge: Knowledge) -> Taxonomy:
        """Place it: what the attack asks for is asked of the substitute."""
        return evasion(knowledge, "black-box, transfer", TRANSFER)

    def placed(self, knowledge: Knowledge) -> Taxonomy:
        """Add an extraction where the substitute was learnt from the victim's answers."""
        place = self.taxonomy(knowledge)
        return extracting(place) if "queries" in self.substitute.facts else place

    @classmethod
    def equip(cls, workshop: Workshop) -> Transfer:
        """Take the workshop's substitute."""
        return cls(workshop.substitute())

    def identity(self, guard: Guard) -> dict[str, str]:
        """Return the substitute's fingerprint."""
        return {"substitute": self.substitute.classifier.fingerprint()}

    def samples(self, own: Dataset) -> Dataset:
        """Return the attacker's own."""
        return self.substitute.samples

    def victim(self, guard: Guard) -> Classifier:
        """Return the substitute."""
        return self.substitute.classifier

    def run(self, attack: Attack, guard: Guard, samples: Samples, done: Done) -> AttackResult:
        """Overdo it: nothing can be tested on the guard."""
        if samples.bare is not None:
            done(len(samples.x))
            return samples.bare
        return transfer(attack, self.substitute.classifier, samples.x, samples.aim, samples=samples.rows, progress=done)


class Oblivious(OnAClassifier):
    """An attacker who does not know that there is a guard."""

    name = "oblivious"
    summary = "The attacker knows the classifier, but not that a guard stands before it."
    sees_inside = "the classifier behind the guard, with its gradients"
    unseeing = True

    @classmethod
    def faces(cls, guard: Guard) -> bool:
        """Guards alone: of a bare classifier there is nothing more to know."""
        return not guard.bare

    @classmethod
    def taxonomy(cls, knowledge: Knowledge) -> Taxonomy:
        """Place it."""
        if knowledge != "gradients":
            return taxonomy(knowledge)
        return evasion(knowledge, "gray-box: the defence is unknown", WHITE_BOX)

    def run(self, attack: Attack, guard: Guard, samples: Samples, done: Done) -> AttackResult:
        """Overdo it: nothing is tested on the guard."""
        if samples.bare is not None:
            done(len(samples.x))
            return samples.bare
        return oblivious(attack, guard, samples.x, samples.aim, samples=samples.rows, progress=done)


class DecisionOnly(OnAClassifier):
    """An attacker who asks."""

    name = "decision-only"
    summary = "The attacker sees only the guard's final answers, and every question is counted."
    unsuited = "which ask for more than answers"
    stops_at_threshold = True

    @classmethod
    def refusal(cls, attack: Attack) -> str | None:
        """Refuse what needs more than answers."""
        return needs_more_than_answers(attack)

    @classmethod
    def taxonomy(cls, knowledge: Knowledge) -> Taxonomy:
        """Place it."""
        return evasion(knowledge, "black-box, query", BLACK_BOX)

    def turns(self, attack: Attack, guard: Guard, samples: Samples) -> list[Turn]:
        """List the attack, which asks the whole guard."""
        return [Turn(attack, whole=True)]

    def run(self, attack: Attack, guard: Guard, samples: Samples, done: Done) -> AttackResult:
        """Ask the guard."""
        return decision_only(attack, guard, samples.x, samples.aim, samples=samples.rows, progress=done)


class ScoreOnly(OnAClassifier):
    """An attacker who asks, and is told probabilities."""

    name = "score-only"
    summary = "The attacker sees only the probabilities of an answer, and every question is counted."
    unsuited = "which ask for more than probabilities, or for less"

    @classmethod
    def refusal(cls, attack: Attack) -> str | None:
        """Refuse what needs more than probabilities, or less."""
        return needs_other_than_scores(attack)

    @classmethod
    def faces(cls, guard: Guard) -> bool:
        """Whoever never rejects: the probabilities of a rejected input are withheld."""
        return not guard.rejects

    @classmethod
    def shut_out(cls, guard: Guard) -> str | None:
        """Refuse an endpoint that withholds probabilities."""
        if cls.faces(guard):
            return None
        return "its attacker sees the probabilities of every input, and those of a rejected one are withheld"

    @classmethod
    def taxonomy(cls, knowledge: Knowledge) -> Taxonomy:
        """Place it."""
        return evasion(knowledge, "black-box, query", BLACK_BOX)

    def turns(self, attack: Attack, guard: Guard, samples: Samples) -> list[Turn]:
        """List the attack, which asks the whole guard."""
        return [Turn(attack, whole=True)]

    def run(self, attack: Attack, guard: Guard, samples: Samples, done: Done) -> AttackResult:
        """Ask the guard."""
        return score_only(attack, guard, samples.x, samples.aim, samples=samples.rows, progress=done)


class OnAGuard(ThreatModel):
    """An attacker who computes on a guard, acceptance included."""

    unsuited = "which have no adaptive form"
    stops_at_threshold = True

    @classmethod
    def refusal(cls, attack: Attack) -> str | None:
        """Refuse what has no adaptive form."""
        return no_adaptive_form(attack)

    @classmethod
    def revision(cls, guard: Guard) -> int | None:
        """Number the ways tried."""
        return 12

    def known(self, guard: Guard) -> Guard:
        """Return the guard that is attacked."""
        return guard

    def begins_with(self, attack: Attack, guard: Guard) -> Classifier | None:
        """Return its classifier: the oblivious attack comes first."""
        return self.known(guard).classifier

    def fit(self, attack: UAP, guard: Guard, x: Tensor, y: Tensor) -> Callable[[Samples], AttackedSamples]:
        """Fit one perturbation for each variant; each sample takes the worst."""
        known = self.known(guard)
        variants = universal_variants(attack, known, x, y)

        def put(samples: Samples) -> AttackedSamples:
            x_adv, chosen = adaptive_universal(variants, known, samples.x, samples.aim, targeted=attack.targeted)
            return AttackedSamples(x_adv, variants=chosen, names=tuple(variants))

        return put


class Adaptive(OnAGuard):
    """An attacker who knows the guard, all of it."""

    name = "adaptive"
    summary = (
        "The attacker knows the whole guard and aims for inputs that it accepts and gets wrong: "
        "the worst result per sample over all variants and the oblivious attack."
    )
    knows_guard = True
    sees_inside = "the whole guard, with its gradients"

    @classmethod
    def faces(cls, guard: Guard) -> bool:
        """Guards alone."""
        return not guard.bare

    def turns(self, attack: Attack, guard: Guard, samples: Samples) -> list[Turn]:
        """List the oblivious attack, then every adaptive variant on what is left, in the order of :meth:`attack`."""
        variants = variants_of(changed(attack, early_stop=True), guard, samples.x, samples.aim)
        return [Turn(attack, whole=False, shared=True), *turns_of(variants)]

    @classmethod
    def taxonomy(cls, knowledge: Knowledge) -> Taxonomy:
        """Place it."""
        if knowledge != "gradients":
            return taxonomy(knowledge)
        return evasion(knowledge, "white-box, adaptive", WHITE_BOX)

    def attack(self, attack: Attack, guard: Guard, samples: Samples, *, tried: Tried, done: Done) -> AttackedSamples:
        """Try every variant on the guard itself."""
        worst = adaptive(
            attack,
            guard,
            samples.x,
            samples.aim,
            truth=samples.truth,
            samples=samples.rows,
            shown=samples.shown,
            bare=samples.bare,
            progress=tried,
        )
        done(len(samples.x))
        return worst.attacked()


class EachAlone(Adaptive):
    """An attacker who knows the guard, and tells what each way to attack it comes to alone."""

    summary = (
        f"{Adaptive.summary} Each variant is also run alone on all samples, so that it can be told which of them wins."
    )

    def identity(self, guard: Guard) -> dict[str, str]:
        """Say that what is stored tells more."""
        return {"variants": "alone"}

    def turns(self, attack: Attack, guard: Guard, samples: Samples) -> list[Turn]:
        """List the oblivious attack, every variant on all samples, and those again that go on from the nearest."""
        variants = list(variants_of(changed(attack, early_stop=True), guard, samples.x, samples.aim))
        return [Turn(attack, whole=False, shared=True), *turns_of([*variants, *going_on(variants)])]

    def attack(self, attack: Attack, guard: Guard, samples: Samples, *, tried: Tried, done: Done) -> AttackedSamples:
        """Try every variant on the guard itself, alone."""
        worst, alone = each_alone(
            attack,
            guard,
            samples.x,
            samples.aim,
            truth=samples.truth,
            samples=samples.rows,
            shown=samples.shown,
            bare=samples.bare,
            progress=tried,
        )
        done(len(samples.x))
        return replace(worst.attacked(), alone=alone)


@dataclass(frozen=True, eq=False)
class GrayBox(OnAGuard):
    """An attacker who has the recipe, and so a twin of each guard."""

    name: ClassVar[str] = "gray-box"
    summary: ClassVar[str] = "The attacker knows the same architectures and defence, trained apart with another seed."
    trains: ClassVar[str | None] = "a transfer or gray-box attacker"
    sees_inside: ClassVar[str | None] = "of what parts the guard is made, to make another one"

    twins: Mapping[str, Guard]

    @classmethod
    def taxonomy(cls, knowledge: Knowledge) -> Taxonomy:
        """Place it."""
        return evasion(knowledge, "gray-box: the weights are unknown", TRANSFER)

    @classmethod
    def caveat(cls, guard: str, files: Collection[str]) -> str | None:
        """Say which defences the twin has, in part, as they are and not trained anew."""
        if not files:
            return None
        return (
            f"The gray-box attacker's twin of {guard} has {' and '.join(files)} of it as well, which its options name: "
            "this attacker knows more than the recipe."
        )

    @classmethod
    def equip(cls, workshop: Workshop) -> GrayBox:
        """Take the workshop's twins."""
        return cls(workshop.twins())

    def identity(self, guard: Guard) -> dict[str, str]:
        """Return the twin's fingerprint."""
        return {"twin": self.known(guard).fingerprint()}

    def known(self, guard: Guard) -> Guard:
        """Return the guard's twin."""
        return self.twins[guard.name]

    def turns(self, attack: Attack, guard: Guard, samples: Samples) -> list[Turn]:
        """List the oblivious attack on the twin, then every variant on all samples."""
        twin = self.known(guard)
        variants = () if twin.bare else twin_variants(attack, twin, samples.aim)
        return [Turn(attack, whole=False, shared=True), *turns_of(variants)]

    def attack(self, attack: Attack, guard: Guard, samples: Samples, *, tried: Tried, done: Done) -> AttackedSamples:
        """Try every variant on the twin."""
        worst = gray_box(
            attack,
            self.known(guard),
            samples.x,
            samples.aim,
            truth=samples.truth,
            samples=samples.rows,
            bare=samples.bare,
            progress=tried,
        )
        done(len(samples.x))
        return worst.attacked()


class Poisoner(OnAClassifier):
    """Whoever poisoned the training data."""

    name = "backdoor"
    summary = "The attacker poisoned the training data, and stamps the trigger on the input."

    @classmethod
    def taxonomy(cls, knowledge: Knowledge) -> Taxonomy:
        """Place it."""
        return BACKDOOR


class Harmless(OnAClassifier):
    """Nobody."""

    name = "control"
    attacks = False
    summary = "No attacker: a harmless change of the kind that inputs meet every day."

    def run(self, attack: Attack, guard: Guard, samples: Samples, done: Done) -> AttackResult:
        """Change the samples; whether that does any harm is for the guard to say, not for its classifier."""
        return attack.run(self.victim(guard), samples.x, samples.aim, samples=samples.rows, progress=done, judge=False)


#: What a plan may name, in the order of reports' and helps' lists.
THREAT_MODELS: dict[str, type[ThreatModel]] = {
    model.name: model for model in (WhiteBox, Transfer, Oblivious, GrayBox, Adaptive, ScoreOnly, DecisionOnly)
}

#: Those of attacks that go with one alone, which no plan names.
FIXED: dict[str, type[ThreatModel]] = {model.name: model for model in (Poisoner, Harmless)}


def threat_named(name: str) -> type[ThreatModel]:
    """Return the threat model of this name in stored records."""
    return {**THREAT_MODELS, **FIXED}[name]


def find_threat(name: str) -> type[ThreatModel]:
    """Find a threat model that a plan may name.

    Raises:
        OptionError: there is none; the nearest names are given.
    """
    if name not in THREAT_MODELS:
        raise OptionError(f"Unknown threat model {name!r}; {nearest(name, THREAT_MODELS)}")
    return THREAT_MODELS[name]
