"""A plan as asked becomes one object in which everything is parsed, found and checked, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from salus.attacks import Attack
from salus.attacks.universal import UAP
from salus.audit.cleaning import cleaned
from salus.audit.defence import Defence
from salus.audit.endpoint import EndpointClassifier, EndpointGuard
from salus.audit.harm import parse_harm
from salus.audit.model import Network
from salus.audit.plan import Plan
from salus.audit.subject import Loaded, Subject, Trained, load_splits
from salus.audit.substitutes import SubstituteRecipe, SubstituteSource, parse_substitute
from salus.audit.suited import needs_gradients_here
from salus.audit.watching import need_groups, watch
from salus.classifier import Classifier
from salus.data import Splits
from salus.detectors.queries import MONITORS
from salus.errors import OptionError, nearest
from salus.guard import Guard
from salus.metrics import HarmWeights
from salus.models import default_model
from salus.storage import find_device
from salus.threats import THREAT_MODELS, StandIn, ThreatModel
from salus.threats.models import DecisionOnly
from salus.threats.under_watch import DecisionOnlyWatched

#: Substitutes and twins are trained with another seed, as far from the audited model's as this.
SEEDS_APART = 10_007


@dataclass(frozen=True, eq=False)
class Setup:
    """An audit, ready to be run.

    Attributes:
        subject: the data and the model.
        attacks: every attack at each of its eps, then the controls, then the triggers of backdoors.
        threats: what attackers know.
        defences: one for each guard.
        substitute: how a transfer attacker comes by a classifier.
        target: the class that targeted attacks aim for; None for the runner-up.
        harm: what wrong answers cost; None where nothing is weighed.
        device: where cells are computed.
    """

    subject: Subject
    attacks: tuple[Attack, ...]
    threats: tuple[type[ThreatModel], ...]
    defences: tuple[Defence, ...]
    substitute: SubstituteSource
    target: int | None
    harm: HarmWeights | None
    device: torch.device

    @classmethod
    def of(cls, plan: Plan) -> Setup:
        """Parse, find and check all that a plan says.

        Raises:
            SalusError: the data, the model, an attack, a defence or an option cannot be used.
        """
        splits = load_splits(plan)
        harm = None if plan.harm is None else parse_harm(plan.harm, splits.test)
        attacks, controls = plan.attacks(splits.test), plan.controls(splits.test)
        for threat in plan.threats:
            if threat.trains is not None:
                splits.need_training(threat.trains)
        if any(isinstance(attack, UAP) for attack in attacks):
            splits.need_training("a universal perturbation")
        for control in controls:
            control.suits(splits.test.x)
        triggers = plan.triggers(splits.test)
        device, target = find_device(plan.device), _target(plan, splits)
        subject = Subject.of(plan, splits)
        defences = plan.defences()
        if plan.monitor:
            _suit_monitors(subject, plan)
        if subject.remote is not None:
            _suit_endpoint(subject.remote, plan, attacks, defences)
        elif isinstance(subject.model, Loaded):
            _suit_gradients(subject.model.classifier, plan, attacks)
        for defence in defences:
            defence.check(
                subject.splits, subject.sketch(), plan.seed, trained_here=not isinstance(subject.model, Loaded)
            )
        return cls(
            subject=subject,
            attacks=(*attacks, *controls, *triggers),
            threats=plan.threats,
            defences=defences,
            substitute=parse_substitute(plan.substitute, plan.seed),
            target=target,
            harm=harm,
            device=device,
        )

    @property
    def plan(self) -> Plan:
        """The plan as it was asked."""
        return self.subject.plan


class Workbench:
    """What a setup's cells stand on, each trained or fitted once into the audit's folder, or read where it was.

    Attributes:
        splits: the data, with the labels cleaned as the plan asks.
        cleaning: what is to be said of that; None where the plan asks for none.
        trained: the audited classifier.
        guards: a guard for each defence; or the one behind HTTP.
        bare: the classifier alone, or whatever is behind HTTP.
    """

    def __init__(self, setup: Setup, folder: Path) -> None:
        self.setup, self.folder = setup, folder
        self.splits, self.cleaning = cleaned(setup.subject, folder)
        self.trained: Trained = replace(setup.subject, splits=self.splits).audited(folder)
        classifier = self.trained.classifier
        if self.trained.training is None:
            classifier.save(folder)
        self.guards = self._guards(self.trained, setup.plan.seed, folder)
        self.bare = Guard(classifier, name="none")
        if isinstance(classifier, EndpointClassifier):
            self.bare = EndpointGuard(classifier)
            self.guards = [] if self.bare.bare else [self.bare]
        self._stand_in: StandIn | None = None
        self._twins: dict[str, Guard] | None = None
        classifier.to(setup.device)

    def close(self) -> None:
        """Close the connections of an endpoint."""
        if self.setup.subject.remote is not None:
            self.setup.subject.remote.endpoint.close()

    def substitute(self) -> StandIn:
        """Return the classifier that a transfer attacker has."""
        if self._stand_in is None:
            self._stand_in = self.setup.substitute.train(self._recipe(), self.setup.subject.theirs)
            self._stand_in.classifier.to(self.setup.device)
        return self._stand_in

    @property
    def substitute_facts(self) -> dict[str, object] | None:
        """What is to be said of the substitute; None where none was needed."""
        return None if self._stand_in is None else dict(self._stand_in.facts)

    def watched(self) -> list[ThreatModel]:
        """Return an attacker who is watched by each of the plan's monitors, fitted for every guard."""
        plan = self.setup.plan
        return [
            DecisionOnlyWatched(
                spec,
                plan.accounts,
                {guard.name: watch(guard, spec, self.splits, self.folder) for guard in (self.bare, *self.guards)},
            )
            for spec in dict.fromkeys(plan.monitor)
        ]

    def twins(self) -> Mapping[str, Guard]:
        """Return the twin of every guard, and of the bare classifier, trained and fitted with another seed."""
        if self._twins is None:
            classifier = self._recipe().again()
            twin, seed = Trained(classifier, None, ()), self.setup.plan.seed + SEEDS_APART
            guards = self._guards(twin, seed, self.folder / "substitute")
            self._twins = {guard.name: guard for guard in (Guard(classifier, name="none"), *guards)}
            classifier.to(self.setup.device)
        return self._twins

    def _guards(self, trained: Trained, seed: int, folder: Path) -> list[Guard]:
        factory = self.setup.subject.factory
        return [
            defence.guard(trained.classifier, self.splits, seed, folder, factory=factory)
            for defence in self.setup.defences
        ]

    def _recipe(self) -> SubstituteRecipe:
        """Say what an attacker trains who wants a classifier like the audited one."""
        setup, victim = self.setup, self.trained.classifier
        known: Mapping[str, Any] = victim.architecture or {}
        if "name" not in known:  # code of the user's own, which the attacker does not have
            known = {"name": default_model(self.splits.test.kind)}
        model = setup.subject.model
        public = model.options if isinstance(model, Network) else {}  # pretrained weights are public
        training = setup.subject.training
        return SubstituteRecipe(
            network=str(known["name"]),
            sizes={**known.get("options", {}), **public},
            training=replace(training, seed=training.seed + SEEDS_APART),
            victim=victim,
            splits=self.splits,
            seed=setup.plan.seed,
            device=setup.plan.device,
            folder=self.folder,
        )


def _suit_endpoint(
    remote: EndpointClassifier, plan: Plan, attacks: Sequence[Attack], defences: Sequence[Defence]
) -> None:
    """Refuse what cannot be done to an endpoint.

    Raises:
        OptionError: naming the first such thing, and why.
    """
    url, guard = remote.endpoint.url, EndpointGuard(remote)
    if defences:
        raise OptionError(
            f"A defence is fitted to a classifier that is here, and {url} has what defences it has: leave "
            f"{defences[0].spec!r} out, or give --defence none."
        )
    for threat in plan.threats:
        if (reason := threat.shut_out(guard)) is not None:
            others = [name for name, each in THREAT_MODELS.items() if each.shut_out(guard) is None]
            raise OptionError(
                f"The threat model {threat.name} does not go with {url}: {reason}. These do: {', '.join(others)}."
            )
    refusals = [threat.refusal(attack) for attack in attacks for threat in plan.threats]
    if refusals and all(refusal is not None for refusal in refusals):
        raise OptionError(f"None of these attacks goes with {url}: {refusals[0]}")
    aimless = next((attack for attack in attacks if attack.targeted and plan.target is None), None)
    if aimless is not None and guard.rejects:
        raise OptionError(
            f"{url} does not tell which class comes second: name the one that {aimless.title} aims for by --target."
        )


def _suit_monitors(subject: Subject, plan: Plan) -> None:
    """Refuse monitors that would have nobody to watch, or nothing to learn from.

    Raises:
        OptionError: one is unknown, nobody asks, or the model is behind HTTP.
        CalibrationError: the samples have no groups.
    """
    for spec in plan.monitor:
        MONITORS.parse(spec)
    if DecisionOnly not in plan.threats:
        raise OptionError(
            f"The monitor {plan.monitor[0]!r} watches those who ask, and none of these attackers does: add "
            f"--threat-model {DecisionOnly.name}, with an attack such as hop-skip-jump."
        )
    if subject.remote is not None:
        raise OptionError(
            f"Who watches the callers of {subject.remote.endpoint.url} is its own service's affair: leave --monitor "
            f"{plan.monitor[0]!r} out."
        )
    subject.splits.need_training("a monitor of callers")
    for data in (subject.splits.train, subject.splits.test):
        need_groups(data, subject.splits.name)


def _suit_gradients(classifier: Classifier, plan: Plan, attacks: Sequence[Attack]) -> None:
    """Refuse a plan all of whose attacks differentiate a model that shows no gradients.

    Raises:
        OptionError: it is so.
    """
    reason = classifier.without_gradients
    pairs = [(attack, threat) for attack in attacks for threat in plan.threats]
    if reason is not None and pairs and all(needs_gradients_here(*pair) for pair in pairs):
        raise OptionError(f"None of these attacks goes with {classifier.name!r}: {reason}")


def _target(plan: Plan, splits: Splits) -> int | None:
    if plan.target is None:
        return None
    classes = splits.test.classes
    if plan.target not in classes:
        raise OptionError(
            f"Data {splits.name!r} have no class {plan.target!r} to aim for; {nearest(plan.target, classes)}"
        )
    return classes.index(plan.target)
