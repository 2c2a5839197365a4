"""The classifier, the substitute and the guards of an audit: trained once, stored, loaded again."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from salus.atomic import write_json
from salus.audit.model import ModelSpec, dealt_otherwise, parse_model, saved_classifier
from salus.audit.plan import Plan, guard_parts
from salus.classifier import Classifier, as_logits, check_classifier, load_user_model
from salus.data import Dataset, Splits
from salus.detectors import DETECTORS, AttackedHead, Detector, build_detector
from salus.errors import BundleError, OptionError, nearest
from salus.guard import Guard
from salus.models import default_model
from salus.models.pretrained import architecture, initial_model, pretrained_digest
from salus.options import build, split_spec
from salus.progress import console
from salus.purifiers import Purifier, build_purifier
from salus.storage import digest
from salus.threats.substitute import attackers_share, train_on_split
from salus.training import TrainingOptions, TransferOptions, fit_classifier

#: The substitute is trained with another seed, as far from the audited model's as this.
SUBSTITUTE_SEED = 10_007


def model_spec(plan: Plan, splits: Splits) -> ModelSpec:
    """Say which model it is: the plan's, or the built-in one for this kind of data.

    Raises:
        OptionError: it is neither built in, nor a factory, nor a program, nor a folder.
    """
    return parse_model(plan.model or default_model(splits.test.kind))


def training_options(plan: Plan, splits: Splits) -> TrainingOptions:
    """Read the plan's training options."""
    return build(TransferOptions, {"seed": plan.seed, **plan.training}, "training")


def identity(plan: Plan, splits: Splits) -> dict[str, Any]:
    """Return what makes this audit's folder its own: the data, the model and the seed."""
    spec = model_spec(plan, splits)
    own: dict[str, Any] = {"name": spec.text}
    if (pretrained := pretrained_digest(spec.name, spec.options)) is not None:  # wherever the file lies
        own = {**architecture(spec.name, spec.options), "pretrained": pretrained}
    if spec.kind == "folder":  # wherever it lies
        own = {"fingerprint": saved_classifier(Path(spec.text), splits.test).fingerprint()}
    if plan.weights is not None and plan.weights.is_file():
        own["weights"] = hashlib.sha256(plan.weights.read_bytes()).hexdigest()
    if spec.kind == "program" and Path(spec.text).is_file():
        own["program"] = hashlib.sha256(Path(spec.text).read_bytes()).hexdigest()
    cleaning = plan.cleaning()
    return {
        "data": splits.name,
        "split": splits.test.provenance.split,
        "samples": digest({part: dataset.fingerprint() for part, dataset in splits}),
        "model": own,
        "training": plan.training,
        "seed": plan.seed,
        "label cleaning": None if cleaning is None else {"method": cleaning.name, **cleaning.settings()},
    }


def untrained_classifier(plan: Plan, splits: Splits) -> Classifier:
    """Build the built-in model without training, to see its layers and whether it suits the data."""
    test, spec = splits.test, model_spec(plan, splits)
    shape = tuple(test.x.shape[1:])
    module = initial_model(spec.name, shape, len(test.classes), spec.options)
    return Classifier(module, test.classes, shape=shape, bounds=test.bounds, name=spec.name)


def own_classifier(plan: Plan, splits: Splits) -> tuple[Classifier, tuple[str, ...]] | None:
    """Load the user's own or a saved model and check it, before anything is written; None for built-in models.

    Raises:
        BundleError: the folder holds no whole model.
        ModelError: it cannot be loaded, does not fit the data, or guesses.
        OptionError: options that go with the other kind of model.
    """
    spec, test = model_spec(plan, splits), splits.test
    if spec.kind == "network":
        splits.need_training(f"the network {spec.name!r}")
        if plan.weights is not None:
            raise OptionError(
                f"--weights goes with a model of your own (package.module:factory); {spec.name!r} is trained here."
            )
        return None
    if plan.training:
        raise OptionError(f"Training options go with built-in models; {spec.text!r} is used as it is.")
    if spec.kind == "folder":
        if plan.weights is not None:
            raise OptionError(f"--weights goes with package.module:factory; the model in {spec.text!r} has its own.")
        own, more = saved_classifier(Path(spec.text), test), dealt_otherwise(Path(spec.text), test)
    else:
        own, more = load_user_model(
            spec.text, plan.weights, classes=test.classes, bounds=test.bounds, shape=test.x.shape[1:]
        ), ()  # fmt: skip
    remarks = check_classifier(own, test)
    if any("softmax" in remark.lower() for remark in remarks):
        own = as_logits(own)
    return own, (*remarks, *more)


def trained_classifier(plan: Plan, splits: Splits, folder: Path) -> tuple[Classifier, dict[str, Any], tuple[str, ...]]:
    """Train the built-in model, or load it where it was trained before, and check it.

    Returns:
        The classifier, the options it was trained with, and remarks.
    """
    options = training_options(plan, splits)
    spec = model_spec(plan, splits)
    trained = _stored(folder, spec.name, spec.options, splits, options, "classifier", plan.device)
    return trained, asdict(options), check_classifier(trained, splits.test)


def dealt(plan: Plan, splits: Splits) -> tuple[Splits, Dataset | None]:
    """Change the training data as the plan asks: the attacker's share is taken out, the rest poisoned.

    Returns:
        The data that the audited model sees, and what a transfer attacker trains on; None for the same.

    Raises:
        OptionError: the plan poisons a model that is not trained here.
        DataError: a class has too few samples to share.
    """
    train, attacker = splits.train, None
    if "transfer" in plan.threat_model and plan.substitute.startswith("split"):
        train, attacker = attackers_share(train, seed=plan.seed)
    poisons = plan.poisons()
    if poisons and model_spec(plan, splits).kind != "network":
        raise OptionError("--poison changes what a built-in model is trained on; a model of your own is used as it is.")
    for poison in poisons:
        train = poison(train)
    return replace(splits, train=train), attacker


def substitute(
    plan: Plan, splits: Splits, attacker: Dataset | None, victim: Classifier, folder: Path
) -> tuple[Classifier, dict[str, Any], Dataset]:
    """Train the classifier that a transfer attacker has: same kind, another seed, and what the plan lets them have.

    Returns:
        The substitute, what is to be said of it, and the samples that the attacker has.
    """
    kind = plan.substitute.partition(":")[0]
    if kind == "data":
        return retrained(plan, splits, victim, folder), {"kind": kind}, splits.train
    name, sizes, options = _like(plan, splits, victim)
    engine, seeds = plan.questions()
    if attacker is None:  # a few samples, whose labels only the victim tells
        order = torch.randperm(len(splits.validation), generator=torch.Generator().manual_seed(plan.seed))
        attacker = splits.validation.subset(order[:seeds])
        attacker = replace(attacker, y=victim.predict(attacker.x).argmax(1))
    place = folder / f"substitute-{_slug(plan.substitute)}-{digest(plan.substitute)[:8]}"
    facts = place / "substitute.json"
    if facts.exists() and (place / "model.json").exists():
        try:
            return Classifier.load(place), json.loads(facts.read_text(encoding="utf-8")), attacker
        except (BundleError, ValueError) as error:
            console.print(f"The stored substitute cannot be used ({error}); it is trained again.")
    checkpoint, log = place / "training.checkpoint", spaced(console.print)

    def network() -> nn.Module:
        return initial_model(name, splits.test.x.shape[1:], len(victim.classes), sizes)

    if kind == "split":
        trained, _ = train_on_split(network, attacker, options, checkpoint=checkpoint, device=plan.device, log=log)
        told: dict[str, Any] = {"kind": kind, "samples": len(attacker)}
    else:
        found = engine.fit(
            lambda x: victim.predict(x).argmax(1),
            attacker.x,
            model=network,
            classes=victim.classes,
            bounds=victim.bounds,
            device=plan.device,
            folder=place,
            log=log,
        )
        trained = found.classifier
        told = {"kind": kind, "seeds": len(attacker), "queries": found.queries, "agreement": found.agreement}
    trained.architecture = architecture(name, sizes)
    trained.save(place)
    write_json(facts, told)
    for file in (checkpoint, *place.glob("round-*")):
        file.unlink(missing_ok=True)
    return trained, told, attacker


def retrained(plan: Plan, splits: Splits, victim: Classifier, folder: Path) -> Classifier:
    """Train a classifier like the victim on the same data with another seed, or load it."""
    name, sizes, options = _like(plan, splits, victim)
    return _stored(folder / "substitute", name, sizes, splits, options, "substitute", plan.device)


def twins(plan: Plan, splits: Splits, victim: Classifier, folder: Path) -> dict[str, Guard]:
    """Build the twin of every guard, and of the bare classifier as ``none``: trained and fitted with another seed."""
    trained = retrained(plan, splits, victim, folder)
    other = plan.model_copy(update={"seed": plan.seed + SUBSTITUTE_SEED})
    made = {spec: guard(spec, other, trained, splits, folder / "substitute") for spec in plan.defences}
    return {"none": Guard(trained, name="none"), **made}


def _like(plan: Plan, splits: Splits, victim: Classifier) -> tuple[str, Mapping[str, Any], TrainingOptions]:
    """Say what an attacker trains who wants a classifier like the victim: its network, options and training."""
    known = victim.architecture or {}
    if "name" not in known:  # code of the user's own, which the attacker does not have
        known = {"name": default_model(splits.test.kind)}
    sizes = {**known.get("options", {}), **model_spec(plan, splits).options}  # pretrained weights are public
    options = training_options(plan, splits)
    return str(known["name"]), sizes, replace(options, seed=options.seed + SUBSTITUTE_SEED)


def _stored(
    folder: Path,
    name: str,
    sizes: Mapping[str, Any],
    splits: Splits,
    options: TrainingOptions,
    what: str,
    device: str,
) -> Classifier:
    if (folder / "model.json").exists():
        try:
            return Classifier.load(folder)
        except BundleError as error:
            console.print(f"The stored {what} cannot be used ({error}); it is trained again.")
    trained, _ = fit_classifier(
        name,
        splits.train,
        splits.validation,
        options,
        model_options=dict(sizes),
        checkpoint=folder / "training.checkpoint",
        device=device,
        log=spaced(console.print),
    )
    trained.save(folder)
    (folder / "training.checkpoint").unlink(missing_ok=True)
    return trained


def guard(spec: str, plan: Plan, trained: Classifier, splits: Splits, folder: Path) -> Guard:
    """Fit and store the guard of this specification, or load it where it was fitted before.

    Raises:
        OptionError: the defence or an option is unknown.
        CalibrationError: the samples cannot carry the false-alarm rate.
    """
    made_of: dict[str, Any] = {
        "spec": spec,
        "classifier": trained.fingerprint(),
        "false_alarm_rate": plan.false_alarm_rate,
        "seed": plan.seed,
        "samples": [splits.train.fingerprint(), splits.calibration.fingerprint()],
    }
    if files := named_files(spec):
        made_of["files"] = files
    place = folder / "guards" / f"{_slug(spec)}-{digest(made_of)[:8]}"
    if (place / "guard.json").exists():
        try:
            spec_of_model = model_spec(plan, splits)
            loaded = Guard.load(place, factory=spec_of_model.text if spec_of_model.kind == "factory" else None)
            return _on(trained, loaded)
        except BundleError as error:
            console.print(f"The stored guard {spec!r} cannot be used ({error}); it is fitted again.")
    made = fitted_guard(spec, plan, trained, splits, folder / "trainings")
    made.save(place)
    write_json(place / "fitted-on.json", made_of)
    return made


def fitted_guard(spec: str, plan: Plan, trained: Classifier, splits: Splits, trainings: Path | None = None) -> Guard:
    """Build the guard of this specification and fit it to the data; networks it trains are kept in ``trainings``."""
    detectors, purifier = _parts(spec, plan, trained)
    made = Guard(trained, detectors, purifier, name=spec)
    return made.fit(splits.train, splits.calibration, plan.false_alarm_rate, seed=plan.seed, folder=trainings)


def check_defences(plan: Plan, splits: Splits, untrained: Classifier) -> None:
    """Refuse a misspelt option, or a rate that the samples cannot carry, before anything is trained."""
    known = untrained.layer_names
    for spec in plan.defences:
        detectors, _ = _parts(spec, plan, None, splits.test.bounds)
        for detector in detectors:
            splits.need_training(f"the defence {spec!r}")
            if isinstance(detector, AttackedHead):
                detector.check_classifier(untrained)
                if model_spec(plan, splits).kind == "network":
                    raise OptionError(
                        f"Defence {spec!r} reads a head that ordinary training does not train: harden first "
                        "(salus harden ecg-atk-gan), then name that folder by --model."
                    )
            for layer in detector.layers:
                if layer.removesuffix("/flat") not in known:
                    raise OptionError(f"Defence {spec!r}: the model has no layer {layer!r}; {nearest(layer, known)}")
            detector.check_rate(len(splits.calibration), plan.false_alarm_rate)


def _parts(
    spec: str, plan: Plan, trained: Classifier | None, bounds: tuple[float, float] = (0.0, 1.0)
) -> tuple[list[Detector], Purifier | None]:
    detectors: list[Detector] = []
    purifier: Purifier | None = None
    for part in guard_parts(spec):
        name, options = split_spec(part, "defence")
        if name in DETECTORS:
            detectors.append(build_detector(name, options, seed=plan.seed))
        else:
            if purifier is not None:
                raise OptionError(f"Defence {spec!r} has two purifiers; a guard has one.")
            purifier = build_purifier(
                name, options, bounds=bounds if trained is None else trained.bounds, seed=plan.seed
            )
    return detectors, purifier


def named_files(spec: str) -> dict[str, str]:
    """Hash what the files and folders hold that a defence's options name: a repository, a generator, a calibration."""
    found = {}
    for part in guard_parts(spec):
        for value in split_spec(part, "defence")[1].values():
            if isinstance(value, str) and (place := Path(value)).exists():
                files = sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else [place]
                hashes = [[str(file), hashlib.sha256(file.read_bytes()).hexdigest()] for file in files]
                found[value] = digest(hashes)
    return found


def shared_with_twins(plan: Plan) -> list[str]:
    """Say which defences a gray-box attacker has, in part, as they are and not trained anew."""
    return [
        f"The gray-box attacker's twin of {spec} has {' and '.join(files)} of it as well, which its options name: this "
        "attacker knows more than the recipe."
        for spec in plan.defences
        if "gray-box" in plan.threat_model and (files := named_files(spec))
    ]


def _on(trained: Classifier, loaded: Guard) -> Guard:
    """Put a loaded guard's defences on the classifier in hand, so that both are one object."""
    for detector in loaded.detectors:
        detector.classifier_ = trained
    return Guard(trained, loaded.detectors, loaded.purifier, name=loaded.name)


def spaced(say: Callable[[str], None], seconds: float = 5.0) -> Callable[[str], None]:
    """Let a line through every few seconds, for logs; on a terminal the progress bar says it all."""
    last = time.monotonic()

    def log(line: str) -> None:
        nonlocal last
        if not line.startswith("epoch") or (time.monotonic() - last > seconds and not sys.stderr.isatty()):
            say(line)
            last = time.monotonic()

    return log


def _slug(spec: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in spec)[:40].strip("-")
