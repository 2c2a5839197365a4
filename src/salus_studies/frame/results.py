"""The results of a study: plain values, and the arrays that its figures show; pages are written from these alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays

from salus import atomic
from salus.errors import StoreError
from salus.storage import digest

_VALUES, _ARRAYS = "results.json", "results.safetensors"


@dataclass(frozen=True, eq=False)
class Results:
    """What a study found.

    Attributes:
        values: JSON.
        arrays: by name; what is too long for JSON, such as images to be drawn.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Results:
        """Read what :meth:`write` left.

        Raises:
            StoreError: there is nothing, or it is damaged.
        """
        try:
            values = json.loads((folder / _VALUES).read_text(encoding="utf-8"))
            arrays = load_arrays((folder / _ARRAYS).read_bytes()) if (folder / _ARRAYS).exists() else {}
        except (OSError, ValueError) as error:
            raise StoreError(f"{folder / _VALUES} cannot be read ({error}); run the study again.") from error
        return cls(values, arrays)

    def write(self, folder: Path) -> None:
        """Write ``results.json``, and ``results.safetensors`` where there are arrays.

        Raises:
            StoreError: the disk is full, or the place is not writable.
        """
        if self.arrays:
            atomic.write_tensors(folder / _ARRAYS, {name: torch.from_numpy(a) for name, a in self.arrays.items()})
        else:
            (folder / _ARRAYS).unlink(missing_ok=True)
        text = json.dumps(self.values, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
        atomic.write_text(folder / _VALUES, text + "\n")

    def stamp(self) -> str:
        """Hash all of it."""
        return digest([self.values, {name: a.tobytes().hex() for name, a in self.arrays.items()}])


def are_in(folder: Path) -> bool:
    """Whether results lie in a folder."""
    return (folder / _VALUES).exists()
