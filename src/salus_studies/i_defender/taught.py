"""The supervised detectors of Table 6: what they read, chosen on held-out pairs, and what they are taught by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from salus.classifier import Classifier
from salus.detectors import SafetyNet, Subnetwork
from salus.detectors.supervised import SupervisedDetector
from salus.errors import CalibrationError
from salus_studies.frame.markdown import done
from salus_studies.i_defender import scored
from salus_studies.i_defender.bench import Bench, Material

#: Method of Table 6 -> what it may read of a wide residual network. "NAME/flat" keeps the positions.
METHODS: dict[str, tuple[tuple[str, ...], ...]] = {
    "svm": (("penultimate",), ("last/flat",)),
    "msvm": (("groups.0", "groups.1", "penultimate"), ("groups.1/flat", "groups.2/flat", "last/flat")),
    "subnet": (("groups.1",), ("stem/flat",), ("groups.0/flat",), ("groups.1/flat",), ("groups.2/flat",)),
}

#: The share of the pairs to choose on that is kept to be told apart.
_KEPT = 4


@dataclass(frozen=True, eq=False)
class Pairs:
    """Clean images and their attacked copies, ``[P, ...]`` each."""

    clean: Tensor
    attacked: Tensor

    def __len__(self) -> int:
        return len(self.clean)

    def rows(self, start: int, end: int | None) -> Pairs:
        """Take some of them."""
        return Pairs(self.clean[start:end], self.attacked[start:end])


class Taught:
    """Supervised detectors that learn from the attack of the first column.

    Attributes:
        chosen: method -> the layers that it reads.
        reasons: method -> why none were chosen.

    Args:
        bench: where the steps are stored.
        material: the data.
        classifier: attacked and judged.
        eps: of the attack that teaches.
    """

    def __init__(self, bench: Bench, material: Material, classifier: Classifier, eps: float) -> None:
        self.bench, self.material, self.classifier = bench, material, classifier
        self.attack = f"bim:eps={eps:.8f}+schedule=madry"
        self.chosen: dict[str, tuple[str, ...]] = {}
        self.reasons: dict[str, str] = {}
        self._pairs: Pairs | None = None
        self._notes: list[str] = []
        self._detectors: dict[str, SupervisedDetector] = {}

    @property
    def key(self) -> list[Any]:
        """What decides how they are taught, as plain values."""
        scale = self.bench.scale
        return [
            self.classifier.fingerprint(),
            self.material.splits.train.fingerprint(),
            self.attack,
            scale.supervised,
            scale.choosing_pairs,
            scale.branch,
            scale.branch_epochs,
            self.bench.seed,
        ]

    def choose(self) -> None:
        """Choose each method's layers by how well it tells held-out pairs of training images."""
        for method, candidates in METHODS.items():
            records = []
            for layers in candidates:
                name = f"reads-{method}-{'-'.join(layers).replace('/', '-')}"
                blank = {"method": method, "layers": list(layers)}
                key = [*self.key, method, layers]

                def work(method: str = method, layers: tuple[str, ...] = layers) -> dict[str, Any]:
                    try:
                        return self._told(method, layers)
                    except CalibrationError as error:
                        return {"error": str(error)}

                records.append(self.bench.record("reads", name, f"reads {method}", key, work, blank))
            if all(map(done, records)):
                best = max(records, key=lambda one: float(one["told"] if one["auc"] is None else one["auc"]))
                for one in records:
                    one["chosen"] = one is best
                self.chosen[method] = tuple(best["layers"])
            else:
                self.reasons[method] = next(str(one.get("error") or one["reason"]) for one in records if not done(one))

    def detector(self, method: str) -> SupervisedDetector:
        """Teach a method by all pairs.

        Raises:
            CalibrationError: the attack fooled the classifier too seldom.
        """
        if method not in self._detectors:
            self._detectors[method] = self._taught(method, self.chosen[method], self.pairs())
        return self._detectors[method]

    def pairs(self) -> Pairs:
        """Attack training images, once for all methods; in an order that is drawn.

        Raises:
            CalibrationError: the attack fooled the classifier too seldom.
        """
        if self._pairs is None:
            maker = SafetyNet(attack=self.attack, max_samples=self.bench.scale.supervised, seed=self.bench.seed)
            train = self.material.train
            clean, attacked = maker.pairs(self.classifier, train.x, train.y)
            order = torch.randperm(len(clean), generator=torch.Generator().manual_seed(self.bench.seed))
            order = order.to(clean.device)
            self._pairs = Pairs(clean[order], attacked[order])
            self._notes = maker.notes_
        return self._pairs

    def _told(self, method: str, layers: tuple[str, ...]) -> dict[str, Any]:
        pairs = self.pairs().rows(0, self.bench.scale.choosing_pairs)
        cut = len(pairs) - len(pairs) // _KEPT
        detector = self._taught(method, layers, pairs.rows(0, cut))
        held = pairs.rows(cut, None)
        clean, attacked = (scored.raw_scores(self.classifier, detector, x) for x in (held.clean, held.attacked))
        fooling = attacked == attacked  # all of them do
        told = scored.at_threshold(clean, attacked, fooling, 0.0)["accuracy"]
        return {
            "pairs": cut,
            "held_out": len(held),
            "auc": scored.areas(clean, attacked, fooling)["auc"],
            "told": told,
            "notes": detector.notes_[1:],
        }

    def _taught(self, method: str, layers: tuple[str, ...], pairs: Pairs) -> SupervisedDetector:
        scale, seed = self.bench.scale, self.bench.seed
        detector: SupervisedDetector
        if method != "subnet":
            detector = SafetyNet(layers=layers, attack=self.attack, seed=seed)
        elif layers[0].endswith("/flat"):
            detector = Subnetwork(
                layers=layers,
                attack=self.attack,
                branch="convolutional",
                widths=scale.branch,
                epochs=scale.branch_epochs,
                seed=seed,
            )
        else:
            detector = Subnetwork(layers=layers, attack=self.attack, seed=seed)
        detector.fit_pairs(self.classifier, pairs.clean, pairs.attacked)
        detector.notes_ = [*self._notes, *detector.notes_]
        return detector
