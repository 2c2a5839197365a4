"""Batch normalisation of image networks is validated with statistics of the weights as they are."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from salus.attacks import PGD
from salus.data.base import Dataset, Provenance
from salus.hardening.adversarial_training import AdversarialTraining
from salus.models import build_model
from salus.training import Epoch, FlipsAndShifts, History, Recipe, TrainingOptions, TransferOptions, train
from salus.training.loop import seeded_module
from salus.training.statistics import refresh_statistics

OPTIONS = TrainingOptions(epochs=8, batch_size=32, learning_rate=1e-2, keep="last")


class Gathered(Recipe):
    """Ordinary training whose batch normalisation keeps the statistics of the steps."""

    def statistics_inputs(self, x: Tensor) -> Tensor | None:
        return None


def images(n: int = 192, seed: int = 0) -> Dataset:
    """Bright grey images of little contrast, stripes of one in four lying across."""
    rng = torch.Generator().manual_seed(seed)
    y = (torch.rand(n, generator=rng) < 0.25).long()
    phase = 2 * math.pi * torch.rand(n, 1, 1, generator=rng)
    wave = torch.sin(2 * math.pi * torch.arange(16) / 5 + phase).expand(n, 16, 16)  # [N, H, W]
    stripes = torch.where(y[:, None, None] == 1, wave.transpose(1, 2), wave)
    brightness = 0.7 + 0.05 * torch.randn(n, 1, 1, generator=rng)
    x = brightness + 0.04 * stripes + 0.04 * torch.randn(n, 16, 16, generator=rng)
    return Dataset(x.clamp(0, 1)[:, None], y, ("along", "across"), Provenance("stripes", "a test"))


def network(seed: int = 0) -> nn.Module:
    return seeded_module(lambda: build_model("small-cnn", (1, 16, 16), 2, {"widths": [8, 16], "hidden": 16}), seed)


def norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]


def state(module: nn.Module) -> Tensor:
    return torch.cat([value.detach().flatten().double() for value in module.state_dict().values()])


def statistics(module: nn.Module) -> Tensor:
    return torch.cat([torch.cat([norm.running_mean, norm.running_var]) for norm in norms(module)])  # type: ignore[list-item]


def lag(module: nn.Module, x: Tensor) -> float:
    """Return how far running means lie from those of x, in standard deviations, at most."""
    gaps: list[float] = []

    def look(norm: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        var, mean = torch.var_mean(inputs[0], dim=(0, 2, 3))
        assert norm.running_mean is not None
        gaps.append(float(((norm.running_mean - mean).abs() / var.sqrt()).max()))

    hooks = [norm.register_forward_pre_hook(look) for norm in norms(module)]  # type: ignore[arg-type]
    mode = module.training
    with torch.no_grad():
        module.eval()(x)
    module.train(mode)
    for hook in hooks:
        hook.remove()
    return max(gaps)


def trained(recipe: Recipe | None = None, seed: int = 0) -> tuple[History, list[float]]:
    """Train; return the history, and after every epoch how far the running statistics lagged."""
    module, data, lags = network(seed), images(), []
    history = train(
        module, data, images(400, seed=1), replace(OPTIONS, seed=seed), recipe=recipe,
        on_epoch=lambda epoch: lags.append(lag(module, data.x)),
    )  # fmt: skip
    return history, lags


def falls(history: History) -> float:
    accuracies = [epoch.accuracy for epoch in history.epochs][2:]
    return max(before - after for before, after in zip(accuracies, accuracies[1:], strict=False))


if __name__ == "__main__":
    for seed in range(6):
        for recipe in (Gathered(), Recipe()):
            history, lags = trained(recipe, seed)
            print(seed, type(recipe).__name__, f"{falls(history):.2f}", [f"{e.accuracy:.2f}" for e in history.epochs], [f"{v:.2f}" for v in lags])
