"""Views of a model for libraries that take images, ten classes, or nothing but float32, alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Attack = Callable[[nn.Module, Tensor, Tensor], Tensor]


class AsImages(nn.Module):
    """Shows a model of signals ``[N, C, L]`` or tables ``[N, F]`` to a library that knows images alone."""

    def __init__(self, model: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.model, self.shape = model, shape

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits of the samples."""
        logits: Tensor = self.model(x.reshape(len(x), *self.shape))
        return logits


class Padded(nn.Module):
    """Adds classes that never win, for a library that demands ten."""

    def __init__(self, model: nn.Module, classes: int = 10) -> None:
        super().__init__()
        self.model, self.classes = model, classes

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits and append those of no class, 100 below the lowest."""
        logits: Tensor = self.model(x)
        missing = self.classes - logits.shape[1]
        if missing <= 0:
            return logits
        floor = logits.detach().amin(1, keepdim=True) - 100
        return torch.cat([logits, floor.expand(-1, missing)], 1)


class InFloat32(nn.Module):
    """Takes what a library has turned into float64 by accident back to float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits in float32."""
        logits: Tensor = self.model(x.float())
        return logits


def as_images(model: nn.Module, x: Tensor, y: Tensor, attack: Attack) -> Tensor:
    """Let an attack see samples as images: a signal of height 1, a table of one channel and height 1."""
    if x.ndim == 4:
        return attack(model, x, y)
    image = x.unsqueeze(2) if x.ndim == 3 else x[:, None, None]
    return attack(AsImages(model, tuple(x.shape[1:])).eval(), image, y).reshape(x.shape)
