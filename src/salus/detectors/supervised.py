"""What detectors trained on one attack share: pairs of clean samples and their attacked copies."""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from typing import Annotated, TypeVar

from pydantic import Field
from torch import Tensor

from salus.attacks import Attack, parse_attack
from salus.classifier import Classifier
from salus.detectors.hidden import HiddenStateDetector, Layers, Seed
from salus.errors import CalibrationError, OptionError
from salus.options import Words

TaughtBy = Annotated[
    str,
    Words("an attack with its options, such as bim:eps=0.01"),
    Field(description="the attack that it learns from, its options joined by +"),
]
MaxAttacked = Annotated[int, Field(ge=1, description="samples of each class that are attacked, drawn at random")]

S = TypeVar("S", bound="SupervisedDetector")

_LEAST_PAIRS = 20


class SupervisedDetector(HiddenStateDetector):
    """Learns to tell attacked samples from clean ones on one attack, and is judged on others.

    The attack runs on the bare classifier inside ``fit``, at full strength (no early stop unless asked for). Clean
    samples that the classifier gets right and their copies that fool it become the two classes, so that both are as
    frequent; copies that fool nobody are left out.

    Args:
        layers: named layers of the classifier.
        attack: the attack with its options, as on the command line; inside a ``--defence`` option its own options are
            joined by ``+``: ``attack=pgd:eps=0.01+steps=10``.
        max_samples: samples of each class that are attacked, drawn at random.
        seed: of the draws, and of the attack.
    """

    def __init__(self, layers: Layers, attack: TaughtBy, max_samples: MaxAttacked, seed: Seed) -> None:
        super().__init__(layers, seed)
        self.attack = attack
        self.max_samples = max_samples
        if self._attack((-math.inf, math.inf)).targeted:
            raise OptionError(f"{self.title}: attack must be untargeted; it has no targets to aim for here.")

    def _attack(self, bounds: tuple[float, float]) -> Attack:
        # A comma would end the option on the command line, so a plus may stand before the attack's next option.
        spec = re.sub(r"\+(?=[\w-]+=)", ",", self.attack)
        return parse_attack(spec, bounds=bounds, seed=self.seed, early_stop=False)

    def fit(self: S, classifier: Classifier, x: Tensor, y: Tensor) -> S:
        """Attack training samples x ``[N, ...]`` with labels y ``[N]``, and learn from the pairs.

        Raises:
            CalibrationError: the attack fooled the classifier too seldom.
            ModelError: the classifier has no such layer.
            OptionError: the attack does not suit the samples.
        """
        self.classifier_ = classifier
        self.learn(*self.pairs(classifier, x, y))
        return self

    def fit_pairs(self: S, classifier: Classifier, clean: Tensor, attacked: Tensor) -> S:
        """Learn from pairs that lie ready, such as those that another detector's :meth:`pairs` made.

        Args:
            classifier: whose states are read.
            clean: samples ``[P, ...]``.
            attacked: their attacked copies ``[P, ...]``.

        Raises:
            CalibrationError: they are too few.
            ModelError: the classifier has no such layer.
        """
        if len(clean) < _LEAST_PAIRS:
            raise CalibrationError(f"{self.title}: it takes {_LEAST_PAIRS} pairs to learn from, not {len(clean)}.")
        self.classifier_ = classifier
        self.notes_ = [f"trained on {len(clean)} pairs"]
        self.learn(clean, attacked)
        return self

    @abstractmethod
    def learn(self, clean: Tensor, attacked: Tensor) -> None:
        """Learn from clean samples and their attacked copies, ``[P, ...]`` each."""

    def pairs(self, classifier: Classifier, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Attack training samples x ``[N, ...]`` with labels y ``[N]``; return clean ones and copies that fool.

        Raises:
            CalibrationError: a class has no samples, or the attack fooled the classifier too seldom.
        """
        self.classifier_ = classifier
        rows = self.draw(y, self.max_samples, 1, "at least 1 is to be attacked. Give more.").to(x.device)
        clean, labels = x[rows], y.to(x.device)[rows]
        right = classifier.predict(clean).argmax(1) == labels
        clean, labels = clean[right], labels[right]
        attacked = self._attack(classifier.bounds)(classifier, clean, labels) if len(clean) else clean
        fooled = classifier.predict(attacked).argmax(1) != labels
        count = int(fooled.sum())
        if count < _LEAST_PAIRS:
            raise CalibrationError(
                f"{self.title}: the attack {self.attack!r} fooled the classifier on {count} of {len(clean)} training "
                f"samples; it takes {_LEAST_PAIRS} to learn from. Give a larger eps, or more samples."
            )
        self.notes_ = [f"trained on {self.attack}, which fooled the classifier on {count} of {len(clean)} samples"]
        return clean[fooled], attacked[fooled]
