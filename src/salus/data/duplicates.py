"""Samples that stand on both sides of a split: counted and told, because a model that learnt one knows its answer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from salus.data.base import Dataset, Splits
from salus.data.packed import Packed, take
from salus.progress import console

#: Bytes in the middle of a sample by which it is looked for; the whole is compared where these are found.
_MOST_BYTES = 4096

#: Samples of which these bytes, and of which all, are read at a time.
_PIECE, _WHOLE_PIECE = 256, 32

#: Sides that must be strangers to each other: what is scored or calibrated, and what was seen before.
_PAIRS = (("test", "train"), ("test", "calibration"), ("calibration", "train"))


def tell_duplicates(splits: Splits) -> Splits:
    """Count the samples of test and calibration that stand, value for value, also elsewhere, and note and warn of them.

    A few bytes of every sample are read, so that images in a file stay there.
    """
    prints = {part: _prints(data.x) for part, data in splits if len(data)}
    sentences = []
    for part, other in _PAIRS:
        if {part, other} <= prints.keys():
            data, known = getattr(splits, part), getattr(splits, other)
            common = set(prints[part]) & set(prints[other])
            places = {whole: row for row, whole in _wholes(known.x, prints[other], common)}
            found = [(row, places[whole]) for row, whole in _wholes(data.x, prints[part], common) if whole in places]
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


def _wholes(x: Tensor, prints: Sequence[int], common: set[int]) -> list[tuple[int, bytes]]:
    """The samples that have one of these prints, last first, and a digest of all that they hold."""
    rows = torch.tensor([row for row, key in enumerate(prints) if key in common], dtype=torch.int64).flip(0)
    wholes: list[tuple[int, bytes]] = []
    for some in rows.split(_WHOLE_PIECE):
        part = take(x, some)
        block = (part.bytes() if isinstance(part, Packed) else part).flatten(1).numpy()
        digests = (hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in block)
        wholes += zip(some.tolist(), digests, strict=True)
    return wholes


def _sentence(found: list[tuple[int, int]], part: str, data: Dataset, other: str, known: Dataset) -> str:
    otherwise = sum(int(data.y[row]) != int(known.y[twin]) for row, twin in found)
    row, twin = found[-1]
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
