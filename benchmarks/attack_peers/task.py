"""What every library is given, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

#: An attack on (model, x, y); returns x_adv.
Attack = Callable[[nn.Module, Tensor, Tensor], Tensor]

#: The two settings under which each library is run; the row's name fixes eps and the budget in both.
OURS, DEFAULTS = "ours", "defaults"


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """One row of the table on one data set.

    Attributes:
        row: name of the row.
        data: name of the data.
        model: the plain model, in eval mode.
        x: samples to attack ``[N, ...]`` in [0, 1], which the model gets right.
        y: their labels.
        classes: number of classes.
        norm: ``"linf"`` or ``"l2"``.
        eps: radius of the ball; None where the smallest change is looked for.
        budget: steps, searches or queries.
        few: samples for attacks that take one sample after another.
        held_out: other samples and labels, on which a universal perturbation is judged.
        starts: for each sample one of another class, for attacks that start from an adversarial sample.
    """

    row: str
    data: str
    model: nn.Module
    x: Tensor
    y: Tensor
    classes: int
    norm: str
    eps: float | None
    budget: Mapping[str, int]
    few: int
    held_out: tuple[Tensor, Tensor]
    starts: Tensor

    @property
    def radius(self) -> float:
        """The radius of the ball."""
        assert self.eps is not None
        return self.eps

    @property
    def stride(self) -> float:
        """The step size of our settings."""
        return 2.5 * self.radius / self.budget["steps"]

    @property
    def is_image(self) -> bool:
        """Samples have a channel, a height and a width, as some libraries demand."""
        return self.x.ndim == 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Contender:
    """One library's attack under one setting.

    Attributes:
        library: the distribution's name on the package index, or ``"salus"``.
        settings: what it was set to, in a word or two.
        attack: the attack.
        samples: attack only the first so many; None for all.
    """

    library: str
    settings: str
    attack: Attack
    samples: int | None = field(default=None)


class Counted(nn.Module):
    """Counts the samples that pass through a model forward and backward; wrapped around it for every library."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.queries = self.backward_passes = 0

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits and count."""
        self.queries += len(x)
        logits: Tensor = self.model(x)
        if logits.requires_grad:
            logits.register_hook(self._count)
        return logits

    def _count(self, gradient: Tensor) -> None:
        self.backward_passes += len(gradient)


class FourD(nn.Module):
    """Shows a model of signals ``[N, C, L]`` to a library that knows images ``[N, C, 1, L]`` alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits of the signals."""
        logits: Tensor = self.model(x.squeeze(2))
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


def as_images(attack: Attack) -> Attack:
    """Give signals to an attack as images of height 1."""

    def attacked(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return attack(FourD(model).eval(), x.unsqueeze(2), y).squeeze(2)

    return attacked
