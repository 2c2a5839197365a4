"""The probability margin: by how much the probability of another class exceeds that of the own one."""

from __future__ import annotations

import torch
from torch import Tensor


def probability_margin(logits: Tensor, margin: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Compute minus the difference of two classes' probabilities ``[N]`` in float64 (PMA; Xie et al., 2024).

    The difference is ``(p_first + p_second) tanh(margin / 2)``, where the margin is that of the logits; a guard's
    margin may stand higher, and stands alone then, in the same units. Beyond a margin of 20 the probabilities have
    no digits left to tell a slope by, whether by nature or to mask it; from there on all logits are divided by the
    same number, which keeps the margin at 20, and what is divided by stands in the loss instead.

    Args:
        logits: ``[N, K]``.
        margin: what is left to win ``[N]``: the objective's own, which a guard has capped.
        first: the class whose logit the margin counts ``[N]``.
        second: the class from whose logit it is counted ``[N]``.
    """
    finite = logits.double().clamp(-1e30, 1e30)
    margin = margin.double()
    temperature = (margin.detach().abs() / _SATURATED).clamp_min(1)
    probabilities = (finite / temperature[:, None]).softmax(1)
    pair = torch.stack([first, second], 1)
    one, other = finite.gather(1, pair).unbind(1)
    label = (one - other).detach()
    capped = margin.detach() > label + 1e-6 * (1 + label.abs())
    share = torch.where(capped, 1.0, probabilities.gather(1, pair).sum(1))
    beyond = (temperature - 1) * margin.detach().sign()
    return -share * torch.tanh(margin / temperature / 2) - beyond


#: The largest margin at which probabilities are taken as they are.
_SATURATED = 20.0
