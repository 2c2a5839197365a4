"""Hardens two heartbeat classifiers, compares settings on held-out beats, and judges the two by who knows them."""

from __future__ import annotations

import json
import os
import platform
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from salus.attacks import PGD, AutoAttack
from salus.audit import Plan
from salus.classifier import Classifier
from salus.data import Splits, load
from salus.jobs import run_hardening
from salus.storage import TrainingFolder
from salus.training import TrainingOptions, fit_classifier
from salus_studies.frame.folder import Folder
from salus_studies.frame.markdown import Record
from salus_studies.frame.results import Results
from salus_studies.frame.rounding import rounded
from salus_studies.frame.step import Step
from salus_studies.frame.steps import Steps
from salus_studies.heartbeats.examples import examples
from salus_studies.heartbeats.folds import judge_folds
from salus_studies.heartbeats.judging import EPS, Effort, Judge
from salus_studies.heartbeats.measured import SPLITS, channels
from salus_studies.heartbeats.millivolts import attack_all
from salus_studies.heartbeats.rivals import judge_rivals
from salus_studies.heartbeats.seeds import judge_seeds
from salus_studies.heartbeats.sequences import judge_sequences
from salus_studies.heartbeats.settings import (
    DEALT,
    JUDGED_ON,
    SETTINGS,
    HardeningSetting,
    choose,
    judge_held_out,
    judged_setting,
    train,
)

if TYPE_CHECKING:
    from salus_studies.heartbeats.study import HeartbeatsOptions

_CLASS = ("class", "n", "patients")
_FIGURES = ("sensitivity", "positive_predictivity")
_COUNTS = ("n", "accuracy", "accuracy_low", "accuracy_high", "macro_f1", "seconds")


def run(options: HeartbeatsOptions, folder: Folder) -> Results:
    """Do every step that the time allows, and keep what the page shows."""
    steps = folder.claim({"seed": options.seed}, {}, options.time)
    study = _Heartbeats(options, folder.path, steps)
    networks = {split: study.network(split) for split in SPLITS}
    values: dict[str, Any] = {"machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"}
    effort = Effort(
        strong=PGD(eps=EPS, steps=40, restarts=5, seed=options.seed), standard=AutoAttack(eps=EPS, seed=options.seed)
    )
    for split, (classifier, facts) in networks.items():
        test = study.load(split, channels({"hardening": facts})).test
        counts = Judge(split, classifier, test, steps, effort, options.seed).judge()
        versions = {"torch": torch.__version__, "numpy": np.__version__}
        values[split] = slim({"hardening": facts, **counts, **versions, "command": folder.command})
        if split == "patients":
            values[split]["seeds"] = judge_seeds(classifier, test, steps, options.seed, study.place)
            values[split]["millivolts"] = attack_all(classifier, test, steps, study.place)
            values[split]["rivals"] = judge_rivals(classifier, steps, options.seed, study.place)
    values["sequences"] = judge_sequences(steps, options.seed, study.place)
    values["frontier"] = [row for split in SPLITS for row in study.compare(split, networks[split][0])]
    values = rounded(values)
    shown = {"hardened": networks["beats"][0], "plain": study.plain()}
    inputs = channels({"hardening": networks["beats"][1]})
    values["examples"] = examples(shown, inputs, EPS, seed=options.seed, **study.place)
    return Results(values)


class _Heartbeats:
    """The networks of the study, each trained once."""

    def __init__(self, options: HeartbeatsOptions, out: Path, steps: Steps) -> None:
        self.options, self.out, self.steps = options, out, steps
        self.place: dict[str, Any] = {} if options.data_dir is None else {"data_dir": options.data_dir}

    def load(self, split: str, inputs: tuple[str, ...]) -> Splits:
        """Load the beats as a network reads them."""
        return load("mitdb", split=DEALT[split], inputs=inputs, seed=self.options.seed, **self.place)

    def network(self, split: str) -> tuple[Classifier, Record]:
        """Harden the network of a split, or read the one that was named; returns what is known of it too."""
        place: Path | None = getattr(self.options, split)
        if place is not None:
            facts: Record = json.loads((place / "hardening.json").read_text(encoding="utf-8"))
            return Classifier.load(place), facts
        return harden(split, self.out / f"robust-{split}", self.options.seed, self.place)

    def plain(self) -> Classifier:
        """Train a network as usual, on the beat alone, or read the one that was named."""
        if self.options.plain is not None:
            return Classifier.load(self.options.plain)
        splits = self.load("beats", ("beat",))
        place = TrainingFolder(self.out / "plain", "plain classifier")
        training = TrainingOptions(seed=self.options.seed)

        def work(checkpoint: Path) -> tuple[Classifier, dict[str, Any]]:
            classifier, _ = fit_classifier("ecg-cnn", splits.train, splits.validation, training, checkpoint=checkpoint)
            return classifier, {}

        return place.once(work)[0]

    def compare(self, split: str, judged: Classifier) -> list[dict[str, Any]]:
        """Train under every setting, judge on held-out beats, and mark which is best and which the page judges."""
        seed = self.options.seed
        todo = [
            Step(
                name=f"setting-{split}-{number}",
                kind=f"setting-{split}",
                key=[split, repr(setting), seed],
                function=held_out,
                arguments=(split, setting, judged if setting.judged else None, seed, self.place),
            )
            for number, setting in enumerate(SETTINGS[split])
        ]
        rows = [
            {name: value for name, value in step.items() if name not in ("status", "reason", "seconds")}
            for step in self.steps.do_all(todo)
            if step["status"] == "done"
        ]
        return choose(rows) if rows else []


def held_out(
    split: str, setting: HardeningSetting, classifier: Classifier | None, seed: int, place: dict[str, Any]
) -> dict[str, Any]:
    """Train under a setting, and judge on held-out beats.

    Args:
        split: how beats are dealt.
        setting: what a network reads, and how it is trained.
        classifier: the network, where it is trained already.
        seed: of every draw.
        place: where data lie, as ``salus.data.load`` takes it.
    """
    if split == "patients":
        figures = judge_folds(setting, seed, place)
    else:
        splits = load("mitdb", split=split, inputs=setting.inputs, seed=seed, **place)
        if classifier is None:
            classifier = train(setting, splits.train, splits.validation, seed, split)
        figures = judge_held_out(classifier, splits, seed)
    facts = {"split": split, "setting": setting.name, "judged_on": f"{JUDGED_ON[split]}, PGD-10"}
    return {**facts, **figures, "in_use": setting.judged}


def harden(split: str, out: Path, seed: int, place: dict[str, Any]) -> tuple[Classifier, Record]:
    """Harden the network that the page judges, as ``salus harden`` does."""
    setting = judged_setting(split)
    usual = asdict(TrainingOptions())
    training = {name: value for name, value in asdict(setting.training(split, seed)).items() if value != usual[name]}
    training.pop("seed", None)
    sizes = ",".join(f"{name}={_spelled(value)}" for name, value in setting.sizes.items())
    spec, model = (
        f"{setting.method}:eps={setting.eps:g}{',gains=true' * setting.gains}",
        f"{setting.network}:{sizes}".removesuffix(":"),
    )
    words = [
        *("salus", "harden", spec, "--data", "mitdb", "--split", DEALT[split], "--inputs", ",".join(setting.inputs)),
        *("--model", model, "--training", ",".join(f"{name}={value}" for name, value in training.items())),
        *("--out", str(out)),
    ]
    fields = {"data": "mitdb", "split": DEALT[split], "inputs": setting.inputs, "model": model, "training": training}
    hardened = run_hardening(spec, Plan.of({**fields, "seed": seed, **place}), out, command=shlex.join(words))
    return hardened.classifier, hardened.facts


def _spelled(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def slim(result: Record) -> Record:
    """Keep of one network what the page shows."""
    facts, attacked = result["hardening"], result["attacked"]
    training, history = facts["model"]["training"], facts["history"]
    recipe = training.get("recipe")
    shown = {name: training[name] for name in ("keep", "balance", "prior_shift", "averaging") if name in training}
    if recipe is not None:
        attack = recipe.get("attack") and {name: recipe["attack"][name] for name in ("eps", "steps")}
        shown["recipe"] = {**{name: recipe[name] for name in ("loss", "beta", "clean_share")}, "attack": attack}
    hardening = {
        **{name: facts[name] for name in ("spec", "command", "seed")},
        "model": {"parameters": facts["model"]["parameters"], "training": shown},
        "data": {
            **{name: facts["data"][name] for name in ("groups", "counts")},
            "options": {"inputs": facts["data"]["options"]["inputs"]},
        },
        "history": {name: history[name] for name in ("epochs", "best", "seconds")},
    }
    return {
        **result,
        "hardening": hardening,
        "clean": _counted(result["clean"], by_class=True),
        "attacked": {name: _counted(part, by_class=not name.startswith("curve-")) for name, part in attacked.items()},
    }


def _counted(part: Record, by_class: bool) -> Record:
    counts = {name: part[name] for name in _COUNTS if name in part}
    if not by_class:
        return counts
    names = (*_CLASS, *(f"{figure}{end}" for figure in _FIGURES for end in ("", "_low", "_high")))
    return {**counts, "per_class": [{name: row[name] for name in names} for row in part["per_class"]]}
