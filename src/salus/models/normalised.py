"""A convolution and the normalisation behind it as one convolution, wherever the statistics are fixed."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def normalised(x: Tensor, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """Compute ``norm(convolution(x))``, in evaluation mode without a pass over the values for the norm alone.

    Attacks and predictions see fixed statistics: the norm is then a factor and a term of each channel, which the
    convolution's own weights can carry. A layer that somebody watches runs by itself.

    Args:
        x: values ``[N, C, H, W]``.
        convolution: without a bias.
        norm: of its channels.
    """
    mean, variance = norm.running_mean, norm.running_var
    if norm.training or mean is None or variance is None or _watched(convolution) or _watched(norm):
        normal: Tensor = norm(convolution(x))
        return normal
    scale = norm.weight * torch.rsqrt(variance + norm.eps)  # [C_out]
    weight = convolution.weight * scale[:, None, None, None]
    carried: Tensor = convolution._conv_forward(x, weight, norm.bias - mean * scale)
    return carried


def _watched(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)
