"""Kernel density of the hidden states of the predicted class (Feinman et al., 2017)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from salus.detectors.hidden import Layers, Seed, squared_distances
from salus.detectors.neighbours import Kept, ReferenceDetector
from salus.options import checked

#: Bandwidths to choose from, in units of the typical distance to the nearest neighbour, a dimension.
_FACTORS = tuple(2 ** (step / 4) for step in range(-8, 17))


class KDE(ReferenceDetector):
    """Rejects an input whose hidden state is unlikely under a Gaussian kernel density of the predicted class.

    The score under class c is ``-log (1/n_c sum_i N(h; h_i, b_c^2 I))`` over the kept states of that class (Feinman et
    al., Section 4.1). Each class's bandwidth is the one under which its states, each held out in turn, are likeliest.

    Args:
        layers: named layers of the classifier: ``logits``, ``penultimate`` (input of the last linear layer, the
            paper's) or a module's name (averaged over positions; ``NAME/flat`` keeps them). Their standardised scores
            are added up.
        max_samples: samples kept of each class, drawn at random.
        seed: of the draws.
    """

    name: ClassVar[str] = "kde"
    likelihoods: ClassVar[bool] = True
    title: ClassVar[str] = "KDE"
    _needs: ClassVar[str] = "Give more."

    @checked
    def __init__(self, *, layers: Layers = ("penultimate",), max_samples: Kept = 500, seed: Seed = 0) -> None:
        super().__init__(layers, max_samples, seed)

    @property
    def least(self) -> int:
        """Two: one to hold out."""
        return 2

    def prepare(self, layer: str) -> None:
        """Choose each class's bandwidth."""
        chosen = [_bandwidth(states) for states in self.of_class(layer)]
        self.learnt_[f"{layer}|bandwidths"] = torch.tensor(chosen)
        self.notes_.append(f"{layer}: bandwidths {', '.join(f'{bandwidth:.3g}' for bandwidth in chosen)}")

    def reference_scores(self, layer: str, squared: tuple[Tensor, ...]) -> Tensor:
        """Return minus the log-density under each class, ``[N, K]``."""
        width = self.learnt_[f"{layer}|states"].shape[1]
        bandwidths = self.learnt(f"{layer}|bandwidths", squared[0])
        each = [_log_density(part, bandwidth, width) for part, bandwidth in zip(squared, bandwidths, strict=True)]
        return -torch.stack(each, dim=1)

    def describe(self) -> str:
        """Say what was fitted, for reports."""
        return (
            f"Kernel density of at most {self.max_samples} states of each class; {'; '.join(self.notes_)}; {self.rule}"
        )


def _log_density(squared: Tensor, bandwidth: Tensor, width: int) -> Tensor:
    """Compute ``[N]`` from squared distances ``[N, n]`` in so many dimensions; infinite ones are left out."""
    variance = bandwidth.square()
    kept = squared.isfinite().sum(1)
    return (-squared / (2 * variance)).logsumexp(1) - kept.log() - width / 2 * (2 * math.pi * variance).log()


def _bandwidth(states: Tensor) -> float:
    """Choose the bandwidth under which states ``[n, D]``, each held out in turn, are likeliest."""
    points = states.double()
    squared = squared_distances(points, points).fill_diagonal_(torch.inf)
    nearest = squared.amin(1).median().clamp_min(1e-6 * float(points.square().sum(1).mean()) + 1e-30)
    unit = (nearest / states.shape[1]).sqrt()
    densities = [float(_log_density(squared, unit * factor, states.shape[1]).mean()) for factor in _FACTORS]
    return float(unit * _FACTORS[max(range(len(densities)), key=densities.__getitem__)])
