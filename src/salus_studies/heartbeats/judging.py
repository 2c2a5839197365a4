"""Judges a hardened heartbeat classifier by the attackers who know it.

Each chunk of beats is a step, so a run that was stopped goes on. Attacks are computed on a copy of the network whose
batch normalisation is folded into its convolutions (the same function, half as many passes over memory), and where no
gradient is asked for compiled for pieces that fit the cache; they are judged on the network itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from salus.attacks import PGD, Attack, AutoAttack
from salus.classifier import Classifier
from salus.data import Dataset
from salus.metrics import ec57_under_attack, macro_f1, per_class, proportion
from salus.metrics.ec57 import AttackedRow
from salus.progress import console
from salus_studies.frame.step import Step
from salus_studies.frame.steps import Steps
from salus_studies.heartbeats.goals import NATURAL

EPS = 0.01
CURVE = (0.005, 0.02, 0.03, 0.05)
PIECE = 64  # beats whose activations fit the cache of one core

#: Computes attacked beats from a network, beats and their classes.
Perturb = Callable[[nn.Module, Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How many beats are attacked, and how hard.

    Attributes:
        natural: beats drawn at natural prevalence for the curve and for AutoAttack.
        peer: of which somebody else's AutoAttack gets so many.
        chunk: beats of a step.
        strong: the attack on every beat.
        curve: radii beside it.
        standard: the attack on the beats drawn, and on all others that are rare.
    """

    natural: int = NATURAL
    peer: int = 256
    chunk: int = 512
    strong: PGD = field(default_factory=lambda: PGD(eps=EPS, steps=40, restarts=5))
    curve: tuple[float, ...] = CURVE
    standard: Attack = field(default_factory=lambda: AutoAttack(eps=EPS))


@dataclass(frozen=True, eq=False)
class Answers:
    """What a network answers to attacked beats.

    Attributes:
        rows: of the test part, ``[N]``.
        labels: the answers, ``[N]``.
        seconds: that the attacks took.
    """

    rows: Tensor
    labels: Tensor
    seconds: float


class Judge:
    """A network, the beats it is judged on, and what attacks on it came to.

    Args:
        name: of its steps.
        classifier: the network.
        test: the beats.
        steps: where each chunk is kept.
        effort: how many beats are attacked, and how hard.
        seed: of the draw of beats.
    """

    def __init__(
        self, name: str, classifier: Classifier, test: Dataset, steps: Steps, effort: Effort, seed: int = 0
    ) -> None:
        self.name, self.classifier, self.test, self.steps, self.effort = name, classifier, test, steps, effort
        self.shared = steps.share(classifier)
        self.fingerprint, self.test_fingerprint = classifier.fingerprint(), test.fingerprint()
        self.clean = classifier.predict(test.x).argmax(1)
        order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
        self.natural = order[: effort.natural]  # in random order, so that the first chunks are a fair sample too
        rare = (test.y > 0).nonzero()[:, 0]
        self.rest = rare[~torch.isin(rare, self.natural)]

    def judge(self) -> dict[str, Any]:
        """Attack, and count what is left."""
        few = self.test.x[self.natural[:256]]
        fold_error = float((folded_pieces(self.classifier)(few) - self.classifier.predict(few)).abs().max())
        answers = {name: self.answers(name, perturb, rows) for name, perturb, rows in self.attacks()}
        answers = {name: each for name, each in answers.items() if len(each.rows)}
        everything = torch.arange(len(self.test))
        return {
            "fold_error": fold_error,
            "test": self.test.counts,
            "eps": self.effort.strong.eps,
            "clean": self.count(everything, self.clean),
            "attacked": {
                name: {**self.count(each.rows, each.labels), "seconds": round(each.seconds)}
                for name, each in answers.items()
            },
            "ec57": self.by_record(answers.get("pgd")),
            "agreement": self.agreement(answers.get("autoattack"), answers.get("peer")),
        }

    def attacks(self) -> Iterator[tuple[str, Perturb, Tensor]]:
        """List the attacks and the beats that each gets."""
        strong, standard = self.effort.strong, self.effort.standard
        yield "pgd", strong, torch.arange(len(self.test))
        for eps in self.effort.curve:
            yield f"curve-{eps:g}", replace(strong, eps=eps), self.natural
        yield "autoattack", standard, self.natural
        if find_spec("pyautoattack") is None:
            console.print(
                "pyautoattack is not installed, so that there is no second opinion: pip install pyautoattack."
            )
        else:
            yield "peer", peer_attack, self.natural[: self.effort.peer]
        yield "autoattack-rest", standard, self.rest

    def answers(self, name: str, perturb: Perturb, rows: Tensor) -> Answers:
        """Attack these beats, a chunk at a time, as far as there is time."""
        todo = []
        for number, chunk in enumerate(rows.split(self.effort.chunk)):
            key = [name, self.fingerprint, self.test_fingerprint, chunk.tolist(), repr(self.effort)]
            todo.append(
                Step(
                    name=f"{self.name}-{name}-{number:04d}",
                    kind=f"{self.name}-{name}",
                    key=key,
                    function=attacked_answers,
                    arguments=(perturb, self.shared, self.test.x[chunk], self.test.y[chunk], chunk),
                )
            )
        chunks = [step for step in self.steps.do_all(todo) if step["status"] == "done"]
        return Answers(
            torch.tensor([row for step in chunks for row in step["rows"]], dtype=torch.int64),
            torch.tensor([label for step in chunks for label in step["answers"]], dtype=torch.int64),
            sum(step["seconds"] for step in chunks),
        )

    def count(self, rows: Tensor, labels: Tensor) -> dict[str, Any]:
        """Count as everywhere in Salus: robust are beats answered rightly clean and attacked."""
        y, clean = self.test.y[rows], self.clean[rows]
        groups = None if self.test.groups is None else self.test.groups[rows]
        robust = (labels == y) & (clean == y)
        # A beat that was wrong before the attack stays wrong, whatever the attack made of it.
        final = torch.where(clean == y, labels, clean)
        return {
            "n": len(rows),
            **proportion(robust, groups=groups).named("accuracy"),
            "macro_f1": macro_f1(y, final),
            "per_class": per_class(y, final, self.test.classes, groups),
        }

    def by_record(self, answers: Answers | None) -> list[AttackedRow]:
        """Count in the manner of EC57, once every beat was attacked."""
        if answers is None or len(answers.rows) < len(self.test) or self.test.groups is None:
            return []
        under = torch.empty_like(answers.labels).scatter(0, answers.rows, answers.labels)
        return ec57_under_attack(self.test.y, self.clean, under, self.test.groups, self.test.classes)

    def agreement(self, ours: Answers | None, theirs: Answers | None) -> dict[str, Any]:
        """Compare with somebody else's AutoAttack on the beats that both attacked."""
        if ours is None or theirs is None:
            return {}
        by_row = [dict(zip(each.rows.tolist(), each.labels.tolist(), strict=True)) for each in (ours, theirs)]
        rows = [row for row in by_row[1] if row in by_row[0]]
        shares = [self._right(rows, labels) for labels in by_row]
        return {"n": len(rows), **dict(zip(("ours", "pyautoattack"), shares, strict=True))}

    def _right(self, rows: Sequence[int], labels: dict[int, int]) -> float:
        answers = torch.tensor([labels[row] for row in rows])
        return float((answers == self.test.y[torch.tensor(rows)]).double().mean())


def attacked_answers(perturb: Perturb, classifier: Classifier, x: Tensor, y: Tensor, rows: Tensor) -> dict[str, Any]:
    """Attack beats ``[N, C, L]`` of the test part's ``rows`` with classes ``[N]``, and ask the network itself."""
    x_adv = perturb(folded_pieces(classifier), x, y)
    return {"rows": rows.tolist(), "answers": classifier.predict(x_adv).argmax(1).tolist()}


def folded_pieces(classifier: Classifier) -> Pieces:
    """Fold a network and compile it, once a process."""
    if classifier not in _PIECES:
        _PIECES[classifier] = Pieces(folded(classifier.module))
    return _PIECES[classifier]


def peer_attack(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Run pyautoattack's APGD-CE, targeted APGD and Square, on beats shown to it as images one pixel high.

    It knows images and ten classes alone, so classes that never win are added; its FAB breaks on those.
    """
    from pyautoattack import AutoAttack as Theirs

    attacks = ["apgd-ce", "apgd-t", "square"]
    theirs = Theirs(AsImages(network).eval(), norm="Linf", eps=EPS, attacks=attacks, version="custom", seed=0)
    theirs.apgd.n_restarts = 1
    x_adv: Tensor = theirs.run_standard_evaluation(x.unsqueeze(2), y)[0]
    return x_adv.squeeze(2)


def folded(module: nn.Module) -> nn.Module:
    """Copy a network with every batch normalisation folded into the convolution before it."""
    network = copy.deepcopy(module).eval().requires_grad_(False)
    for part in network.modules():
        if isinstance(part, nn.Sequential):
            for place in range(len(part) - 1):
                conv, norm = part[place], part[place + 1]
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    part[place], part[place + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return network


class Pieces(nn.Module):
    """A network that answers piece by piece where no gradient is asked for, compiled: 1.6 times as fast on a CPU."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.compiled: Any = torch.compile(network, dynamic=False, options={"freezing": True})

    def forward(self, x: Tensor) -> Tensor:
        """Give logits ``[N, K]``."""
        if torch.is_grad_enabled() or len(x) < PIECE:
            logits: Tensor = self.network(x)
            return logits
        pieces = x.split(PIECE)
        return torch.cat([self.compiled(piece) if len(piece) == PIECE else self.network(piece) for piece in pieces])


class AsImages(nn.Module):
    """A network of beats that takes images one pixel high, and answers with ten classes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Give logits ``[N, 10]``."""
        logits = self.network(images.squeeze(2))
        return torch.cat([logits, torch.full((len(logits), 10 - logits.shape[1]), -100.0)], 1)


#: Networks folded and compiled in this process, by the classifier that they are of.
_PIECES: WeakKeyDictionary[Classifier, Pieces] = WeakKeyDictionary()
