"""The networks of the code released with MultiMagNet: its MNIST classifier, and the surrogate that attacks start from.

Facts of ``classifiers/classifier.py`` and ``adv_attacks/adversarial_attacks.py`` in the repository MultiMagNet of
github.com/gabrielrmachado.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from salus.errors import ModelError
from salus.models.signal import together
from salus.options import checked

HIDDEN, SURROGATE_HIDDEN = 128, 512


class MultiMagNetMNIST(nn.Module):
    """The classifier that MultiMagNet defends on MNIST: three unpadded convolutions, each with a pooling behind it.

    A convolution of 64 filters of 5x5 and two of 128 of 3x3, a linear layer of 128, then the classes. 28x28 pixels
    become 12x12, 5x5 and 1x1.

    Args:
        channels: channels of an image.
        height: of an image, 24 or more.
        width: of an image, 24 or more.
        classes: number of classes.

    References:
        Machado, Goldschmidt and Silva, "MultiMagNet", ICEIS 2019, Section 5.2 and the code released with it.
    """

    @checked
    def __init__(self, channels: int, height: int, width: int, classes: int) -> None:
        super().__init__()
        _refuse_small("multimagnet-mnist", 24, height, width)
        sides = [((((side - 4) // 2 - 2) // 2) - 2) // 2 for side in (height, width)]
        self.trunk = nn.Sequential(
            nn.Conv2d(channels, 64, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 128, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(0.2),
            nn.Conv2d(128, 128, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.hidden = nn.Sequential(nn.Linear(128 * sides[0] * sides[1], HIDDEN), nn.ReLU())
        self.head = nn.Linear(HIDDEN, classes)
        together(self)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``[N, K]`` of ``x [N, C, H, W]``."""
        states = self.trunk(x.contiguous(memory_format=torch.channels_last))  # [N, 128, 1, 1] for 28x28
        logits: Tensor = self.head(self.hidden(states.flatten(1)))
        return logits


class MultiMagNetSurrogate(nn.Module):
    """The surrogate that MultiMagNet's generator of attacked images trains when it is handed no classifier.

    Twice a padded and an unpadded convolution of 3x3 and a pooling, of 32 and 64 filters, then a linear layer of 512.

    Args:
        channels: channels of an image.
        height: of an image, 10 or more.
        width: of an image, 10 or more.
        classes: number of classes.

    References:
        Machado, Goldschmidt and Silva, "MultiMagNet", ICEIS 2019, the code released with it.
    """

    @checked
    def __init__(self, channels: int, height: int, width: int, classes: int) -> None:
        super().__init__()
        _refuse_small("multimagnet-surrogate", 10, height, width)
        sides = [((side - 2) // 2 - 2) // 2 for side in (height, width)]
        self.trunk = nn.Sequential(*_stage(channels, 32), *_stage(32, 64))
        self.hidden = nn.Sequential(nn.Linear(64 * sides[0] * sides[1], SURROGATE_HIDDEN), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(SURROGATE_HIDDEN, classes)
        together(self)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``[N, K]`` of ``x [N, C, H, W]``."""
        states = self.trunk(x.contiguous(memory_format=torch.channels_last))  # [N, 64, 5, 5] for 28x28
        logits: Tensor = self.head(self.hidden(states.flatten(1)))
        return logits


def _stage(before: int, after: int) -> list[nn.Module]:
    return [
        nn.Conv2d(before, after, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(after, after, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
    ]


def _refuse_small(name: str, smallest: int, height: int, width: int) -> None:
    if min(height, width) < smallest:
        raise ModelError(f"Model {name!r} takes images of {smallest}x{smallest} or more, not {height}x{width}.")
