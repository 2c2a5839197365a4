"""Detectors of hidden states on real heartbeats, with a small network trained for the purpose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from salus.attacks import FGSM, PGD
from salus.classifier import Classifier
from salus.data import Dataset, load
from salus.detectors import build_detector
from salus.training import TrainingOptions, fit_classifier

pytestmark = pytest.mark.slow

#: The lowest area under the ROC curve that will do, under FGSM and PGD at 0.01; chance is 0.5.
FLOORS = {
    "mahalanobis:trunk.2": 0.8,
    "deep-knn:trunk.2": 0.75,
    "lid:trunk.0+trunk.1+trunk.2": 0.7,
    "kde:trunk.2": 0.8,
    "feature-squeezing": 0.85,
    "safetynet:trunk.2": 0.85,
    "subnetwork:penultimate": 0.9,
}


@dataclass(frozen=True)
class Beats:
    """A network, what it was trained on, and beats it gets right, clean and attacked."""

    classifier: Classifier
    train: Dataset
    clean: Tensor
    attacked: dict[str, Tensor]


def some(data: Dataset, most: int, seed: int) -> Dataset:
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data), generator=generator)
    return data.subset(torch.cat([order[data.y[order] == k][:most] for k in range(len(data.classes))]))


@pytest.fixture(scope="module")
def beats(mitdb_folder: Path) -> Beats:
    splits = load("mitdb", data_dir=mitdb_folder.parent)
    train = some(splits.train, 1500, 1)
    classifier, _ = fit_classifier(
        "ecg-cnn", train, some(splits.validation, 100, 2), TrainingOptions(epochs=4),
        model_options={"widths": [8, 16, 32]},
    )  # fmt: skip
    test = some(splits.test, 100, 3)
    right = classifier.predict(test.x).argmax(1) == test.y
    assert float(right.float().mean()) > 0.75
    x, y = test.x[right], test.y[right]
    attacked = {}
    for attack in (FGSM(eps=0.01), PGD(eps=0.01, early_stop=False)):
        x_adv = attack(classifier, x, y)
        attacked[attack.name] = x_adv[classifier.predict(x_adv).argmax(1) != y]
        assert len(attacked[attack.name]) >= 50
    return Beats(classifier, train, x, attacked)


@pytest.mark.parametrize("spec", FLOORS)
def test_it_tells_attacked_beats_from_clean_ones(beats: Beats, spec: str) -> None:
    name, _, layers = spec.partition(":")
    options = {"layers": layers} if layers else {}
    if name in ("safetynet", "subnetwork"):
        options["attack"] = "bim:eps=0.01"
    detector = build_detector(name, options).fit(beats.classifier, beats.train.x, beats.train.y)
    with torch.no_grad():
        clean = detector.score(beats.clean)
        for attack, x_adv in beats.attacked.items():
            attacked = detector.score(x_adv)
            truth = torch.arange(2).repeat_interleave(torch.tensor([len(clean), len(attacked)]))
            area = roc_auc_score(truth, torch.cat([clean, attacked]))
            assert area > FLOORS[spec], attack
