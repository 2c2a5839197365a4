"""Rival ways of hardening the network by patients: on the same data, each judged by the attacker who knows it.

Every rival is the judged setting but for one thing, and its own numbers were fixed beforehand, from its paper or from
eps, before any was judged on DS2: nothing is chosen by this table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from salus.attacks import PGD
from salus.classifier import Classifier
from salus.data import Dataset, load
from salus.metrics import macro_f1, per_class
from salus.models.smoothed import Smoothed
from salus_studies.frame.step import Step
from salus_studies.frame.steps import Steps
from salus_studies.heartbeats.goals import NATURAL, f1
from salus_studies.heartbeats.judging import EPS
from salus_studies.heartbeats.settings import DEALT, SIGMA, HardeningSetting, judged_setting, train

#: Noisy copies of a beat that an attack of a smoothed network looks at in a step, and that its answer is the mean of.
DRAWS = {"attacked": 4, "answered": 64}


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A way of hardening.

    Attributes:
        words: what it is, for the page.
        changes: of the judged setting.
        smoothed: whether it answers with the mean over noisy copies.
    """

    words: str
    changes: dict[str, Any]
    smoothed: bool = False

    @property
    def setting(self) -> HardeningSetting:
        """How it is trained."""
        return replace(judged_setting("patients"), **self.changes)


_PAST = ("departure-past", "second-departure-past", "timing-past")
RIVALS: dict[str, Rival] = {
    "single-step": Rival(words="single-step, as judged above", changes={}),
    "ordinary": Rival(words="not hardened", changes={"method": "ordinary"}),
    "madry": Rival(words="PGD of 5 steps in training (Madry et al., 2018)", changes={"method": "madry"}),
    "trades": Rival(words="TRADES, beta 6, 5 steps (Zhang et al., 2019)", changes={"method": "trades"}),
    "noise-to-signal": Rival(
        words="noise-to-signal ratio, 0.4 (Ma and Liang, 2022)", changes={"method": "noise-to-signal", "eps": EPS}
    ),
    "distillation": Rival(
        words="adversarial distillation, 5 steps, from a network twice as wide (Goldblum et al., 2020)",
        changes={"method": "adversarial-distillation"},
    ),
    "smoothing": Rival(
        words=f"randomized smoothing, sigma {SIGMA:g} (Cohen et al., 2019), attacked in expectation",
        changes={"method": "smoothing"},
        smoothed=True,
    ),
    "past": Rival(words="single-step, channels by the past alone (a monitor)", changes={"inputs": _PAST}),
}


def judge_rivals(
    classifier: Classifier, steps: Steps, seed: int, place: dict[str, Any], attack: PGD | None = None
) -> list[dict[str, Any]]:
    """Train every rival and judge it on the test beats; the first is the network that the page judges."""
    attack = attack or PGD(eps=EPS, steps=40, restarts=5, seed=seed)
    shared = steps.share(classifier)
    todo = [
        Step(
            name=f"rivals-{name}",
            kind=f"rivals-{name}",
            key=[name, repr(rival), repr(rival.setting), repr(attack), seed, classifier.fingerprint(), NATURAL],
            function=judge_rival,
            arguments=(name, shared if name == "single-step" else None, attack, seed, place),
        )
        for name, rival in RIVALS.items()
    ]
    return [
        {name: value for name, value in step.items() if name not in ("status", "reason", "seconds")}
        for step in steps.do_all(todo)
        if step["status"] == "done"
    ]


def judge_rival(
    name: str, classifier: Classifier | None, attack: PGD, seed: int, place: dict[str, Any]
) -> dict[str, Any]:
    """Train a rival, where it is not there yet, and count its answers to test beats, clean and attacked.

    Clean are all of them; attacked those that the judged network is attacked on by AutoAttack, drawn as they come.
    """
    rival = RIVALS[name]
    splits = load("mitdb", split=DEALT["patients"], inputs=rival.setting.inputs, seed=seed, **place)
    if classifier is None:
        classifier = train(rival.setting, splits.train, splits.validation, seed)
    test = splits.test
    rows = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))[:NATURAL]
    clean = _answers(rival, classifier, test.x, seed)
    under = _answers(rival, classifier, _attacked(rival, classifier, attack, test.x[rows], test.y[rows], seed), seed)
    final = torch.where(clean[rows] == test.y[rows], under, clean[rows])
    return {
        "name": name,
        "seed": seed,
        "eps": attack.eps,
        "parameters": sum(parameter.numel() for parameter in classifier.parameters()),
        "clean": _counts(test, torch.arange(len(test)), clean),
        "drawn": _counts(test, rows, clean[rows]),
        "attacked": _counts(test, rows, final),
    }


def _attacked(rival: Rival, classifier: Classifier, attack: PGD, x: Tensor, y: Tensor, seed: int) -> Tensor:
    network: nn.Module = classifier.module
    if rival.smoothed:  # the first success may be luck of the draw, so that the attack goes on
        network, attack = Smoothed(network, SIGMA, DRAWS["attacked"], seed).eval(), replace(attack, early_stop=False)
    return torch.cat([attack(network, *part) for part in zip(x.split(1000), y.split(1000), strict=True)])


def _answers(rival: Rival, classifier: Classifier, x: Tensor, seed: int) -> Tensor:
    """Answer with other noise than the attack has seen ``[N]``."""
    if not rival.smoothed:
        return classifier.predict(x).argmax(1)
    network = Smoothed(classifier.module, SIGMA, DRAWS["answered"], seed + 1).eval()
    with torch.no_grad():
        return torch.cat([network(part).argmax(1) for part in x.split(64)])


def _counts(test: Dataset, rows: Tensor, answers: Tensor) -> dict[str, Any]:
    y = test.y[rows]
    classes = per_class(y, answers, test.classes)
    return {
        "n": len(rows),
        "accuracy": float((answers == y).double().mean()),
        "macro_f1": macro_f1(y, answers),
        "f1": {row["class"]: f1(row) for row in classes},
    }
