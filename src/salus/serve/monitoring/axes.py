"""What is counted of a guard's inputs, in bins that its bounds fix, so that counts of all workers just add up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from salus.preprocessing.tables import TablePreprocessor

if TYPE_CHECKING:
    from salus.guard import Guard

#: Features of a table that are counted, each by itself; the others are left out, and that is said.
MOST_FEATURES = 64

#: A score is minus log p, and p is uniform among clean inputs: forty equal parts of them, and the tail above.
SCORE_EDGES = (
    *(-math.log1p(-part / 40) for part in range(40)),
    *(4.0, 4.5, 5.0, 5.5, 6.0, 7.0, 8.0, 9.0, 10.0, 12.0, 16.0, 24.0, 48.0, 100.0, 1000.0),
)

#: Rows of an image that its figures are computed of.
_MOST_LINES = 64

_FEATURE_BINS, _LEVEL_BINS, _SPREAD_BINS = 32, 64, 48


@dataclass(frozen=True)
class Axis:
    """A figure of an input, and the bins that it is counted in.

    Attributes:
        name: of the figure.
        edges: rising, between the bins: bin k holds values from ``edges[k - 1]`` to below ``edges[k]``, the first
            all below, the last all above, and NaN.
    """

    name: str
    edges: tuple[float, ...]

    @property
    def bins(self) -> int:
        """How many there are."""
        return len(self.edges) + 1


@dataclass(frozen=True)
class Axes:
    """What is counted of a guard's inputs.

    Attributes:
        classes: names of the classes, in the order of the logits.
        kind: of the inputs.
        inputs: figures of an input: each feature of a table; level, spread, extremes and roughness of anything else.
        left_out: features that are not counted.
    """

    classes: tuple[str, ...]
    kind: Literal["table", "signal", "image"]
    inputs: tuple[Axis, ...]
    left_out: int = 0

    @classmethod
    def of(cls, guard: Guard) -> Axes:
        """Say what is counted of a guard's inputs."""
        classifier = guard.classifier
        preprocessor = classifier.preprocessor
        features = preprocessor.features if isinstance(preprocessor, TablePreprocessor) else ()
        return cls.within(classifier.bounds, classifier.shape, classes=classifier.classes, features=features)

    @classmethod
    def within(
        cls,
        bounds: tuple[float, float],
        shape: Sequence[int],
        *,
        classes: Sequence[str] = (),
        features: Sequence[str] = (),
    ) -> Axes:
        """Say what is counted of inputs of this shape, whose values lie within these bounds.

        Args:
            bounds: lowest and highest value.
            shape: of one input.
            classes: names of the classes.
            features: names of a table's features; numbers where there are none.
        """
        low, high = bounds
        span = high - low
        if len(shape) == 1:
            names = list(features) if len(features) == shape[0] else [f"feature {i + 1}" for i in range(shape[0])]
            edges = _between(low, high, _FEATURE_BINS)
            counted = tuple(Axis(name, edges) for name in names[:MOST_FEATURES])
            return cls(tuple(classes), "table", counted, len(names) - len(counted))
        levels = _between(low, high, _LEVEL_BINS)
        # Neighbours differ little in what is not noise, so that bins are narrow there.
        steps = tuple(span * (part / _SPREAD_BINS) ** 2 for part in range(1, _SPREAD_BINS))
        inputs = (
            Axis("mean", levels),
            Axis("standard deviation", _between(0.0, span / 2, _SPREAD_BINS)),
            Axis("minimum", levels),
            Axis("maximum", levels),
            Axis("roughness", steps),
        )
        return cls(tuple(classes), "signal" if len(shape) == 2 else "image", inputs)

    def figures(self, x: Tensor) -> Tensor:
        """Compute the figures of inputs ``[N, ...]``, float32 ``[N, S]``."""
        if self.kind == "table":
            return x[:, : len(self.inputs)]
        x = self.thinned(x)
        flat = x.flatten(1)  # [N, D]
        spread = flat.std(1, correction=0)
        return torch.stack([flat.mean(1), spread, flat.amin(1), flat.amax(1), _roughness(x)], 1)

    def thinned(self, x: Tensor) -> Tensor:
        """Leave out rows of large images, which is as good for their figures and costs less."""
        step = -(-x.shape[2] // _MOST_LINES) if self.kind == "image" else 1
        return x[:, :, ::step] if step > 1 else x

    def class_name(self, label: int) -> str:
        """Name a class, also one that nobody has named."""
        return self.classes[label] if label < len(self.classes) else f"class {label}"


def _between(low: float, high: float, bins: int) -> tuple[float, ...]:
    return tuple(low + (high - low) * part / bins for part in range(1, bins))


def _roughness(x: Tensor) -> Tensor:
    """Mean absolute difference of neighbours in time, or in a row of an image, ``[N]``."""
    if x.shape[-1] < 2:
        return torch.zeros(len(x), device=x.device)
    return x.diff(dim=-1).abs().flatten(1).mean(1)
