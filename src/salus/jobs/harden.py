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
from salus.hardening.base import WORKING, Method, Task
from salus.progress import console, spaced
from salus.storage import Store, find_device, versions
from salus.threats import full_strength

_FORMAT = "salus-hardening-1"

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
    method: Method = METHODS.parse(spec, seed=plan.seed)
    name = method.name
    if attack is not None and not method.copies:
        raise OptionError(f"--attack goes with methods that train on attacked copies; {name!r} has options of its own.")
    _refuse_ready_model(method, plan)
    splits = load_splits(plan)
    splits.need_training(f"hardening by {name!r}")
    plan = _plan_of(method, plan, attack, splits)
    find_device(plan.device)
    task = _task(method, plan, splits)
    method.check(splits, task)
    subject = Subject.of(plan, splits)
    subject.need_here()
    recipe = {"method": name, "options": method.settings(), "attack": _plain(task.attack)}
    with store.locked():
        store.claim({**subject.identity(), **recipe}, plan.model_dump(mode="json"))
        hardened = _finished(store.folder)
        if hardened is None:
            if method.copies:
                task = replace(task, victim=subject.classifier(store.folder / WORKING / "plain").classifier)
            classifier, outcome = method.train(splits, task, store.folder, spaced(console.print))
            if classifier.name != name:
                classifier.name = f"{classifier.name} hardened by {name}"
            classifier.save(store.folder)
            facts = _facts(classifier, splits, plan, {"spec": spec, "command": command, **recipe}, outcome)
            write_json(store.folder / "hardening.json", facts)
            hardened = classifier, facts
        shutil.rmtree(store.folder / WORKING, ignore_errors=True)
    return Hardened(*hardened, _audit_command(method, plan, Path(out)))


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


def _task(method: Method, plan: Plan, splits: Splits) -> Task:
    if method.copies:
        return Task(attack=_attack(plan, splits), device=plan.device)
    network = parse_source(plan, splits)
    if not isinstance(network, Network):
        raise _not_trained(method, plan)
    return Task(
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


def _plain(attack: Attack | None) -> Any:
    """Give an attack's settings as plain values."""
    return attack and json.loads(json.dumps({"name": attack.name, **asdict(attack)}, default=str))


def _finished(folder: Path) -> tuple[Classifier, dict[str, Any]] | None:
    """Load what a finished hardening left; None where there is none, or where it is damaged, which is said."""
    path = folder / "hardening.json"
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


def _facts(
    classifier: Classifier, splits: Splits, plan: Plan, recipe: Mapping[str, Any], outcome: dict[str, Any]
) -> dict[str, Any]:
    """Put together what ``hardening.json`` holds."""
    training = outcome.pop("training")
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
            "training": training,
        },
        "data": {
            **splits.describe(),
            "options": json.loads(json.dumps(plan.data_options, default=str)),
            "fingerprint": splits.test.fingerprint(),
        },
        **outcome,
        "test": {"n": len(splits.test), **whole_test(classifier, splits.test)},
    }


def _audit_command(method: Method, plan: Plan, out: Path) -> str:
    """Write the command that audits the folder on the same data, dealt in the same way."""
    words = ["salus", "audit", "--data", plan.data]
    for name, value in plan.data_options.items():
        words.append(f"--{name.replace('_', '-')}")
        if value is not True:
            words.append(",".join(map(str, value)) if isinstance(value, tuple) else str(value))
    for name, usual in (("seed", 0), ("device", "cpu")):
        if getattr(plan, name) != usual:
            words += [f"--{name}", str(getattr(plan, name))]
    words += ["--model", str(out), *(["--defence", method.defence] if method.defence else [])]
    return shlex.join([*words, "--out", f"{out}-audit"])
