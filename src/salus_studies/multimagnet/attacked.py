"""The four attacks as Table 1 has them, by ART as in the paper, in the arms that the paper does not tell apart.

The released generator of attacked images attacks the classifier where it is handed one, and else a surrogate that it
trains; its callers do both, and all hand it no labels, so that ART takes the answers of the network that it attacks.
Where neither arm leaves Table 6's accuracy, FGSM and BIM take another eps, BIM with its step in proportion; CW is held
to a length, and an image that needs a longer change stays as it is, as an image does that ART's CW fails on; DeepFool,
which never puts an image back, goes a share of its way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from salus.attacks import Attack, parse_attack
from salus.classifier import Classifier
from salus.data import Dataset
from salus_studies.multimagnet.published import PARAMETERS, UNDEFENDED

#: Accuracies within so many points of Table 6 agree with it.
CLOSE = 5.0
#: How often the interval is halved in the search for what leaves Table 6's accuracy.
HALVINGS = 6

#: Images attacked side by side: ART goes on with all until the last of them has fallen.
BATCH = 50

#: ART's own settings of DeepFool, by which the released code calls it.
ARTS_DEEPFOOL: Mapping[str, Any] = {"max_iter": 100, "epsilon": 1e-6}

WHITE_BOX, SURROGATE, RELEASED, RETUNED = "white-box", "surrogate", "released", "retuned"
#: On which network an attack is computed, and by whose settings.
ARMS = {
    WHITE_BOX: "white-box",
    SURROGATE: "on a surrogate",
    RELEASED: "white-box, as released",
    RETUNED: "retuned to Table 6",
}


@dataclass(frozen=True)
class AttackedImages:
    """Images after an attack.

    Attributes:
        x: ``[N, ...]``.
        changed: float64 ``[N]``, the L2 length of each change.
        right: whether the classifier is right about each, bool ``[N]``.
    """

    x: Tensor
    changed: Tensor
    right: Tensor

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(self.right.double().mean())


def arms(attack: str) -> tuple[str, ...]:
    """List the arms in which an attack is run in any case.

    The released code calls ART's DeepFool without Table 1's settings, with ART's own: an overshoot of 1e-6, which
    leaves images on the border itself.
    """
    return (WHITE_BOX, SURROGATE, RELEASED) if attack == "deepfool" else (WHITE_BOX, SURROGATE)


def settings(dataset: str, attack: str, arm: str, *, iterations: int | None = None) -> dict[str, Any]:
    """Give an attack's settings in ART's words; ``iterations`` are BIM's, None for Table 1's."""
    printed = PARAMETERS[dataset, attack]
    if attack == "fgsm":
        return {"eps": printed["eps"]}
    if attack == "bim":
        steps = iterations or printed["iterations"]
        return {"eps": printed["eps"], "eps_step": printed["alpha"], "max_iter": steps}
    if attack == "deepfool":
        if arm == RELEASED:
            return dict(ARTS_DEEPFOOL)
        return {"max_iter": printed["max iter"], "epsilon": printed["overshoot"]}
    return {
        "confidence": printed["conf"],
        "learning_rate": printed["lrate"],
        "binary_search_steps": printed["binary searches"],
        "max_iter": printed["max iter"],
        "initial_const": float(printed["initial const"]),
    }


_ART = {"fgsm": "FastGradientMethod", "bim": "BasicIterativeMethod", "deepfool": "DeepFool", "cw": "CarliniL2Method"}


def engine(attack: str, how: Mapping[str, Any], seed: int) -> Attack:
    """Make ART's attack with these settings, behind Salus's adapter.

    Raises:
        OptionError: ART is not installed.
    """
    words = ",".join(f"{name}={value!r}" for name, value in how.items())
    return parse_attack(f"art:{_ART[attack]}:{words}", seed=seed, batch_size=BATCH)


def with_eps(how: Mapping[str, Any], eps: float) -> dict[str, Any]:
    """Give FGSM or BIM another eps, and BIM's step in proportion."""
    step = {"eps_step": how["eps_step"] * eps / how["eps"]} if "eps_step" in how else {}
    return {**how, "eps": eps, **step}


def run(attack: Attack, attacked: Classifier, classifier: Classifier, data: Dataset) -> AttackedImages:
    """Attack images by way of one network, and judge them by the classifier.

    Args:
        attack: the attack.
        attacked: the network whose gradients and answers it sees.
        classifier: which judges.
        data: the images.
    """
    made = attack(attacked, data.x, attacked.predict(data.x).argmax(1))
    return assess(made, data, classifier)


def assess(made: Tensor, data: Dataset, classifier: Classifier) -> AttackedImages:
    """Measure attacked images ``[N, ...]``."""
    changed = (made.double() - data.x.double()).flatten(1).norm(dim=1)
    return AttackedImages(made, changed, is_right(classifier, made, data.y))


def hold_to(attacked: AttackedImages, eps: float, clean: Tensor, right: Tensor) -> tuple[AttackedImages, Tensor]:
    """Hold CW to a length: whoever needs more stays clean.

    Args:
        attacked: without a limit.
        eps: the length.
        clean: the images before ``[N, ...]``.
        right: whether the classifier is right about these, bool ``[N]``.

    Returns:
        What is left of the attack, and which images it still changes, bool ``[N]``.
    """
    kept = attacked.changed <= eps
    x = torch.where(kept.reshape(-1, *[1] * (clean.ndim - 1)), attacked.x, clean)
    return AttackedImages(x, torch.where(kept, attacked.changed, 0.0), torch.where(kept, attacked.right, right)), kept


def shorten(attacked: AttackedImages, share: float, data: Dataset, classifier: Classifier) -> AttackedImages:
    """Let every image go only this share of its way."""
    return assess(torch.lerp(data.x, attacked.x, share), data, classifier)


def describe(parts: Mapping[str, AttackedImages], clean: Mapping[str, Dataset]) -> dict[str, Any]:
    """Say what an attack did to the images of each part: accuracy, share left unchanged, and median distances."""
    record: dict[str, Any] = {}
    for part, one in parts.items():
        difference = (one.x - clean[part].x).flatten(1)
        record |= {
            f"accuracy_{part}": one.accuracy,
            f"n_{part}": len(one.x),
            f"unchanged_{part}": float((difference.abs().amax(1) == 0).double().mean()),
            f"linf_{part}": float(difference.abs().amax(1).median()),
            f"l2_{part}": float(difference.norm(dim=1).median()),
        }
    return record


def is_right(classifier: Classifier, x: Tensor, y: Tensor) -> Tensor:
    """Tell which images the classifier is right about, bool ``[N]``."""
    return classifier.predict(x).argmax(1) == y


def accuracy(classifier: Classifier, x: Tensor, y: Tensor) -> float:
    """Share of right answers."""
    return float(is_right(classifier, x, y).double().mean())


def agrees(dataset: str, attack: str, accuracy: float) -> bool:
    """Whether an accuracy, from 0 to 1, is close to Table 6's."""
    return abs(100 * accuracy - UNDEFENDED[dataset, attack]) <= CLOSE


def fit_eps(dataset: str, name: str, how: Mapping[str, Any], classifier: Classifier, data: Dataset, seed: int) -> float:
    """Search the eps at which FGSM or BIM leaves Table 6's accuracy on these images, by halving.

    Between 0 and Table 1's eps, or between that and twice as much where it leaves too many.
    """
    goal = UNDEFENDED[dataset, name] / 100

    def left(eps: float) -> float:
        return run(engine(name, with_eps(how, eps), seed), classifier, classifier, data).accuracy

    printed: float = how["eps"]
    low, high = (printed, 2 * printed) if left(printed) > goal else (0.0, printed)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if left(middle) > goal else (low, middle)
    return (low + high) / 2


def fit_share(dataset: str, name: str, attacked: AttackedImages, classifier: Classifier, data: Dataset) -> float:
    """Find the share of DeepFool's way that leaves Table 6's accuracy, by halving."""
    low, high = 0.0, 1.0
    for _ in range(2 * HALVINGS):
        middle = (low + high) / 2
        left = shorten(attacked, middle, data, classifier).accuracy
        low, high = (middle, high) if left > UNDEFENDED[dataset, name] / 100 else (low, middle)
    return (low + high) / 2


def fit_length(dataset: str, name: str, attacked: AttackedImages, right: Tensor) -> float:
    """Find the length of change at which CW, held to it, leaves Table 6's accuracy.

    Args:
        dataset: a key of ``DATASETS``.
        name: a key of ``ATTACKS``.
        attacked: images after the attack without a limit.
        right: whether the classifier is right about these before the attack, bool ``[N]``.
    """
    goal = UNDEFENDED[dataset, name] / 100
    order = attacked.changed.argsort()
    # Held to the k-th shortest change, the k shortest are attacked and the others stay.
    falls = (right.double() - attacked.right.double())[order].cumsum(0)
    left = (right.double().sum() - torch.cat([falls.new_zeros(1), falls])) / len(right)
    best = int((left - goal).abs().argmin())
    return float(attacked.changed[order[best - 1]]) if best else 0.0
