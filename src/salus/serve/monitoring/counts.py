"""Counts of verdicts and histograms of what was judged: sums over inputs, from which no single one can be told."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from salus.errors import StoreError
from salus.serve.monitoring.axes import SCORE_EDGES, Axes
from salus.verdict import Verdict

#: How many inputs fell into each bin, int64 ``[bins]``.
Histogram = NDArray[np.int64]

#: Of the stored form; counts in other bins cannot be added to these.
_FORM = 1


@dataclass
class Counts:
    """What was counted of some inputs.

    Attributes:
        judged: inputs that got a verdict.
        rejected: of these, how many the guard rejected.
        not_judged: inputs that could not be prepared.
        rejected_by: detector name -> inputs that it rejects.
        predicted: class name -> inputs that the classifier gives it, accepted or not.
        scores: detector name -> histogram of its scores.
        inputs: name of a figure -> histogram of it.
    """

    judged: int = 0
    rejected: int = 0
    not_judged: int = 0
    rejected_by: dict[str, int] = field(default_factory=dict)
    predicted: dict[str, int] = field(default_factory=dict)
    scores: dict[str, Histogram] = field(default_factory=dict)
    inputs: dict[str, Histogram] = field(default_factory=dict)

    @classmethod
    def of(cls, verdict: Verdict, x: Tensor, axes: Axes) -> Counts:
        """Count the verdicts on prepared inputs x ``[N, ...]``."""
        labels = np.bincount(verdict.labels.cpu().numpy())  # [K] at most
        edges = np.array(SCORE_EDGES)
        scores = {}
        for name, score in verdict.scores.items():
            bins = np.searchsorted(edges, score.detach().double().cpu().numpy(), side="right")  # [N]; NaN falls last
            scores[name] = np.bincount(bins, minlength=len(edges) + 1)
        return cls(
            judged=len(verdict.labels),
            rejected=int((~verdict.accepted).sum()),
            rejected_by={name: int(flags.sum()) for name, flags in verdict.rejected_by.items()},
            predicted={axes.class_name(label): int(count) for label, count in enumerate(labels) if count},
            scores=scores,
            inputs=_histograms(axes, axes.figures(x).detach().double().cpu().numpy()),
        )

    def add(self, other: Counts) -> None:
        """Add other counts of the same bundle to these."""
        self.judged += other.judged
        self.rejected += other.rejected
        self.not_judged += other.not_judged
        for own, theirs in ((self.rejected_by, other.rejected_by), (self.predicted, other.predicted)):
            for name, count in theirs.items():
                own[name] = own.get(name, 0) + count
        for mine, others in ((self.scores, other.scores), (self.inputs, other.inputs)):
            for name, histogram in others.items():
                mine[name] = mine[name] + histogram if name in mine else histogram

    def text(self) -> str:
        """Write them as JSON; of histograms only the bins that hold something."""
        return json.dumps(
            {
                "form": _FORM,
                "judged": self.judged,
                "rejected": self.rejected,
                "not_judged": self.not_judged,
                "rejected_by": self.rejected_by,
                "predicted": self.predicted,
                "scores": {name: _sparse(histogram) for name, histogram in self.scores.items()},
                "inputs": {name: _sparse(histogram) for name, histogram in self.inputs.items()},
            },
            separators=(",", ":"),
        )

    @classmethod
    def read(cls, text: str) -> Counts | None:
        """Read what :meth:`text` wrote; None where another version of Salus counted in other bins.

        Raises:
            StoreError: it is something else.
        """
        try:
            content = json.loads(text)
            if content["form"] != _FORM:
                return None
            return cls(
                judged=int(content["judged"]),
                rejected=int(content["rejected"]),
                not_judged=int(content["not_judged"]),
                rejected_by={str(name): int(count) for name, count in content["rejected_by"].items()},
                predicted={str(name): int(count) for name, count in content["predicted"].items()},
                scores=_dense(content["scores"]),
                inputs=_dense(content["inputs"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise StoreError(
                f"The counts of a minute in the service's database are damaged ({error!r}); restore the database from "
                "a backup, or delete the row from table windows or baselines."
            ) from error


def total(parts: Sequence[Counts]) -> Counts:
    """Add counts of the same bundle together."""
    together = Counts()
    for part in parts:
        together.add(part)
    return together


def _histograms(axes: Axes, figures: NDArray[np.float64]) -> dict[str, Histogram]:
    """Count figures ``[N, S]``, all that share their edges at once."""
    groups: dict[tuple[float, ...], list[int]] = {}
    for column, axis in enumerate(axes.inputs):
        groups.setdefault(axis.edges, []).append(column)
    histograms = {}
    for edges, columns in groups.items():
        bins = np.searchsorted(np.array(edges), figures[:, columns], side="right")  # [N, G]
        size = len(edges) + 1
        flat = np.bincount((bins + size * np.arange(len(columns))).ravel(), minlength=size * len(columns))
        for column, histogram in zip(columns, flat.reshape(len(columns), size), strict=True):
            histograms[axes.inputs[column].name] = histogram
    return {axis.name: histograms[axis.name] for axis in axes.inputs}


def _sparse(histogram: Histogram) -> list[Any]:
    """Write a histogram as its length, and the number of each bin that holds something with how many it holds."""
    filled = np.flatnonzero(histogram)
    return [len(histogram), *np.stack([filled, histogram[filled]], 1).ravel().tolist()]


def _dense(written: Mapping[str, Sequence[int]]) -> dict[str, Histogram]:
    histograms = {}
    for name, numbers in written.items():
        histogram = np.zeros(numbers[0], np.int64)
        histogram[list(numbers[1::2])] = numbers[2::2]
        histograms[str(name)] = histogram
    return histograms
