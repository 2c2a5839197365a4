"""What networks made for ImageNet share: its colours, the sizes they take, and narrower versions of them."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from salus.errors import ModelError

#: Of ImageNet's colours: torchvision's weights take images from which these are subtracted and divided out.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


Scale = Annotated[float, Field(gt=0, description="how many times as many channels as published every layer has")]
StemStride = Annotated[
    Literal[1, 2], Field(description="of the first convolution: 2, as published, or 1, for small images")
]


class Colours(nn.Module):
    """Images from 0 to 1, grey or in colour, as a network for ImageNet was shown them.

    Args:
        mean: of each colour, which is subtracted.
        std: by which is divided.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, float, float] = MEAN, std: tuple[float, float, float] = STD) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Scale ``x [N, C, H, W]``; grey becomes three equal channels, ``[N, 3, H, W]``."""
        return (x.expand(-1, 3, -1, -1) - self.mean) / self.std


def check_images(name: str, channels: int, height: int, width: int, smallest: int, remedy: str = "") -> None:
    """Refuse images that are too small, or neither grey nor in colour.

    Raises:
        ModelError: says what the network takes, and the remedy.
    """
    if min(height, width) < smallest or channels not in (1, 3):
        raise ModelError(
            f"Model {name!r} takes grey or colour images of {smallest}x{smallest} or more{remedy}, not {channels} "
            f"channel{'s' * (channels > 1)} of {height}x{width}."
        )


def scale_channels(channels: int, width: float, name: str) -> int:
    """Say how many channels a layer of a network has that is so many times as wide as published.

    Raises:
        ModelError: the number would not be whole.
    """
    number = channels * width
    if number < 1 or number != round(number):
        raise ModelError(
            f"Model {name!r}: width={width:g} will not do: {channels} channels times it are no whole number; "
            "0.5, 0.25 and 0.125 will."
        )
    return round(number)
