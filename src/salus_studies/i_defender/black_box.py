"""Tables 2 to 5 and Figures 2 to 5, I-defender's part: attacks on model E, judged on model F."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import Any

from torch import Tensor

from salus.attacks import BIM, FGSM, Attack, DeepFool
from salus.classifier import Classifier
from salus.detectors import IDefender
from salus.threats import transfer
from salus_studies.i_defender import scored
from salus_studies.i_defender.bench import Bench, Material, first
from salus_studies.i_defender.choice import Readings, StateModel, hidden
from salus_studies.i_defender.layers import MODEL_F
from salus_studies.i_defender.published import EPSILONS, STRONGEST
from salus_studies.i_defender.scored import Seen

#: The L2 size of Figures 4 and 5, which the paper does not give.
L2 = 3.0

#: Set beside the choices on Table 1's model F, whatever they are; fixed before any attack was run.
FIXED = (
    StateModel(MODEL_F[0], "bic", "full", None, "fixed"),
    StateModel(MODEL_F[1], 1, "diag", None, "fixed"),
    StateModel(MODEL_F[2], 5, "full", None, "fixed"),
    StateModel(MODEL_F[3], "bic", "full", None, "fixed"),
)


@dataclass(frozen=True)
class Setting:
    """Which networks E and F are.

    Attributes:
        key: in results.
        title: in words.
        of_fgsm_alone: whether only FGSM is run.
    """

    key: str
    title: str
    of_fgsm_alone: bool = True


#: As I-defender's Table 1 has them, and as Defense-GAN's authors released and ran them.
TABLE_1 = Setting("table-1", "Table 1's model F; E trained on all data", of_fgsm_alone=False)
RELEASED = Setting("released", "model F with its third convolution; E trained on all data")
SUBSTITUTE = Setting("substitute", "model F with its third convolution; E trained on its answers alone")
SETTINGS = (TABLE_1, RELEASED, SUBSTITUTE)


def attacks(seed: int, setting: Setting = TABLE_1) -> dict[str, Attack]:
    """List the attacks on model E by their names in results."""
    of_fgsm: dict[str, Attack] = {f"fgsm-{eps:g}": FGSM(eps=eps, seed=seed) for eps in EPSILONS}
    if setting.of_fgsm_alone:
        return of_fgsm
    return {
        **of_fgsm,
        "iter-linf": BIM(eps=STRONGEST, schedule="madry", seed=seed),
        "iter-l2": BIM(eps=L2, norm="l2", schedule="madry", seed=seed),
        "deepfool": DeepFool(seed=seed),
    }


class FromEToF:
    """The black-box attack on one data set.

    Attributes:
        chosen: the I-defender of the rule that was fixed first; None where the time did not allow the choice.

    Args:
        bench: where the steps are stored.
        material: the data.
        e: the attacker's network.
        f: the network that is attacked.
        setting: which networks they are.
        readings: I-defenders of model F; None where the time did not allow the choice.
        other: another attack on the same model F, whose fitted I-defenders serve here too.
    """

    def __init__(
        self,
        bench: Bench,
        material: Material,
        e: Classifier,
        f: Classifier,
        setting: Setting,
        readings: Readings | None,
        other: FromEToF | None = None,
    ) -> None:
        self.bench, self.material, self.e, self.f, self.setting = bench, material, e, f, setting
        self.test = first(material.test, bench.scale.test_images)
        self.readings, self.other = readings, other
        self.chosen = None if readings is None else next(iter(readings.chosen.values()))
        self.rows: list[StateModel] = []
        if readings is not None:
            self.rows = [*readings.rows, *(FIXED if setting is TABLE_1 else ())]

    def attacked(self, name: str, x: Tensor, y: Tensor) -> Tensor:
        """Attack model E."""
        return transfer(attacks(self.bench.seed)[name], self.e, x, y).x_adv

    @cached_property
    def detectors(self) -> Mapping[str, IDefender]:
        """I-defenders of model F, by their settings' keys; what two rules choose alike is fitted once."""
        return self.other.detectors if self.other is not None else fitted(self.bench, self.material, self.f, self.rows)

    @cached_property
    def clean(self) -> Seen:
        """What they say of the clean test images."""
        return scored.look(self.f, self.detectors, self.test.x)

    def judge(self) -> None:
        """Attack, and judge every I-defender."""
        data = self.material.splits.name
        for name, attack in attacks(self.bench.seed, self.setting).items():
            blank = {"data": data, "setting": self.setting.key, "attack": name, "eps": attack.eps, "norm": attack.norm}
            if self.readings is None:
                self.bench.leave_out("black_box", "no time left for the choice of its layer", blank)
                continue
            key = [
                self.e.fingerprint(),
                self.f.fingerprint(),
                self.test.fingerprint(),
                asdict(attack),
                [one.describe() for one in self.rows],
                self.readings.keys,
                self.bench.scale.fitting,
                self.bench.scale.projected,
                self.material.splits.train.fingerprint(),
                self.bench.seed,
            ]
            self.bench.record(
                "black_box",
                f"black-box-{data}-{self.setting.key}-{name}",
                "black-box",
                key,
                partial(self._one, self.readings.keys, name),
                blank,
            )

    def _one(self, chosen: Mapping[str, str], name: str) -> dict[str, Any]:
        """Judge one attack; ``chosen`` are the keys of the I-defenders that the rules choose."""
        y, clean, few = self.test.y, self.clean, self.bench.scale.projected
        seen = scored.look(self.f, self.detectors, self.attacked(name, self.test.x, y))
        fooling = scored.fooled(clean.labels, seen.labels, y)
        scores = {key: (clean.scores[key], seen.scores[key]) for key in self.detectors}
        return {
            **scored.answers(clean.labels, seen.labels, y),
            "chosen": dict(chosen),
            "detectors": [{**one.describe(), **self._detector(one, *scores[one.key], fooling)} for one in self.rows],
            # What Figures 2 to 5 draw.
            "roc": {rule: scored.curve(*scores[key]) for rule, key in chosen.items() if self.setting is TABLE_1},
            # On the images that Defense-GAN gets.
            "first": {
                rule: scored.areas(scores[key][0][:few], scores[key][1][:few], fooling[:few])
                for rule, key in chosen.items()
            },
        }

    def _detector(self, one: StateModel, clean: Tensor, attacked: Tensor, fooling: Tensor) -> dict[str, Any]:
        at = {name: scored.at_threshold(clean, attacked, fooling, value) for name, value in scored.THRESHOLDS.items()}
        return {"kept": kept(self.detectors[one.key]), **scored.areas(clean, attacked, fooling), "at": at}


def fitted(bench: Bench, material: Material, classifier: Classifier, rows: list[StateModel]) -> dict[str, IDefender]:
    """Fit I-defenders of a classifier, by their keys; those that are alike but for the rule are fitted once.

    The states of all layers are computed once, of the training images that each detector would draw.
    """
    scale, seed, train = bench.scale, bench.seed, material.train
    drawer = rows[0].detector(scale.fitting, seed)
    drawer.classifier_ = classifier
    drawn = drawer.draw(train.y, scale.fitting, 1, "a mixture needs some.").to(train.x.device)
    names = tuple(dict.fromkeys(name for one in rows for name in one.layer.names))
    states, y = hidden(classifier, names, train.x[drawn]), train.y[drawn]
    alike: dict[tuple[Any, ...], IDefender] = {}
    detectors = {}
    for one in rows:
        form = (one.layer.name, one.components, one.covariance, one.dimensions)
        if form not in alike:
            alike[form] = one.detector(scale.fitting, seed).fit_states(classifier, states, y)
        detectors[one.key] = alike[form]
    return detectors


def kept(detector: IDefender) -> int:
    """Count the principal components that a detector models."""
    return sum(int(detector.learnt_[f"{layer}|project"].shape[1]) for layer in detector.layers)
