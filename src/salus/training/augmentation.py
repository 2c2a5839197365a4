"""Augmenting images while training: mirrored and shifted at random, as is usual for CIFAR-10."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad

from salus.options import check_fields
from salus.training.loop import LossOf, Recipe


@dataclass(frozen=True, kw_only=True)
class FlipsAndShifts(Recipe):
    """Ordinary training on images of which half are mirrored and all are moved by a few pixels (He et al., 2016).

    What a shift brings in from outside is 0. Validation sees the images as they are. The draws are the training
    loop's, decided by its seed, so that a resumed training ends with the same weights.

    Attributes:
        flips: whether to mirror left and right; not for digits, or organs that have a side.
        shift: pixels by which an image is moved at most, up or down and left or right.
    """

    title: ClassVar[str] = "Augmentation"

    flips: Annotated[bool, Field(description="mirror half of the images left and right")] = True
    shift: Annotated[int, Field(ge=0, description="pixels by which an image is moved at most")] = 4

    def __post_init__(self) -> None:
        check_fields(self, self.title)

    def step_loss(self, model: nn.Module, x: Tensor, y: Tensor, loss_of: LossOf, progress: float, step: int) -> Tensor:
        """Compute the loss on augmented images; see :class:`salus.training.loop.Recipe`."""
        return loss_of(model(self.augment(x)), y)

    def statistics_inputs(self, x: Tensor) -> Tensor:
        """Return augmented images, as the steps see them; see :class:`salus.training.loop.Recipe`."""
        return self.augment(x)

    def augment(self, x: Tensor) -> Tensor:
        """Draw a mirroring and a shift for each image of ``x [N, C, H, W]``."""
        count, _, height, width = x.shape
        if self.flips:
            mirrored = torch.rand(count, 1, 1, 1, device=x.device) < 0.5
            x = torch.where(mirrored, x.flip(3), x)
        if not self.shift:
            return x
        down, right = torch.randint(2 * self.shift + 1, (2, count, 1), device=x.device)
        rows = down + torch.arange(height, device=x.device)  # [N, H]
        columns = right + torch.arange(width, device=x.device)  # [N, W]
        image = torch.arange(count, device=x.device)[:, None, None]
        shifted = pad(x, [self.shift] * 4)[image, :, rows[:, :, None], columns[:, None, :]]  # [N, H, W, C]
        return shifted.permute(0, 3, 1, 2)

    def describe(self) -> str:
        """Say what decides the steps; see :class:`salus.training.loop.Recipe`."""
        return repr(self)
