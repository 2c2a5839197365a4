"""What the values of a data set look like, and what of it looks like a mistake in reading them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from salus.data.base import Dataset, Splits
from salus.data.packed import Packed, take

#: Values that are looked at, evenly spaced samples of them; and samples, at the least.
_VALUES, _SAMPLES = 2**22, 16

#: Images and signals of no more levels than this have lost most of theirs.
_FEW_LEVELS = 16

#: A feature of a table with no more than this takes few values by its nature (yes and no, a score).
_FEW_VALUES = 16

#: Data that reach over less than this share of their bounds do not fill them; a feature, less than this one.
_SMALL, _TINY = 0.1, 0.01


@dataclass(frozen=True)
class Values:
    """What the values of some samples look like.

    Attributes:
        samples: how many were looked at.
        lowest: the lowest value.
        highest: the highest.
        levels: how many different values there are; None where they are more than a few.
        constant: samples in which all values are equal.
        step: the smallest step between two values: 1 where all are whole numbers, 1/255 where they are bytes divided
            by 255; None for others.
        steps: of a table, that of each feature, 1 where it holds whole numbers alone, otherwise the smallest gap
            between the few values that it takes; 0 for others.
        spans: of a table, how far each feature reaches.
    """

    samples: int
    lowest: float
    highest: float
    levels: int | None
    constant: int
    step: float | None
    steps: tuple[float, ...] = ()
    spans: tuple[float, ...] = ()

    @property
    def span(self) -> float:
        """How far the values reach."""
        return self.highest - self.lowest


def values_of(splits: Splits) -> Values:
    """Look at some samples of the training part, or of the test part where there is none to train on."""
    return values_in(_looked_at(splits))


def values_in(data: Dataset) -> Values:
    """Look at some samples, evenly spaced; bytes are never all made floats."""
    size = max(data.x.shape[1:].numel(), 1)
    count = min(len(data), max(_SAMPLES, _VALUES // size))
    rows = torch.arange(count, device=data.x.device) * len(data) // count
    x = take(data.x, rows)
    different = _different(x)
    constant = sum(int((part.amax(1) == part.amin(1)).sum()) for part in _pieces(x))
    table = data.kind == "table"
    return Values(
        samples=count,
        lowest=float(different[0]),
        highest=float(different[-1]),
        levels=len(different) if len(different) <= _FEW_LEVELS else None,
        constant=constant,
        step=_step(different),
        steps=tuple(_feature_step(column) for column in x.unbind(1)) if table else (),
        spans=tuple((data.x.amax(0) - data.x.amin(0)).tolist()) if table else (),
    )


def implausible(splits: Splits, values: Values) -> list[str]:
    """Say what looks like a mistake in how the data were read or scaled, a sentence each; nothing for most data."""
    data = _looked_at(splits)
    width = data.bounds[1] - data.bounds[0]
    if data.kind == "table":
        return list(_of_a_table(data, values, width))
    return list(_of_values(data, values, width))


def _looked_at(splits: Splits) -> Dataset:
    return splits.train if len(splits.train) else splits.test


def _of_values(data: Dataset, values: Values, width: float) -> Iterator[str]:
    looked = f"in {values.samples} {data.kind}s that were looked at"
    if values.levels is not None:
        yield (
            f"The values take only {values.levels} levels, from {values.lowest:.3g} to {values.highest:.3g}, {looked}: "
            "if the source has more of them (12 or 16 bits), they were lost in reading or rounding."
        )
    if values.span < _SMALL * width:
        yield (
            f"The values reach from {values.lowest:.3g} to {values.highest:.3g}, {values.span / width:.1%} of "
            f"the bounds ({data.bounds[0]:g}, {data.bounds[1]:g}), {looked}: scale them to fill their range (--scale), "
            "or give the true bounds (--bounds); eps would be large beside them."
        )
    if values.constant:
        yield (
            f"{values.constant} of the {values.samples} {data.kind}s that were looked at hold one value throughout: "
            "there is nothing in them to tell their class by."
        )


def _of_a_table(data: Dataset, values: Values, width: float) -> Iterator[str]:
    if values.span < _SMALL * width:
        yield (
            f"The values reach from {values.lowest:.3g} to {values.highest:.3g}, {values.span / width:.1%} of "
            f"the bounds ({data.bounds[0]:g}, {data.bounds[1]:g}): scale them to fill their range (--scale), or give "
            "the true bounds (--bounds); eps would be large beside them."
        )
        return
    names = data.features or tuple(f"feature {i}" for i in range(len(values.spans)))
    narrow = [name for name, span in zip(names, values.spans, strict=True) if 0 < span < _TINY * width]
    if narrow:
        yield (
            f"{listed(narrow)} {'reaches' if len(narrow) == 1 else 'reach'} over less than {_TINY:.0%} of "
            f"the bounds ({data.bounds[0]:g}, {data.bounds[1]:g}), so that one eps means little for all features: "
            "scale each to its own range (--scale)."
        )


def listed(names: Sequence[str], most: int = 3) -> str:
    """List some names, and how many more there are."""
    shown = [repr(name) for name in names[:most]]
    more = len(names) - len(shown)
    if more:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))


def _pieces(x: Tensor) -> Iterator[Tensor]:
    """Give some samples at a time, flat: ``[n, D]``, bytes as they are."""
    size = max(1, 2**20 // max(x.shape[1:].numel(), 1))
    if isinstance(x, Packed):
        for rows in x.rows.split(size):
            yield x.levels[rows].flatten(1)
    else:
        for part in x.split(size):
            yield part.flatten(1)


def _different(x: Tensor) -> Tensor:
    """Return the values that there are, sorted, float32."""
    values: Tensor = torch.cat([part.unique() for part in _pieces(x)]).unique()
    levels: Tensor = values.float() / 255
    return levels if isinstance(x, Packed) else values


def _step(different: Tensor) -> float | None:
    """Return the step of values that are whole numbers, or bytes divided by 255; a mere 0 and 1 may be either."""
    if len(different) > 2 and _whole(different):
        return 1.0
    scaled = different.double() * 255
    if len(different) > 2 and float(scaled.max()) <= 255.5 and _whole(scaled, within=1e-3):
        return 1 / 255
    return None


def _feature_step(column: Tensor) -> float:
    values = column.unique()
    if len(values) < 2:
        return 0.0
    gap = float(values.diff().min())
    few = len(values) <= _FEW_VALUES and len(column) > 2 * len(values)
    return 1.0 if _whole(values) and gap >= 1 else gap if few else 0.0


def _whole(values: Tensor, within: float = 0.0) -> bool:
    return bool(((values - values.round()).abs() <= within).all())
