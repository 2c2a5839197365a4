"""Samples that stand on both sides of a split: counted and told, because a model that learnt one knows its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from salus.data.base import Dataset, Splits
from salus.data.packed import Packed
from salus.progress import console

#: Bytes in the middle of a sample by which it is looked for; the whole is compared where these are found.
_MOST_BYTES = 4096

#: Samples that are read at a time.
_PIECE = 256

#: Sides that must be strangers to each other: what is scored or calibrated, and what was seen before.
_PAIRS = (("test", "train"), ("test", "calibration"), ("calibration", "train"))


def tell_duplicates(splits: Splits) -> Splits:
    """Count the samples of test and calibration that stand, value for value, also elsewhere, and note and warn of them.

    A few bytes of every sample are read, so that images in a file stay there.
    """
    prints = {part: _prints(data.x) for part, data in splits if len(data)}
    sentences = []
    for part, other in _PAIRS:
        data, known = getattr(splits, part), getattr(splits, other)
        if not {part, other} <= prints.keys():
            continue
        places: dict[int, list[int]] = {}
        for row, key in enumerate(prints[other]):
            places.setdefault(key, []).append(row)
        twins = [(row, _twin(data, row, known, places.get(key, ()))) for row, key in enumerate(prints[part])]
        found = [(row, twin) for row, twin in twins if twin is not None]
        if found:
            sentences.append(_sentence(found, part, data, other, known))
    if not sentences:
        return splits
    for sentence in sentences:
        console.print(f"WARNING: {splits.name}: {sentence}", markup=False)
    return Splits(**{part: _noted(data, sentences) for part, data in splits})


def _prints(x: Tensor) -> list[int]:
    """A print of each sample, in order; equal samples have equal ones."""
    rows = x.rows if isinstance(x, Packed) else torch.arange(len(x))
    values = (x.levels if isinstance(x, Packed) else x).flatten(1)
    count = min(values.shape[1], _MOST_BYTES // values.element_size())
    start = (values.shape[1] - count) // 2
    middle = values[:, start : start + count]
    prints: list[int] = []
    for some in rows.split(_PIECE):
        block = middle[some].numpy()  # [n, count]
        prints += map(hash, block.view(f"V{block.shape[1] * block.itemsize}")[:, 0].tolist())
    return prints


def _twin(data: Dataset, row: int, known: Dataset, candidates: Sequence[int]) -> int | None:
    """Find the first candidate that equals the sample throughout."""
    return next((other for other in candidates if bool((data.x[row] == known.x[other]).all())), None)


def _sentence(found: list[tuple[int, int]], part: str, data: Dataset, other: str, known: Dataset) -> str:
    otherwise = sum(int(data.y[row]) != int(known.y[twin]) for row, twin in found)
    row, twin = found[0]
    names = _name(data, row), _name(known, twin)
    example = f" (the first: {names[0]} is {names[1]})" if all(names) else ""
    labelled = f"; {otherwise} of them have another label there" if otherwise else ""
    return (
        f"{len(found)} of {len(data)} samples of the part {part} stand, value for value, also in the part "
        f"{other}{example}{labelled}"
    )


def _name(data: Dataset, row: int) -> str:
    return data.names[row] if row < len(data.names) else ""


def _noted(data: Dataset, sentences: list[str]) -> Dataset:
    provenance = replace(data.provenance, notes=(*data.provenance.notes, *sentences))
    return replace(data, provenance=provenance)
