"""MultiMagNet's hyper-parameters, how a choice of them scored, and the file that holds the best (Section 4.1).

References:
    Machado, Goldschmidt and Silva, "MultiMagNet", ICEIS 2019.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Predicate
from pydantic import Field

from salus.atomic import write_json
from salus.detectors.reconstruction import DropRate, Metric
from salus.detectors.votes import APPROACHES, Approach
from salus.errors import BundleError, OptionError
from salus.options import Words, check_fields


def _odd(n: int) -> bool:
    return n % 2 == 1


#: Hyper-parameters that the detector has as options.
Drawn = Annotated[
    int,
    Field(ge=1, description="members drawn for each input"),
    Predicate(_odd),
    Words("an odd number of members (1, 3, 5, ...)"),
]
Temperature = Annotated[
    # A whole number stays one: a saved guard's fingerprint is made of it.
    Annotated[int | float, Field(ge=1)] | None,
    Words("a number from 1 up"),
    Field(description="temperature of the softmaxes that jsd compares"),
]

Measure = tuple[Metric, float | None]  # a metric and, of jsd, the temperature

_FORMAT = "salus-multimagnet-1"


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One choice of hyper-parameters.

    Attributes:
        n: members drawn, odd.
        metric: ``re``, the reconstruction error, or ``jsd``, the Jensen-Shannon divergence.
        temperature: of the softmaxes that ``jsd`` compares, from 1 up; None for ``re``.
        drop_rate: the share of clean inputs that each member's threshold rejects; the paper's t_fp.
        approach: ``MTA``, each member's own threshold, or ``minTA``, the lowest of those drawn.

    Raises:
        OptionError: one of them makes no sense.
    """

    n: Drawn = 5
    metric: Metric = "re"
    temperature: Temperature = 10.0
    drop_rate: DropRate = 0.01
    approach: Approach = "MTA"

    def __post_init__(self) -> None:
        check_fields(self, "MultiMagNet")
        if self.metric == "re":
            object.__setattr__(self, "temperature", None)
        elif self.temperature is None:
            raise OptionError("MultiMagNet: metric 'jsd' compares at a temperature; give one, a number from 1 up.")

    @property
    def measure(self) -> Measure:
        """What the members measure."""
        return self.metric, self.temperature


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The values of each hyper-parameter to be tried; see :class:`Combination`. Table 4's are among them.

    Raises:
        OptionError: a list is empty, or a value makes no sense.
    """

    sizes: Sequence[int] = (3, 5, 7, 9)
    metrics: Sequence[Metric] = ("re", "jsd")
    temperatures: Sequence[float] = (1.0, 5.0, 10.0, 15.0, 20.0, 40.0)
    drop_rates: Sequence[float] = (0.001, 0.005, 0.01, 0.05, 0.07, 0.1)
    approaches: Sequence[Approach] = APPROACHES

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name):
                raise OptionError(f"MultiMagNet: the calibration grid has no {field.name}; give at least one.")
        list(self.combinations())

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Each metric, at each temperature where that matters."""
        pairs = product(self.metrics, self.temperatures)
        return tuple(dict.fromkeys((metric, None if metric == "re" else float(t)) for metric, t in pairs))

    def combinations(self) -> Iterator[Combination]:
        """List them all; with a single member minTA is MTA and left out."""
        for (metric, temperature), rate, approach, n in product(
            self.measures, self.drop_rates, self.approaches, self.sizes
        ):
            if n > 1 or approach == "MTA":
                yield Combination(n=n, metric=metric, temperature=temperature, drop_rate=rate, approach=approach)


@dataclass(frozen=True, kw_only=True)
class DetectionShares:
    """How many inputs were accepted and rejected; means over ensembles need not be whole."""

    accepted_clean: float
    rejected_clean: float
    accepted_adversarial: float
    rejected_adversarial: float

    @property
    def accuracy(self) -> float:
        """The share of all inputs that were judged rightly (Eq. 9)."""
        right = self.accepted_clean + self.rejected_adversarial
        return right / (right + self.rejected_clean + self.accepted_adversarial)

    @property
    def ppv(self) -> float:
        """PPV as Tables 2 and 3 use it: the share of clean inputs that were accepted."""
        return self.accepted_clean / (self.accepted_clean + self.rejected_clean)

    @property
    def npv(self) -> float:
        """NPV as Tables 2 and 3 use it: the share of adversarial inputs that were rejected."""
        return self.rejected_adversarial / (self.rejected_adversarial + self.accepted_adversarial)


def literal_eq9(outcome: DetectionShares) -> tuple[float, float, float]:
    """Return ACC, PPV and NPV as Eq. 8 and 9 say, against which the paper's own tables speak.

    There TN are adversarial inputs voted adversarial, and PPV is TN / (TN + FN): the tables' NPV, and the other way
    round. In the tables minTA, which rejects more, lowers PPV and raises NPV; so theirs is the other reading.
    """
    return outcome.accuracy, outcome.npv, outcome.ppv


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A combination and what became of the inputs."""

    combination: Combination
    outcome: DetectionShares

    def row(self) -> dict[str, Any]:
        """Return all of it as plain values for JSON."""
        derived = {name: getattr(self.outcome, name) for name in ("accuracy", "ppv", "npv")}
        return {**asdict(self.combination), **derived, **asdict(self.outcome)}

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Scored:
        """Read a row back."""
        chosen = {field.name: row[field.name] for field in fields(Combination)}
        counts = {field.name: float(row[field.name]) for field in fields(DetectionShares)}
        return cls(combination=Combination(**chosen), outcome=DetectionShares(**counts))


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What a calibration stage found.

    Attributes:
        rule: how the best combination was chosen.
        adversarial: what stood for adversarial inputs.
        best: the best combination, scored.
        thresholds: each member's under it, by name.
        grid: all combinations, scored.
        repository: the fingerprint of the autoencoders that it is of; empty when it is not known.
    """

    rule: str
    adversarial: str
    best: Scored
    thresholds: Mapping[str, float]
    grid: tuple[Scored, ...]
    repository: str = ""

    def save(self, path: Path | str) -> None:
        """Write it as JSON, whole or not at all.

        Raises:
            StoreError: the file cannot be written.
        """
        content = {
            "format": _FORMAT,
            "rule": self.rule,
            "adversarial": self.adversarial,
            "best": self.best.row(),
            "thresholds": dict(self.thresholds),
            "repository": self.repository,
            "grid": [scored.row() for scored in self.grid],
        }
        write_json(Path(path), content)

    @classmethod
    def load(cls, path: Path | str) -> Calibration:
        """Read the file back.

        Raises:
            BundleError: it is missing, damaged, or another kind of file.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise BundleError(f"There is no calibration of MultiMagNet at {path}: {error.strerror}.") from error
        except (ValueError, RecursionError) as error:
            raise BundleError(
                f"{path} is damaged or no calibration of MultiMagNet: it is not readable JSON."
            ) from error
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise BundleError(f"{path} is not a calibration of MultiMagNet of this version of Salus ({_FORMAT}).")
        try:
            thresholds = {str(name): float(value) for name, value in content["thresholds"].items()}
            if not all(map(math.isfinite, thresholds.values())):
                raise ValueError("a threshold is not finite")
            return cls(
                rule=str(content["rule"]),
                adversarial=str(content["adversarial"]),
                best=Scored.of(content["best"]),
                thresholds=thresholds,
                grid=tuple(Scored.of(row) for row in content["grid"]),
                repository=str(content.get("repository", "")),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OptionError) as error:
            raise BundleError(f"{path} is damaged: {str(error).rstrip('.')}.") from error
