"""Figure 1: hidden states of clean and of attacked images, in the two directions in which the clean ones vary most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from salus.classifier import Classifier
from salus.detectors import IDefender
from salus_studies.i_defender.bench import Bench, Material, first
from salus_studies.i_defender.choice import StateModel, hidden

#: Two classes beside each other, and points drawn of each.
SHOWN, POINTS = (1, 2), 200


def draw_states(
    bench: Bench,
    material: Material,
    classifier: Classifier,
    setting: StateModel,
    attack: Callable[[Tensor, Tensor], Tensor],
    how: dict[str, Any],
    images: int | None,
) -> None:
    """Store what Figure 1 shows of one classifier.

    Args:
        bench: where it is stored.
        material: the data.
        classifier: whose states they are.
        setting: the I-defender whose layer is shown, and its mixtures.
        attack: attacks test images ``[N, ...]`` with labels ``[N]``.
        how: says how.
        images: how many are attacked; None for all.
    """
    data, layer = material.splits.name, setting.layer
    blank = {"data": data, "layer": layer.name, "title": layer.title, **how}
    key = [
        classifier.fingerprint(),
        setting.describe(),
        material.splits.test.fingerprint(),
        bench.scale.fitting,
        bench.seed,
        how,
        images,
    ]

    def measure() -> dict[str, Any]:
        test = first(material.test, images)
        shown = attack(test.x, test.y)
        detector = setting.fit(classifier, material, bench.scale.fitting, bench.seed)
        clean, other = (plane(classifier, detector, x) for x in (test.x, shown))  # [N, 2] each
        y, answers = test.y.cpu(), classifier.predict(shown).argmax(1).cpu()
        wrong = answers != y
        taken = int(torch.bincount(answers[wrong], minlength=len(test.classes)).argmax())
        return {
            "classes": [test.classes[label] for label in SHOWN],
            "clean": [_rounded(clean[y == label]) for label in SHOWN],
            "mixtures": [marginal(detector, label) for label in SHOWN],
            "taken_for": test.classes[taken],
            "own": _rounded(clean[y == taken]),
            "attacked": _rounded(other[wrong & (answers == taken)]),
            "own_mixture": marginal(detector, taken),
        }

    bench.record("figure_1", f"figure-1-{data}", "figure 1", key, measure, blank)


def plane(classifier: Classifier, detector: IDefender, x: Tensor) -> Tensor:
    """Project the states of images ``[N, ...]`` onto the first two components that a detector keeps, ``[N, 2]``."""
    (layer,) = detector.layers
    states = hidden(classifier, (layer,), x)[layer]
    project, offset = (detector.learnt_[f"{layer}|{name}"].cpu() for name in ("project", "offset"))
    reduced = states @ project - offset
    return reduced[:, :2]


def marginal(detector: IDefender, label: int) -> list[dict[str, Any]]:
    """Give the Gaussians of a class in the first two components: each one's weight, mean and covariance.

    A Gaussian's marginal has the corresponding parts of its mean and covariance.
    """
    (layer,) = detector.layers
    parts = {name: detector.learnt_[f"{layer}|{name}"].double().cpu() for name in ("whiten", "shift", "constant")}
    classes, count = parts["constant"].shape
    d = detector.learnt_[f"{layer}|project"].shape[1]
    gaussians = []
    for number in range(label * count, (label + 1) * count):
        constant = float(parts["constant"].flatten()[number])
        if constant == -torch.inf:  # fills up classes of fewer Gaussians
            continue
        if detector.covariance == "diag":
            root, shift = parts["whiten"][number].diag(), parts["shift"][number]
        else:
            root = parts["whiten"].view(d, classes * count, d)[:, number]
            shift = parts["shift"].view(classes * count, d)[number]
        inverse = torch.linalg.inv(root)
        covariance, mean = inverse.T @ inverse, shift @ inverse  # z = h root - shift
        volume = float(torch.linalg.slogdet(root).logabsdet) - 0.5 * d * float(torch.log(torch.tensor(2 * torch.pi)))
        gaussians.append(
            {
                "weight": round(float(torch.exp(torch.tensor(constant - volume))), 4),
                "mean": _flat(mean[:2]),
                "covariance": [_flat(row) for row in covariance[:2, :2]],
            }
        )
    return gaussians


def _flat(values: Tensor) -> list[float]:
    return [round(float(value), 4) for value in values]


def _rounded(points: Tensor) -> list[list[float]]:
    return [_flat(point) for point in points[:POINTS]]
