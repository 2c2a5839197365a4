"""What a preprocessor is: fitted on training data, saved with every model, the same wherever inputs come in."""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from salus.errors import DataError

P = TypeVar("P", bound="Preprocessor")

#: Inputs that are prepared at a time where there are many.
BATCH = 512

#: Values of one input: colour images of 8192 x 8192 pixels.
MOST_VALUES = 3 * 2**26


@dataclass(frozen=True)
class Refusal:
    """An input that was not prepared: what its source calls it, and why."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class Prepared:
    """What came of raw inputs.

    Attributes:
        x: those that were prepared, float32 ``[n, ...]`` inside the bounds.
        names: what the source calls each ``[n]``.
        labels: what the source says that each is ``[n]``, in its own words; () where it says nothing.
        refused: the others, and why.
        notes: what was assumed.
        clipped: values that lay outside the bounds after scaling and were clipped.
    """

    x: Tensor
    names: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    refused: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()
    clipped: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Preprocessor(ABC):
    """How a raw thing becomes x.

    Attributes:
        classes: class names, in the order of a model's logits.
        bounds: lowest and highest value of x.
        shape: of one x.
        fitted_on: SHA-256 of the training samples that it was fitted on; "" where they are not known.
    """

    kind: ClassVar[str]
    #: What it takes, for sentences.
    takes: ClassVar[str]
    #: Fields that lie in :meth:`tensors`.
    arrays: ClassVar[frozenset[str]] = frozenset()

    classes: tuple[str, ...] = ()
    bounds: tuple[float, float] = (0.0, 1.0)
    shape: tuple[int, ...] = ()
    fitted_on: str = ""

    @abstractmethod
    def transform(self, raw: Any) -> Prepared:
        """Prepare raw inputs in memory.

        A tensor of values in raw units (years, grey levels, millivolts) keeps its gradients, so that an attacker may
        work in these.

        Raises:
            DataError: they are no inputs of this kind.
        """

    @abstractmethod
    def inverse(self, x: Tensor) -> Tensor:
        """Turn x ``[N, ...]`` back into raw units, for showing; what was thrown away does not come back."""

    @abstractmethod
    def stream(self, thing: Path, label: str | None = None) -> Iterator[Prepared]:
        """Prepare a raw file, or all in a folder, a batch at a time.

        Args:
            thing: the file or folder.
            label: the column of a table that holds the label, where it is not called ``label``, ``class``, ...

        Raises:
            DataError: it is no thing of this kind, or nothing in it can be prepared.
        """

    @abstractmethod
    def reads(self, thing: Path) -> bool:
        """Tell whether a file or folder is of this kind, by its name and what lies in it."""

    @property
    @abstractmethod
    def raw_bounds(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest raw value, each to be broadcast over one raw input."""

    @abstractmethod
    def describe(self) -> str:
        """Say in a line how inputs are prepared."""

    def settings(self) -> dict[str, Any]:
        """Return everything but the arrays, as plain values for JSON."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in self.arrays}
        plain: dict[str, Any] = json.loads(json.dumps(values, default=vars))
        return plain

    def tensors(self) -> dict[str, Tensor]:
        """Return what was learnt as arrays."""
        return {}

    @classmethod
    @abstractmethod
    def restore(cls: type[P], settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> P:
        """Make it again from :meth:`settings` and :meth:`tensors`."""

    def fingerprint(self) -> str:
        """SHA-256 of all that decides what becomes of an input: equal when two prepare the same."""
        settings = {key: value for key, value in self.settings().items() if key != "fitted_on"}
        digest = hashlib.sha256(json.dumps([self.kind, settings], sort_keys=True).encode())
        for key, tensor in sorted(self.tensors().items()):
            digest.update(key.encode() + tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def of(self: P, *, classes: Sequence[str], bounds: tuple[float, float], shape: Sequence[int]) -> P:
        """Say what x is, once that is known."""
        low, high = bounds
        return replace(
            self, classes=tuple(classes), bounds=(float(low), float(high)), shape=tuple(int(size) for size in shape)
        )


def common(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Read what every preprocessor has.

    Raises:
        ValueError: there are no such inputs.
    """
    low, high = map(float, settings["bounds"])
    shape = tuple(map(int, settings["shape"]))
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"its bounds are {low:g} and {high:g}")
    if any(size < 1 for size in shape) or math.prod(shape) > MOST_VALUES:
        raise ValueError(f"its inputs have the shape {list(shape)}")
    return {
        "classes": tuple(map(str, settings["classes"])),
        "bounds": (low, high),
        "shape": shape,
        "fitted_on": str(settings["fitted_on"]),
    }


def inside(x: Tensor, names: Sequence[str], bounds: tuple[float, float]) -> tuple[Tensor, list[str], list[Refusal]]:
    """Keep the rows that lie inside the bounds; say which do not."""
    low, high = bounds
    flat = x.detach().flatten(1)
    good = ((flat >= low) & (flat <= high)).all(1)
    if bool(good.all()):
        return x, list(names), []
    refused = []
    for row in (~good).nonzero()[:, 0].tolist():
        values = flat[row]
        if bool(values.isfinite().all()):
            reason = f"has values from {values.min():g} to {values.max():g}, outside the bounds ({low:g}, {high:g})"
        else:
            reason = "holds NaN or infinity"
        refused.append(Refusal(names[row], reason))
    return x[good], [names[row] for row in good.nonzero()[:, 0].tolist()], refused


def numbered(count: int, word: str) -> tuple[str, ...]:
    """Name inputs that have no names: ``row 1``, ``row 2``, ..."""
    return tuple(f"{word} {number}" for number in range(1, count + 1))


def tensor_of(raw: Any, what: str) -> Tensor:
    """Take a tensor, or an array or list of numbers, for one of floats: float32 but where a tensor has others.

    Raises:
        DataError: it is none.
    """
    if isinstance(raw, Tensor):
        return raw if raw.is_floating_point() else raw.float()
    return any_tensor_of(raw, what).float()


def any_tensor_of(raw: Any, what: str) -> Tensor:
    """Take a tensor, or an array or list of numbers, for one of their own type.

    Raises:
        DataError: it is none.
    """
    try:
        return torch.as_tensor(raw)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{what}: {type(raw).__name__} is no array of numbers.") from error


def joined(parts: Sequence[Prepared], shape: Sequence[int]) -> Prepared:
    """Put several together, in their order; equal notes once."""
    labels = [label for part in parts for label in part.labels]
    names = tuple(name for part in parts for name in part.names)
    return Prepared(
        torch.cat([part.x for part in parts]) if parts else torch.empty(0, *shape),
        names,
        tuple(labels) if len(labels) == len(names) else (),
        tuple(refusal for part in parts for refusal in part.refused),
        tuple(Counter(note for part in parts for note in part.notes)),
        sum(part.clipped for part in parts),
    )
