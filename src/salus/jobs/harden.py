"""Hardening a classifier into a folder: checked first, resumed after a kill, and ready to be audited."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import salus
from salus.atomic import write_json
from salus.attacks import ATTACKS, Attack
from salus.attacks.editions import cited
from salus.audit.model import Network, parse_model
from salus.audit.plan import Plan, marks
from salus.audit.results import whole_test
from salus.audit.subject import Subject, load_splits, parse_source, training_options
from salus.classifier import Classifier
from salus.data import Splits
from salus.errors import BundleError, OptionError
from salus.hardening import METHODS
from salus.hardening.base import WORKING, HardeningTask, Method
from salus.progress import console, spaced
from salus.storage import Store, find_device, versions
from salus.threats import full_strength

_FORMAT = "salus-hardening-1"

#: Says, in the folder of a hardening, what was done and what came of it.
HARDENING = "hardening.json"

#: Radius of the attack that makes attacked copies where none is named, as a share of the range of values.
COPIES_EPS = 0.01


@dataclass(frozen=True, eq=False)
class Hardened:
    """A hardened classifier as saved.

    Attributes:
        classifier: the classifier.
        facts: what ``hardening.json`` holds.
        audit: the command that audits it.
    """

    classifier: Classifier
    facts: dict[str, Any]
    audit: str


@dataclass(frozen=True, eq=False)
class Hardening:
    """A hardening as it was asked for, read and checked before anything is written.

    Attributes:
        spec: the method, as it was written.
        method: the same, read.
        plan: completed by what the method brings along.
        splits: the data.
        subject: the network, or the plain classifier that attacked copies are computed on.
        task: what the method is told beside its own options.
    """

    spec: str
    method: Method
    plan: Plan
    splits: Splits
    subject: Subject
    task: HardeningTask

    @classmethod
    def of(
        cls,
        spec: str,
        plan: Plan,
        *,
        attack: str | None = None,
        method: Method | None = None,
        splits: Splits | None = None,
    ) -> Hardening:
        """Read and check what is asked.

        Args:
            spec: the method, ``madry:eps=0.01,steps=10``.
            plan: data, model, training, seed and device.
            attack: what makes attacked copies, for methods that train on them; PGD of 10 steps when not given.
            method: the same as ``spec``, where it has been read.
            splits: the data, where they are loaded already.

        Raises:
            SalusError: the method, the data or the model cannot be used.
        """
        if method is None:
            method = METHODS.parse(spec, seed=plan.seed)
        if attack is not None and not method.copies:
            raise OptionError(
                f"--attack goes with methods that train on attacked copies; {method.name!r} has options of its own."
            )
        _refuse_ready_model(method, plan)
        splits = load_splits(plan) if splits is None else splits
        splits.need_training(f"hardening by {method.name!r}")
        plan = _plan_of(method, plan, attack, splits)
        task = _task(method, plan, splits)
        method.check(splits, task)
        subject = Subject.of(plan, splits)
        subject.need_here()
        return cls(spec, method, plan, splits, subject, task)

    @property
    def recipe(self) -> dict[str, Any]:
        """The method, its options and the attack of its copies, as plain values."""
        return {"method": self.method.name, "options": self.method.settings(), "attack": attack_facts(self.task.attack)}

    @property
    def data(self) -> dict[str, Any]:
        """What ``hardening.json`` says of the data."""
        return {
            **self.splits.describe(),
            "options": json.loads(json.dumps(self.plan.data_options, default=str)),
            "fingerprint": self.splits.test.fingerprint(),
        }

    def audit_command(self, out: Path) -> str:
        """Write the command that audits the folder on the same data, dealt in the same way."""
        plan, defence = self.plan, self.method.defence
        words = ["salus", "audit", "--data", plan.data]
        for name, value in plan.data_options.items():
            words.append(f"--{name.replace('_', '-')}")
            if value is not True:
                words.append(",".join(map(str, value)) if isinstance(value, tuple) else str(value))
        for name, usual in (("seed", 0), ("device", "cpu")):
            if getattr(plan, name) != usual:
                words += [f"--{name}", str(getattr(plan, name))]
        words += ["--model", str(out), *(["--defence", defence] if defence else [])]
        return shlex.join([*words, "--out", f"{out}-audit"])


def run_hardening(spec: str, plan: Plan, out: Path | str, *, attack: str | None = None, command: str = "") -> Hardened:
    """Train a hardened classifier and save it to a folder; a run that was stopped goes on where it was.

    Args:
        spec: the method, ``madry:eps=0.01,steps=10``.
        plan: data, model, training, seed and device; what it says of attacks and defences is left aside.
        out: the folder, new, empty, or of the same hardening.
        attack: what makes attacked copies, for methods that train on them; PGD of 10 steps when not given.
        command: how to repeat it.

    Raises:
        SalusError: the method, the data, the model or the folder cannot be used.
    """
    store = Store(Path(out), "hardening")
    store.check_free()
    asked = Hardening.of(spec, plan, attack=attack)
    find_device(plan.device)
    with store.locked():
        store.claim({**asked.subject.identity(), **asked.recipe}, asked.plan.model_dump(mode="json"))
        hardened = finished_hardening(store.folder)
        if hardened is None:
            task = asked.task
            if asked.method.copies:
                task = replace(task, victim=asked.subject.classifier(store.folder / WORKING / "plain").classifier)
            classifier, outcome = trained_into(store.folder, asked.method, asked.splits, task)
            recipe = {"spec": spec, "command": command, **asked.recipe}
            facts = hardening_facts(classifier, asked.plan, asked.data, recipe, outcome)
            facts["test"] = tested(classifier, asked.splits)
            write_json(store.folder / HARDENING, facts)
            hardened = classifier, facts
        shutil.rmtree(store.folder / WORKING, ignore_errors=True)
    return Hardened(*hardened, asked.audit_command(Path(out)))


def trained_into(
    folder: Path, method: Method, splits: Splits, task: HardeningTask
) -> tuple[Classifier, dict[str, Any]]:
    """Train by a method and save the classifier; what serves to go on after a kill lies in the folder's ``training``.

    Returns:
        The classifier, and what the method tells of it.
    """
    classifier, outcome = method.train(splits, task, folder, spaced(console.print))
    if classifier.name != method.name:
        classifier.name = f"{classifier.name} hardened by {method.name}"
    classifier.save(folder)
    return classifier, outcome


def tested(classifier: Classifier, splits: Splits) -> dict[str, Any]:
    """Measure a classifier on the test part."""
    return {"n": len(splits.test), **whole_test(classifier, splits.test)}


def _plan_of(method: Method, plan: Plan, attack: str | None, splits: Splits) -> Plan:
    """Complete the plan: the attack that makes the copies, and the network that they are computed on."""
    if not method.copies:
        return plan.model_copy(update={"attack": ()})
    low, high = splits.train.bounds
    attack = attack or f"pgd:eps={COPIES_EPS * (high - low):g},steps=10"
    if plan.model is None and method.victim is not None:
        plan = plan.model_copy(update={"model": method.victim})
    return plan.model_copy(update={"attack": (attack,)})


def _refuse_ready_model(method: Method, plan: Plan) -> None:
    """Refuse a model that is used as it is, before it is looked at."""
    if method.copies or plan.model is None or isinstance(parse_model(plan.model, plan.weights), Network):
        return
    raise _not_trained(method, plan)


def _not_trained(method: Method, plan: Plan) -> OptionError:
    return OptionError(
        f"Hardening {method.name!r} trains one of Salus's networks from the start; {plan.model!r} is used as it "
        "is: name a network by --model, such as ecg-cnn."
    )


def _task(method: Method, plan: Plan, splits: Splits) -> HardeningTask:
    if method.copies:
        return HardeningTask(attack=_attack(plan, splits), device=plan.device)
    network = parse_source(plan, splits)
    if not isinstance(network, Network):
        raise _not_trained(method, plan)
    return HardeningTask(
        network=network.name,
        sizes=network.options,
        training=training_options(plan),
        limits=marks(splits.train),
        device=plan.device,
    )


def _attack(plan: Plan, splits: Splits) -> Attack:
    """Make the one attack of the copies, at full strength: where it stops early, copies stay as they were."""
    attacks = plan.attacks(splits.test)
    if len(attacks) != 1:
        raise OptionError(f"--attack {plan.attack[0]!r} names no eps; write one, such as eps=0.01.")
    return attacks[0] if "early_stop" in ATTACKS.split(plan.attack[0])[1] else full_strength(attacks[0])


def attack_facts(attack: Attack | None) -> Any:
    """Give an attack's settings as plain values."""
    return attack and json.loads(json.dumps({"name": attack.name, **asdict(attack)}, default=str))


def finished_hardening(folder: Path) -> tuple[Classifier, dict[str, Any]] | None:
    """Load what a finished hardening left; None where there is none, or where it is damaged, which is said."""
    path = folder / HARDENING
    if not path.exists():
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        classifier = Classifier.load(folder)
        if facts["format"] != _FORMAT or facts["model"]["fingerprint"] != classifier.fingerprint():
            raise BundleError(f"{path} belongs to another model")
    except (BundleError, OSError, ValueError, KeyError, TypeError) as error:
        console.print(f"The stored model cannot be used ({error}); it is trained again.")
        return None
    return classifier, facts


def hardening_facts(
    classifier: Classifier,
    plan: Plan,
    data: Mapping[str, Any],
    recipe: Mapping[str, Any],
    outcome: Mapping[str, Any],
) -> dict[str, Any]:
    """Put together what ``hardening.json`` holds, but for what is measured.

    Args:
        classifier: the hardened one.
        plan: as completed.
        data: what is told of the data, see :attr:`Hardening.data`.
        recipe: the method, its options, the attack of its copies, the command.
        outcome: what the method told.
    """
    return {
        "format": _FORMAT,
        "salus": salus.__version__,
        "versions": versions(),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **recipe,
        "mitigations": cited(METHODS[recipe["method"]].mitigations),
        "seed": plan.seed,
        "device": plan.device,
        "model": {
            "name": classifier.name,
            "architecture": classifier.architecture,
            "fingerprint": classifier.fingerprint(),
            "parameters": sum(parameter.numel() for parameter in classifier.parameters()),
            "training": outcome["training"],
        },
        "data": dict(data),
        **{key: value for key, value in outcome.items() if key != "training"},
    }
