"""The convolutional branch that tells attacked inputs by a classifier's maps (Metzen et al., ICLR 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Maps are halved while their shorter side is at least so long.
_HALVED_FROM = 8

#: Weights and biases of each convolution, batch normalisation folded in.
Folded = list[tuple[Tensor, Tensor]]


class DetectorBranch(nn.Module):
    """Convolutions of 3x3 with batch normalisation and ReLU, one of 1x1 to two maps, and the mean over positions.

    After each of the first two convolutions the maps are halved by taking maxima where their sides are 8 or more, as
    Metzen et al. leave the halvings out on small maps. Signals have convolutions of 3.

    Args:
        shape: of the maps, ``[C, L]`` or ``[C, H, W]``; they come flattened.
        widths: maps of each convolution.

    References:
        Metzen, Genewein, Fischer and Bischoff, "On detecting adversarial perturbations", ICLR 2017, Figure 1.
    """

    def __init__(self, shape: Sequence[int], widths: Sequence[int] = (96, 192, 192)) -> None:
        super().__init__()
        self.shape = tuple(shape)
        plane = len(self.shape) == 3
        convolution, normalisation = (nn.Conv2d, nn.BatchNorm2d) if plane else (nn.Conv1d, nn.BatchNorm1d)
        self.first = normalisation(self.shape[0], affine=False)
        pairs = list(pairwise((self.shape[0], *widths)))
        self.convolutions = nn.ModuleList(convolution(*pair, 3, padding=1, bias=False) for pair in pairs)
        self.normalisations = nn.ModuleList(normalisation(after) for _, after in pairs)
        self.last = convolution(widths[-1], 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``[N, 2]``, clean and attacked, of flattened maps ``x [N, C H W]``."""
        states = self.first(x.unflatten(1, self.shape))
        for number, (convolution, normalisation) in enumerate(self.stages()):
            states = halved(functional.relu(normalisation(convolution(states))), number)
        logits: Tensor = self.last(states).flatten(2).mean(2)
        return logits

    def stages(self) -> Iterator[tuple[Any, Any]]:
        """Give each convolution but the last with its normalisation."""
        return zip(self.convolutions, self.normalisations, strict=True)

    @torch.no_grad()
    def folded(self) -> Folded:
        """Fold the batch normalisations of eval mode into the convolutions; see :func:`run_folded`."""
        convolutions: Folded = []
        deviation = (_tensor(self.first.running_var) + self.first.eps).sqrt()
        shift = _tensor(self.first.running_mean) / deviation  # the padding of the first convolution stands for the mean
        convolutions.append((1 / deviation, -shift))
        for convolution, normalisation in self.stages():
            scale = normalisation.weight / (normalisation.running_var + normalisation.eps).sqrt()
            weight = convolution.weight * scale.view(-1, *(1,) * (convolution.weight.ndim - 1))
            convolutions.append((weight, normalisation.bias - normalisation.running_mean * scale))
        convolutions.append((self.last.weight, _tensor(self.last.bias)))
        return [(weight.detach().clone(), bias.detach().clone()) for weight, bias in convolutions]


def run_folded(convolutions: Folded, x: Tensor, shape: Sequence[int]) -> Tensor:
    """Compute what a branch computes in eval mode, logits ``[N, 2]`` of flattened maps ``x [N, C H W]``.

    Args:
        convolutions: what :meth:`DetectorBranch.folded` gave.
        x: the maps; differentiable.
        shape: of the maps.
    """
    convolve = functional.conv2d if len(shape) == 3 else functional.conv1d
    (scale, shift), *stages, (weight, bias) = convolutions
    broad = (-1, *(1,) * (len(shape) - 1))
    states = x.unflatten(1, tuple(shape)) * scale.view(broad) + shift.view(broad)
    for number, (weights, biases) in enumerate(stages):
        states = halved(functional.relu(convolve(states, weights, biases, padding=1)), number)
    return convolve(states, weight, bias).flatten(2).mean(2)


def halved(states: Tensor, number: int) -> Tensor:
    """Halve maps ``[N, C, ...]`` behind the first two convolutions where they are large enough."""
    if number > 1 or min(states.shape[2:]) < _HALVED_FROM:
        return states
    return functional.max_pool2d(states, 2) if states.ndim == 4 else functional.max_pool1d(states, 2)


def _tensor(value: Tensor | None) -> Tensor:
    return torch.zeros(()) if value is None else value
