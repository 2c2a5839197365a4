"""The same network on images of several sizes, under FGSM at 2/255."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from salus.audit.cell import Attempt, Cell
from salus.classifier import Classifier
from salus.data import Splits
from salus.guard import Guard
from salus.threats import THREAT_MODELS
from salus_studies.frame.step import Step
from salus_studies.skin_lesion import cells, counting
from salus_studies.skin_lesion.cells import KNOWS, Case
from salus_studies.skin_lesion.counting import Aimed

if TYPE_CHECKING:
    from salus_studies.skin_lesion.experiments import LesionExperiments

#: Gives the images at a size, dealt in one way or the other.
Load = Callable[[str, str], Splits]


def at_sizes(experiments: LesionExperiments, plain: Classifier | None, load: Load, dealt: str) -> None:
    """Say what FGSM at 2/255 does to a network at several sizes.

    Args:
        experiments: those on the network, whose records are added to.
        plain: the network at its own size; None where it was not trained.
        load: gives the images at other sizes.
        dealt: how they are dealt.
    """
    size = experiments.scale.networks[experiments.network].size
    for other, training in {size: None, **experiments.scale.resolutions}.items():
        splits, classifier = experiments.splits, plain
        experiments.steps.part = "resolution"
        named = f"{experiments.network}-model-at-{other}", f"{experiments.network}-at-{other}-plain"
        if training is not None and not experiments.steps.worth_preparing("resolution", *named):
            experiments.record("classifiers", {"model": f"at-{other}", **unasked("resolution")})
            for name in ("none", "fgsm", "fgsm-harm"):
                experiments.record("resolution", {"size": other, "attack": name, **unasked("resolution")})
            continue
        if training is not None:
            splits = load(other, dealt)
            classifier = experiments.trainings.sized(other, splits, training)
        test = counting.moved(splits.test, experiments.device)
        for case in (Case("plain"), Case("plain", None, "fgsm", KNOWS), Case("plain", None, "fgsm-harm", KNOWS)):
            content = experiments.missing()
            if classifier is not None:
                attack = cells.engine(case, experiments.scale, 0.0, experiments.seed)
                guard = Guard(classifier, name=case.name)
                counted: Cell | Aimed
                if case.own and attack is not None:
                    counted = Aimed(test, guard, attack, case.attack)
                else:
                    white = THREAT_MODELS["white-box"]()
                    counted = Cell(test, guard, None if attack is None else Attempt(attack, white))
                step = Step(
                    name=f"{experiments.network}-at-{other}-{case.name}",
                    kind=f"{experiments.network} resolution",
                    key=[classifier.fingerprint(), test.fingerprint(), case.name],
                    function=counting.count,
                    arguments=(counted,),
                )
                content = experiments.steps.do_all([step])[0]
            slim = {name: value for name, value in content.items() if name not in ("answers", "rows", "variants")}
            experiments.record("resolution", {"size": other, "attack": case.attack, **slim})


def unasked(part: str) -> dict[str, Any]:
    """Say that a part was left out, where its images were not even read."""
    return {"status": "not run", "reason": f"the part {part} was not asked for"}
