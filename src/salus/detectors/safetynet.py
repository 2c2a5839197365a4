"""SafetyNet: a support vector machine on quantised activations (Lu, Issaranon and Forsyth, ICCV 2017)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from salus.detectors.hidden import Layers, LayerwiseDetector, Seed, squared_distances
from salus.detectors.supervised import MaxAttacked, SupervisedDetector, TaughtBy
from salus.options import checked

#: What cross-validation chooses from: the cost C, and gamma in units of 1 / (the codes' total variance).
COSTS = (1.0, 10.0, 100.0)
GAMMAS = (0.1, 0.3, 1.0, 3.0)
_FOLDS = 3

#: Pairs that cross-validation gets at most, evenly spaced; its time grows with their square.
_CHOOSING = 1500


class SafetyNet(SupervisedDetector, LayerwiseDetector):
    """Rejects an input whose quantised activations a support vector machine takes for an attacked one's.

    Each value of a late layer becomes a code, the number of thresholds it exceeds (binary or quaternary codes in the
    paper); an SVM with the kernel ``exp(-gamma |c - c_i|^2)`` tells the codes of attacked samples from those of clean
    ones. The score is its decision function, whatever the class. Several layers have an SVM each, and their decision
    functions are added up (the multi-layer variant, which I-defender's Table 6 calls mSVM).

    The thresholds are quantiles of each value over the clean samples; C and gamma are chosen by the area under the ROC
    curve in cross-validation on 1,500 pairs at most, a sample and its attacked copy always in the same fold. Codes are
    steps and have no gradient; an adaptive attacker sees that of a sigmoid in the place of each step.

    Args:
        layers: named layers of the classifier: ``logits``, ``penultimate`` (input of the last layer) or
            a module's name (averaged over positions; ``NAME/flat`` keeps them).
        attack: what attacked samples are made by, see :class:`SupervisedDetector`; BIM, as in I-defender's Table 6.
        levels: values that a code has.
        max_samples: samples of each class that are attacked, drawn at random.
        seed: of the draws, and of the attack.
    """

    name: ClassVar[str] = "safetynet"
    title: ClassVar[str] = "SafetyNet"

    @checked
    def __init__(
        self,
        *,
        layers: Layers = ("penultimate",),
        attack: TaughtBy = "bim:eps=0.01",
        levels: Annotated[int, Field(ge=2, le=16, description="values that a code has")] = 4,
        max_samples: MaxAttacked = 200,
        seed: Seed = 0,
    ) -> None:
        super().__init__(layers, attack, max_samples, seed)
        self.levels = levels

    def learn(self, clean: Tensor, attacked: Tensor) -> None:
        """Fit an SVM to each layer's states of clean samples and of their attacked copies, ``[P, ...]`` each."""
        before, after = self.hidden(clean), self.hidden(attacked)
        for layer in self.layers:
            self._fit_layer(layer, before.pop(layer), after.pop(layer))

    def codes(self, layer: str, hidden: Tensor) -> Tensor:
        """Quantise states ``[N, D]`` to codes from 0 to 1, with the gradient of sigmoids."""
        thresholds, width = (self.learnt(f"{layer}|{name}", hidden) for name in ("thresholds", "width"))  # [T, D], [D]
        hard = torch.zeros_like(hidden)
        for threshold in thresholds:
            hard = hard + (hidden.detach() > threshold)
        if hidden.requires_grad:
            for threshold in thresholds:
                soft = ((hidden - threshold) / width).sigmoid()
                hard = hard + (soft - soft.detach())
        return hard / len(thresholds)

    def layer_scores(self, layer: str, hidden: Tensor) -> Tensor:
        """Return the decision function of a layer's SVM, ``[N, 1]``; positive = attacked."""
        support, weights, gamma, offset = (
            self.learnt(f"{layer}|{name}", hidden) for name in ("support", "weights", "gamma", "offset")
        )
        codes = support.to(hidden.dtype) / (self.levels - 1)  # [S, D]
        kernel = (-gamma * squared_distances(self.codes(layer, hidden), codes)).exp()  # [N, S]
        return (kernel @ weights + offset)[:, None]

    @torch.no_grad()
    def _fit_layer(self, layer: str, clean: Tensor, attacked: Tensor) -> None:
        from sklearn.svm import SVC

        cuts = np.arange(1, self.levels) / self.levels
        self.learnt_[f"{layer}|thresholds"] = torch.from_numpy(np.quantile(clean.numpy(), cuts, axis=0)).float()
        self.learnt_[f"{layer}|width"] = clean.std(0, correction=0).clamp_min(1e-6) / self.levels
        codes = self.codes(layer, torch.cat([clean, attacked]))  # [2P, D]
        target = np.repeat([0, 1], len(clean))
        unit = 1 / max(float(codes.double().var(0).sum()), 1e-12)
        few = torch.linspace(0, len(clean) - 1, min(len(clean), _CHOOSING)).long()  # evenly spaced
        few = torch.cat([few, few + len(clean)])
        gamma, cost, reached = _choose(_squared(codes[few]), target[few.numpy()], unit)
        kernel = _squared(codes)  # [2P, 2P]; gigabytes of ten thousand pairs, so in place
        np.multiply(kernel, -gamma, out=kernel)
        machine = SVC(C=cost, kernel="precomputed").fit(np.exp(kernel, out=kernel), target)
        learnt = {
            "support": (codes[machine.support_] * (self.levels - 1)).round().to(torch.uint8),
            "weights": torch.from_numpy(machine.dual_coef_[0]).float(),
            "gamma": torch.tensor(gamma),
            "offset": torch.tensor(float(machine.intercept_[0])),
        }
        self.learnt_ |= {f"{layer}|{name}": value for name, value in learnt.items()}
        self.notes_.append(
            f"{layer}: {len(machine.support_)} support vectors, C {cost:g}, gamma {gamma:.2g}, "
            f"cross-validated AUC {reached:.3f}"
        )

    def describe(self) -> str:
        """Say what was fitted, for reports."""
        return f"SafetyNet on {', '.join(self.layers)}; {'; '.join(self.notes_)}; {self.rule}"


def _squared(codes: Tensor) -> np.ndarray[Any, Any]:
    """Return all squared distances between codes from 0 to 1 ``[M, D]``, ``[M, M]``."""
    middled = codes - 0.5
    return squared_distances(middled, middled).numpy()


def _choose(squared: np.ndarray[Any, Any], target: np.ndarray[Any, Any], unit: float) -> tuple[float, float, float]:
    """Choose gamma and C by cross-validation on squared distances of pairs; return them and the AUC reached."""
    from sklearn.model_selection import GroupKFold, cross_val_score
    from sklearn.svm import SVC

    pair = np.arange(len(target)) % (len(target) // 2)
    candidates = []
    for gamma in (unit * factor for factor in GAMMAS):
        kernel = np.exp(-gamma * squared)
        for cost in COSTS:
            machine = SVC(C=cost, kernel="precomputed")
            each = cross_val_score(machine, kernel, target, groups=pair, cv=GroupKFold(_FOLDS), scoring="roc_auc")
            candidates.append((float(each.mean()), gamma, cost))
    reached, gamma, cost = max(candidates, key=lambda one: one[0])
    return gamma, cost, reached
