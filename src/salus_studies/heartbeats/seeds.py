"""The network by patients, trained again from other seeds, and without being hardened: luck, and the price."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from salus.attacks import PGD
from salus.classifier import Classifier
from salus.data import Dataset, load
from salus.metrics import macro_f1, per_class
from salus_studies.frame.step import Step
from salus_studies.frame.steps import Steps
from salus_studies.heartbeats.goals import f1
from salus_studies.heartbeats.judging import EPS, folded_pieces
from salus_studies.heartbeats.settings import DEALT, judged_setting, train

#: Beside the seed of the study.
OTHER_SEEDS = (1, 2, 3, 4)

#: The attack on every test beat, of every network alike.
ATTACK = PGD(eps=EPS, steps=20)


def judge_seeds(
    classifier: Classifier, test: Dataset, steps: Steps, seed: int, place: dict[str, Any]
) -> list[dict[str, Any]]:
    """Judge the network, its twins from other seeds and its twin that was not hardened, on the same test beats."""
    shared = steps.share(classifier)
    todo = [_step("hardened", seed, seed, shared, classifier.fingerprint(), test, place)]
    todo += [_step("hardened", seed + more, seed, None, "", test, place) for more in OTHER_SEEDS]
    todo.append(_step("ordinary", seed, seed, None, "", test, place))
    return [
        {name: value for name, value in step.items() if name not in ("status", "reason", "seconds")}
        for step in steps.do_all(todo)
        if step["status"] == "done"
    ]


def _step(
    method: str, seed: int, dealt: int, shared: Any, fingerprint: str, test: Dataset, place: dict[str, Any]
) -> Step:
    return Step(
        name=f"seeds-{method}-{seed}",
        kind=f"seeds-{method}",
        key=[method, seed, dealt, fingerprint, repr(judged_setting("patients")), repr(ATTACK), test.fingerprint()],
        function=judge_seed,
        arguments=(method, seed, shared, dealt, place),
    )


def judge_seed(
    method: str, seed: int, classifier: Classifier | None, dealt: int, place: dict[str, Any]
) -> dict[str, Any]:
    """Train from a seed, where the network is not there yet, and count its answers on the test part."""
    setting = judged_setting("patients")
    if method == "ordinary":
        setting = replace(setting, method="ordinary")
    splits = load("mitdb", split=DEALT["patients"], inputs=setting.inputs, seed=dealt, **place)
    if classifier is None:
        classifier = train(setting, splits.train, splits.validation, seed)
    test = splits.test
    clean = classifier.predict(test.x).argmax(1)
    network = folded_pieces(classifier)
    parts = zip(test.x.split(1024), test.y.split(1024), strict=True)
    under = torch.cat([classifier.predict(ATTACK(network, *part)).argmax(1) for part in parts])
    under = torch.where(clean == test.y, under, clean)
    counts: dict[str, Any] = {"method": method, "seed": seed, "eps": EPS}
    for word, answers in (("clean", clean), ("attacked", under)):
        rows = per_class(test.y, answers, test.classes, test.groups)
        counts[word] = {
            "accuracy": float((answers == test.y).double().mean()),
            "macro_f1": macro_f1(test.y, answers),
            "f1": {row["class"]: f1(row) for row in rows},
            "sensitivity": {row["class"]: row["sensitivity"] for row in rows},
        }
        counts[word]["without"] = {
            str(record): macro_f1(test.y[kept], answers[kept])
            for record in (232, 213)
            if test.groups is not None and bool((kept := test.groups != record).any())
        }
    return counts
