"""A training as it stands after an epoch, in one file that is whole or not there, and belongs to one training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from salus import atomic

Tensors = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What a checkpoint held.

    Attributes:
        parts: the first word of a tensor's name -> the rest of it -> the tensor.
        facts: what was stored beside the tensors, as from JSON.
    """

    parts: dict[str, Tensors]
    facts: Any


class Checkpoint:
    """One file: a SHA-256, then safetensors with the facts as metadata.

    Args:
        path: the file.
        key: of the training; a file with another key is not continued.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = Path(path), key

    def save(self, parts: Mapping[str, Mapping[str, Tensor]], facts: Any) -> None:
        """Write the file, whole or not at all."""
        plain = {
            f"{part}/{name}": value.detach().clone().cpu().contiguous()
            for part, tensors in parts.items()
            for name, value in tensors.items()
        }
        content = safetensors.torch.save(plain, {"key": self.key, "facts": json.dumps(facts)})
        atomic.write_bytes(self.path, hashlib.sha256(content).digest() + content)

    def load(self) -> Snapshot | str | None:
        """Read the file if it is whole and of this training; otherwise a sentence that says why not.

        Returns:
            What is stored, None where there is no file, or the sentence.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            return self._afresh(f"cannot be read ({error.strerror})")
        digest, content = content[:32], content[32:]
        if hashlib.sha256(content).digest() != digest:
            return self._afresh("is damaged")
        try:
            tensors = safetensors.torch.load(content)
            length = int.from_bytes(content[:8], "little")
            metadata = json.loads(content[8 : 8 + length])["__metadata__"]
            if metadata["key"] != self.key:
                return self._afresh("belongs to another training (other options, data or model)")
            facts = json.loads(metadata["facts"])
        except (SafetensorError, ValueError, KeyError) as error:
            return self._afresh(f"is of another format ({type(error).__name__})")
        parts: dict[str, Tensors] = {}
        for name, value in tensors.items():
            part, _, rest = name.partition("/")
            parts.setdefault(part, {})[rest] = value
        return Snapshot(parts, facts)

    def _afresh(self, reason: str) -> str:
        return f"The checkpoint {self.path} {reason}; training starts from the beginning."


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> Tensors:
    """Name all that an optimizer remembers of its parameters."""
    return {
        f"{number}/{name}": value
        for number, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimizer back what :func:`optimizer_tensors` named."""
    states: dict[int, Tensors] = {}
    for name, value in tensors.items():
        number, _, word = name.partition("/")
        states.setdefault(int(number), {})[word] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})


def weights(module: nn.Module) -> Tensors:
    """Copy the weights and buffers of a module."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def weights_digest(module: nn.Module) -> str:
    """SHA-256 of a module's form and weights."""
    digest = hashlib.sha256(repr(module).encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
