"""Straight through: rounding and steps inside a model differentiated as if they were the identity."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class StraightThrough(TorchFunctionMode):
    """Give functions without a slope the slope of what they stand for, and leave their values as they are.

    While it is entered, ``round``, ``floor``, ``ceil``, ``trunc`` and ``sign`` of a tensor that is differentiated keep
    their values and pass gradients on unchanged (Bengio et al., 2013), as an attacker does who knows what a model
    quantises (BPDA; Athalye et al., 2018, sec. 4.1).

    Example:
        >>> with StraightThrough():
        ...     (3 * torch.tensor(0.5, requires_grad=True)).round().requires_grad
        True
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Compute what was asked for, and let gradients through."""
        result = func(*args, **(kwargs or {}))
        if func not in _FLAT or not torch.is_grad_enabled():
            return result
        source = args[0]
        if not isinstance(source, Tensor) or not source.requires_grad:
            return result
        finite = source.nan_to_num(0, 0, 0)
        return result.detach() + (finite - finite.detach())


_FLAT = frozenset(
    getattr(owner, name) for owner in (torch, Tensor) for name in ("round", "floor", "ceil", "trunc", "fix", "sign")
)
