"""Experiment 1 on frozen features: labels flipped, last layers trained in seconds, flips looked for and dropped."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from salus import atomic
from salus.classifier import Classifier
from salus.data import Dataset, Splits
from salus.errors import DataError
from salus.hardening.folds import OutOfFold, deal_folds
from salus.hardening.label_cleaning import ConfidentLearning
from salus.hardening.label_judgement import judge
from salus.metrics import thesis_figures
from salus.models.pretrained import initial_model
from salus.training import seeded_module
from salus_studies.skin_lesion import published
from salus_studies.skin_lesion.scales import NetworkScale
from salus_studies.skin_lesion.trainings import flipped

#: How classes are weighted in the loss: not; by the labels as they are, flips and all; by the right labels (a control
#: that no victim has: it tells the flips themselves from what they do to the weights).
WEIGHTINGS = ("none", "weights", "clean-weights")

#: Strengths of the penalty that are tried on the right labels; validation loss decides, once for all.
_STRENGTHS = (1e-4, 1e-3, 1e-2)

#: Main directions of the features that last layers see: most of their variance, in a fifth of the time.
_DIRECTIONS = 256

#: What may be dropped: nothing, or what confident learning finds by one of cleanlab's rules, the sparing one first.
RULES: tuple[Any, ...] = ("nothing", "both", "prune_by_noise_rate")

#: Figures that are kept of each last layer.
_FIGURES = ("accuracy", "macro_recall", "macro_specificity")


def compute_features(place: Path, splits: Splits, spec: NetworkScale, device: str) -> dict[str, Any]:
    """Compute the states before the last layer of all images, by a network that learnt ImageNet alone.

    A network that was trained on these images would have learnt the right labels, or the flipped ones.

    Args:
        place: the file to write, ``train``, ``validation`` and ``test`` in it.
        splits: the images.
        spec: the network.
        device: where to compute.
    """
    shape, classes = tuple(splits.train.x.shape[1:]), splits.train.classes
    module = seeded_module(lambda: initial_model(spec.architecture, shape, len(classes), spec.options), 0)
    classifier = Classifier(module, classes, shape=shape, bounds=splits.train.bounds, name=spec.architecture)
    classifier = classifier.to(device)
    states = {
        name: _states(classifier, part.x, device)
        for name, part in (("train", splits.train), ("validation", splits.validation), ("test", splits.test))
    }
    atomic.write_tensors(place, states)
    return {"features": states["train"].shape[1], "images": {name: len(part) for name, part in states.items()}}


@torch.no_grad()
def _states(classifier: Classifier, x: Tensor, device: str) -> Tensor:
    parts = [classifier.states(part.to(device), ["penultimate"]).hidden["penultimate"].cpu() for part in x.split(128)]
    return torch.cat(parts).contiguous()


@dataclass(frozen=True, eq=False)
class Heads:
    """Last layers over features of one network.

    Attributes:
        splits: the images, for their labels.
        features: of each part, ``[N, D]``: the main directions of the training part's, each of which had mean 0 and
            deviation 1.
        strength: of the inverse penalty.
    """

    splits: Splits
    features: Mapping[str, NDArray[np.float64]]
    strength: float

    @classmethod
    def read(cls, place: Path, splits: Splits) -> Heads:
        """Read features, keep their main directions, and choose the penalty on the right labels by validation loss."""
        raw = {name: value.double().numpy() for name, value in load_file(place).items()}
        mean, deviation = raw["train"].mean(0), raw["train"].std(0) + 1e-6
        even = {name: (value - mean) / deviation for name, value in raw.items()}
        _, directions = np.linalg.eigh(even["train"].T @ even["train"])
        main = directions[:, ::-1][:, :_DIRECTIONS]  # of the largest variance first
        heads = cls(splits, {name: value @ main for name, value in even.items()}, _STRENGTHS[0])
        y, truth = splits.train.y.cpu().numpy(), splits.validation.y.cpu().numpy()
        losses = {}
        for strength in _STRENGTHS:
            chances = replace(heads, strength=strength).probabilities(heads.features["train"], y, None, "validation")
            losses[strength] = float(-np.log(np.maximum(chances[np.arange(len(truth)), truth], 1e-12)).mean())
        return replace(heads, strength=min(losses, key=lambda each: losses[each]))

    def probabilities(
        self, x: NDArray[Any], y: NDArray[Any], weight: NDArray[Any] | None, part: str | NDArray[Any]
    ) -> NDArray[np.float64]:
        """Train on ``x [N, D]`` with labels ``y [N]``; give the classes' probabilities of a part ``[M, K]``."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=self.strength, max_iter=300, tol=1e-3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x, y, sample_weight=weight)
        asked = self.features[part] if isinstance(part, str) else part
        chances = np.zeros((len(asked), len(self.splits.train.classes)))
        chances[:, model.classes_] = model.predict_proba(asked)
        return chances

    def figures(self, data: Dataset, rows: Tensor | None, weighting: str) -> dict[str, float | None]:
        """Train on some rows of the training part, labelled as data say, and count its answers to the test part.

        Args:
            data: the training part as it is labelled.
            rows: those that are kept; None for all.
            weighting: one of ``WEIGHTINGS``.
        """
        kept = torch.arange(len(data)) if rows is None else rows
        y = data.y.cpu()[kept].numpy()
        weight = None
        if weighting != "none":
            counted = y if weighting == "weights" else self.splits.train.y.cpu().numpy()
            counts = np.bincount(counted, minlength=len(data.classes))
            weight = (counts.sum() / (len(counts) * np.maximum(counts, 1)))[y]
        answers = self.probabilities(self.features["train"][kept.numpy()], y, weight, "test").argmax(1)
        return told(answers, self.splits.test)


def told(answers: NDArray[Any], test: Dataset) -> dict[str, float | None]:
    """Say of answers ``[N]`` to the test part what the page shows, the attack's own aim with it."""
    figures = thesis_figures(test.y, answers, test.classes, published.POSITIVE)
    source, target = (test.classes.index(name) for name in (published.POISONED_SOURCE, published.POISONED_TARGET))
    of_source = answers[test.y.cpu().numpy() == source]
    return {
        **{name: figures[name] for name in _FIGURES},
        "fnr": figures["health"]["medical"]["fnr"],
        "fnr_thesis": figures["health"]["thesis"]["fnr"],
        "aim": float((of_source == target).mean()) if len(of_source) else None,
    }


def trained_and_cleaned(heads: Heads, share: float, seed: int, folds: int) -> dict[str, Any]:
    """Flip labels, train, look for the flips with last layers that never saw the image, drop them, train again.

    Args:
        heads: the features.
        share: of NV that is labelled BKL; 0 for none.
        seed: of the draw.
        folds: last layers that look for flips.

    Returns:
        ``rows``, one for each weighting before and after; how well the flips were found by the usual rule; and what was
        dropped, by which.
    """
    train = heads.splits.train
    data = flipped(train, share, seed) if share else train
    rows: list[dict[str, Any]] = [
        {"labels": "poisoned" if share else "right", "weighting": each, **heads.figures(data, None, each)}
        for each in WEIGHTINGS
    ]
    answers = _out_of_fold(heads, data, folds, seed)
    finds = ConfidentLearning(folds=folds, seed=seed).finds(data.y.cpu(), answers)
    facts: dict[str, Any] = {"flagged": int(finds.flags.sum())}
    judgement = judge(finds, data)
    if judgement is not None:
        facts |= {"flips": judgement.flipped, "found": judgement.recall.value, "precision": judgement.precision.value}
    rule, kept = _chosen(heads, data, answers)
    facts |= {"rule": rule, "dropped": len(data) - len(kept)}
    rows += [{"labels": "cleaned", "weighting": each, **heads.figures(data, kept, each)} for each in WEIGHTINGS]
    return {"rows": rows, **facts}


def _chosen(heads: Heads, data: Dataset, answers: OutOfFold) -> tuple[str, Tensor]:
    """Choose by validation images, whose labels are right, what is dropped: nothing, or what one of the rules finds.

    Returns:
        The rule's name, and the rows that are kept.
    """
    y, truth = data.y.cpu(), heads.splits.validation.y.cpu().numpy()
    best: tuple[float, str, Tensor] | None = None
    for rule in RULES:
        kept = torch.arange(len(data))
        if rule != RULES[0]:
            flags = ConfidentLearning(filter_by=rule).finds(y, answers).flags
            kept = (~flags).nonzero()[:, 0]
        if not len(kept) or len(y[kept].unique()) < 2:
            continue
        chances = heads.probabilities(heads.features["train"][kept.numpy()], y[kept].numpy(), None, "validation")
        right = float((chances.argmax(1) == truth).mean())
        if best is None or right > best[0]:
            best = right, rule, kept
    if best is None:
        raise DataError("No two classes are left in the training part; flip a smaller share.")
    return best[1], best[2]


def _out_of_fold(heads: Heads, data: Dataset, folds: int, seed: int) -> OutOfFold:
    """Let last layers judge images that they did not learn, whole lesions at a time."""
    fold, y = deal_folds(data, folds, seed), data.y.cpu().numpy()
    chances = np.zeros((len(data), len(data.classes)))
    seen = np.zeros(len(data), dtype=bool)
    for number in range(folds):
        inside = (fold == number).numpy()
        x = heads.features["train"]
        chances[inside] = heads.probabilities(x[~inside], y[~inside], None, x[inside])
        seen[inside] = np.isin(y[inside], np.unique(y[~inside]))
    return OutOfFold(torch.from_numpy(chances), fold, torch.from_numpy(seen))


def flat(network: str, share: float, seed: int, content: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    """Spread what one draw of flips came to over records, one for each last layer."""
    shared = {"network": network, "share": share, "seed": seed, "way": "features"}
    state = {"status": content["status"], "reason": content["reason"]}
    if content["status"] != "done":
        return [{**shared, "labels": "poisoned", "weighting": "none", **state}]
    finds = {
        name: content[name] for name in ("flagged", "flips", "found", "precision", "rule", "dropped") if name in content
    }
    return [{**shared, **row, **(finds if row["labels"] == "cleaned" else {}), **state} for row in content["rows"]]
