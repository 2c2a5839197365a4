"""Models that are asked for their answers and show no gradients: trees, pipelines, programs of another runtime."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from salus.errors import ModelError

#: Where a probability rounded to 0, its logarithm.
LEAST = 1e-300


class GradientFree(nn.Module):
    """A model that answers arrays with arrays.

    Args:
        content: its file, from which it is made again wherever it is sent.
        kind: what it is, for sentences.

    Attributes:
        undoes: it brings x back to raw values itself, where it reads these.
    """

    undoes: ClassVar[bool] = False

    def __init__(self, content: bytes, kind: str) -> None:
        super().__init__()
        self.content, self.kind = content, kind

    @property
    def without_gradients(self) -> str:
        """Why no gradient flows, as a sentence with its remedy."""
        return (
            f"{self.kind[:1].upper()}{self.kind[1:]} shows no gradients; attack it by its scores or its answers "
            "(square, hop-skip-jump, cgba), or through a substitute (--threat-model transfer)."
        )

    @abstractmethod
    def answer(self, x: NDArray[np.float32]) -> Any:
        """Answer x ``[N, ...]``."""

    def forward(self, x: Tensor) -> Any:
        """Answer x ``[N, ...]``; who asks for a gradient afterwards is refused in a sentence."""
        answer = self.answer(x.detach().cpu().numpy())
        if isinstance(answer, dict):
            return {key: self._tied(x, value) for key, value in answer.items()}
        return self._tied(x, answer)

    def _tied(self, x: Tensor, value: NDArray[Any]) -> Tensor:
        if value.dtype.kind != "f":
            return torch.from_numpy(np.ascontiguousarray(value)).to(x.device)
        clipped = np.clip(value, -3e38, 3e38) if value.dtype == np.float64 else value
        answer = torch.from_numpy(np.ascontiguousarray(clipped, dtype=np.float32)).to(x.device)
        tied: Tensor = _NoGradient.apply(x, answer, self.without_gradients)  # type: ignore[no-untyped-call]
        return tied

    def extra_repr(self) -> str:
        """Tell it from others of its kind, and from the same beside data of another scaling."""
        rows = getattr(self, "_rows", None)
        units = "" if rows is None else f", rows {rows.digest()}"
        return f"{self.kind}, SHA-256 {hashlib.sha256(self.content).hexdigest()}{units}"


class _NoGradient(torch.autograd.Function):
    """Passes an answer on, and refuses to be differentiated."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, answer: Tensor, reason: str) -> Tensor:
        ctx.reason = reason
        return answer

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise ModelError(ctx.reason)


def without_gradients(module: nn.Module) -> str | None:
    """Say why no gradient flows from a module's answers to its inputs; None where one may."""
    return next((part.without_gradients for part in module.modules() if isinstance(part, GradientFree)), None)


def log_of(p: NDArray[Any]) -> NDArray[np.float64]:
    """Turn probabilities ``[N, K]`` into logits, finite where one rounded to 0."""
    logits: NDArray[np.float64] = np.log(np.maximum(p.astype(np.float64), LEAST))
    return logits


def two_of(z: NDArray[Any]) -> NDArray[np.float64]:
    """Make logits ``[N, 2]`` of the one of the second class ``[N]``."""
    z = z.astype(np.float64).reshape(-1)
    return np.stack([np.zeros_like(z), z], 1)
