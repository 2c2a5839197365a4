"""Purifiers that seemed to hold, attacked once more: by all that follows gradients, and by what asks for none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from salus.attacks import PGD
from salus.generative import OntoRange
from salus.guard import Guard
from salus.purifiers import LowLevel
from salus.threats import GuardObjective
from salus.threats.adaptive import variants_of
from salus.threats.expectation import InExpectation
from salus.threats.purified import gradient_free
from salus.threats.worst import Worst
from salus_studies.frame.markdown import Record
from salus_studies.frame.step import Step
from salus_studies.frame.steps import Steps

#: Sizes of change in L-infinity at which they are attacked once more, with so many steps, on so many samples.
SIZES = {"mitdb": (0.01, 0.02, 0.03), "ham10000": (4 / 255, 8 / 255)}
STEPS, SAMPLES = 50, 40

#: Questions without gradients for each sample; each takes thousands of passes where it is projected onto a range.
QUERIES, PROJECTED_QUERIES = 5000, 1000

_ROW = ("guard", "eps", "clean", "gradients", "queries", "left")


def purifiers(audit: Path) -> Iterator[Path]:
    """List the guards of an audit that draw at random, descend or compress, and are no detector alone."""
    for place in sorted((audit / "guards").iterdir()):
        guard = Guard.load(place)
        purifier, alone = guard.purifier, not guard.detectors or guard.ensemble is not None
        if alone and purifier is not None and (purifier.random or isinstance(purifier, (OntoRange, LowLevel))):
            yield place


def attack_again(steps: Steps, data: str, places: Sequence[Path]) -> list[Record]:
    """Attack guards with more strength in two unlike ways, at the audit's size of change and beyond.

    Args:
        steps: where it is kept.
        data: what the audit was on.
        places: of the guards, in the folder of their audit.
    """
    todo = []
    for place in places:
        samples = load_file(place.parents[1] / "samples.safetensors")
        guard = steps.share(Guard.load(place))
        todo += [
            Step(
                name=f"{data}-{place.name}-{eps:g}",
                kind="attempt",
                key=[data, place.name, eps, STEPS, SAMPLES, QUERIES, PROJECTED_QUERIES],
                function=two_ways,
                arguments=(guard, samples["x"][:SAMPLES], samples["y"][:SAMPLES], eps),
            )
            for eps in SIZES[data]
        ]
    return [{name: step[name] for name in _ROW} for step in steps.do_all(todo)]


def two_ways(guard: Guard, x: Tensor, y: Tensor, eps: float, *, steps: int = STEPS) -> dict[str, Any]:
    """Attack a guard by every variant that follows gradients, and by one that has none and no start from others.

    What counts is how likely a sample is to be answered rightly before and not to fall after, over the guard's draws.
    Where the two come to much the same, that is no proof; where they do not, the weaker has missed something.

    Returns:
        The shares left by the ``gradients``, by the ``queries``, and by the worse of both for each sample.
    """
    clean = float(guard.chances(x).gather(1, y[:, None]).mean())
    attack = PGD(eps=eps, steps=steps, bounds=guard.bounds)
    worst = Worst(attack, guard, x, y, None, None, smallest=False)
    worst.begin(None)
    followed = (each for each in variants_of(attack, guard, x, y) if each.engine.knowledge == "gradients")
    worst.try_all(followed, worst.improvable)
    most = PROJECTED_QUERIES if isinstance(guard.purifier, OntoRange) else QUERIES
    objective = InExpectation(guard) if guard.random else GuardObjective(guard)
    asked = gradient_free(attack, most).run(objective, x, y)
    fell = guard.chances(asked.x_adv).scatter(1, y[:, None], 0).sum(1)
    both = torch.maximum(worst.chance, fell)
    return {
        "guard": guard.name,
        "eps": eps,
        "clean": clean,
        "gradients": float(1 - worst.chance.mean()),
        "queries": float(1 - fell.mean()),
        "left": float(1 - both.mean()),
    }
