"""Tables 2 to 5 and Figures 2 to 5, I-defender's part: attacks on model E, judged on model F."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property, partial
from typing import Any

from torch import Tensor

from salus.attacks import BIM, FGSM, Attack, DeepFool
from salus.classifier import Classifier
from salus.detectors import IDefender
from salus.threats import transfer
from salus_studies.i_defender import scored
from salus_studies.i_defender.bench import Bench, Material, first
from salus_studies.i_defender.choice import FIXED, MODEL_F, LayerChoice, StateModel
from salus_studies.i_defender.published import EPSILONS, STRONGEST
from salus_studies.i_defender.scored import Seen

#: The L2 size of Figures 4 and 5, which the paper does not give.
L2 = 3.0


def attacks(seed: int) -> dict[str, Attack]:
    """List the attacks on model E by their names in results."""
    of_fgsm: dict[str, Attack] = {f"fgsm-{eps:g}": FGSM(eps=eps, seed=seed) for eps in EPSILONS}
    return {
        **of_fgsm,
        "iter-linf": BIM(eps=STRONGEST, schedule="madry", seed=seed),
        "iter-l2": BIM(eps=L2, norm="l2", schedule="madry", seed=seed),
        "deepfool": DeepFool(seed=seed),
    }


class FromEToF:
    """The black-box attack on one data set.

    Attributes:
        chosen: the I-defender that the tables show; None where the time did not allow the choice.

    Args:
        bench: where the steps are stored.
        material: the data.
        e: the attacker's network.
        f: the network that is attacked.
    """

    def __init__(self, bench: Bench, material: Material, e: Classifier, f: Classifier) -> None:
        self.bench, self.material, self.e, self.f = bench, material, e, f
        self.test = first(material.test, bench.scale.test_images)
        choice = LayerChoice(bench, material, f, MODEL_F)
        within = choice.within_layers()
        self.chosen = None if within is None else choice.of_all(within)
        self.settings: Sequence[StateModel] = () if within is None else (*within, *FIXED)

    def attacked(self, name: str, x: Tensor, y: Tensor) -> Tensor:
        """Attack model E."""
        return transfer(attacks(self.bench.seed)[name], self.e, x, y).x_adv

    @cached_property
    def detectors(self) -> dict[str, IDefender]:
        """I-defenders of model F, by their settings' keys."""
        samples, seed = self.bench.scale.fitting, self.bench.seed
        return {one.key: one.fit(self.f, self.material, samples, seed) for one in self.settings}

    @cached_property
    def clean(self) -> Seen:
        """What they say of the clean test images."""
        return scored.look(self.f, self.detectors, self.test.x)

    def judge(self) -> None:
        """Attack, and judge every I-defender."""
        data = self.material.splits.name
        for name, attack in attacks(self.bench.seed).items():
            blank = {"data": data, "attack": name, "eps": attack.eps, "norm": attack.norm}
            if self.chosen is None:
                self.bench.leave_out("black_box", "no time left for the choice of its layer", blank)
                continue
            key = [
                self.e.fingerprint(),
                self.f.fingerprint(),
                self.test.fingerprint(),
                asdict(attack),
                [one.describe() for one in self.settings],
                self.chosen.key,
                self.bench.scale.fitting,
                self.bench.scale.projected,
                self.material.splits.train.fingerprint(),
                self.bench.seed,
            ]
            self.bench.record(
                "black_box",
                f"black-box-{data}-{name}",
                "black-box",
                key,
                partial(self._one, self.chosen.key, name),
                blank,
            )

    def _one(self, own: str, name: str) -> dict[str, Any]:
        """Judge one attack; ``own`` is the key of the I-defender that the tables show."""
        y, clean = self.test.y, self.clean
        seen = scored.look(self.f, self.detectors, self.attacked(name, self.test.x, y))
        fooling = scored.fooled(clean.labels, seen.labels, y)
        rows = [{**one.describe(), **self._detector(one.key, clean, seen, fooling)} for one in self.settings]
        few = self.bench.scale.projected
        return {
            **scored.answers(clean.labels, seen.labels, y),
            "chosen": own,
            "detectors": rows,
            "roc": scored.curve(clean.scores[own], seen.scores[own]),
            # On the images that Defense-GAN gets.
            "first": scored.areas(clean.scores[own][:few], seen.scores[own][:few], fooling[:few]),
        }

    def _detector(self, key: str, clean: Seen, seen: Seen, fooling: Tensor) -> dict[str, Any]:
        scores = clean.scores[key], seen.scores[key]
        at = {name: scored.at_threshold(*scores, fooling, value) for name, value in scored.THRESHOLDS.items()}
        kept = int(self.detectors[key].learnt_[f"{self.detectors[key].layers[0]}|project"].shape[1])
        return {"kept": kept, **scored.areas(*scores, fooling), "at": at}
