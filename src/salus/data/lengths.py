"""Recordings of several lengths in one file: those of one length are taken, and nothing of the padding behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salus.errors import DataError

Arrays = Mapping[str, NDArray[Any]]

#: Lengths that are counted in a sentence, the commonest.
_MOST_NAMED = 5


@dataclass(frozen=True, eq=False)
class OneLength:
    """What is left of a file.

    Attributes:
        arrays: its arrays, those of a sample each cut to the samples that are left.
        rows: of each side, which samples are left, int64 ``[n]``.
        notes: what a reader should know.
    """

    arrays: dict[str, NDArray[Any]]
    rows: tuple[NDArray[np.int64], ...]
    notes: tuple[str, ...] = ()


def of_one_length(
    arrays: Arrays, sides: Sequence[str], length: int | None, path: Path, also: Sequence[str] = ()
) -> OneLength:
    """Take the recordings of one length.

    Args:
        arrays: of the file: ``x`` ``[N, C, L]``, padded behind each recording, and ``lengths`` ``[N]``; of each side.
        sides: endings of the arrays of each side.
        length: the one that is asked for; None where the file must have one alone.
        path: of the file.
        also: names of arrays with a value for every sample of all sides.

    Raises:
        DataError: lengths do not fit the samples, there are several and none is asked for, or none of that length.
    """
    xs = [arrays[f"x{side}"] for side in sides]
    whole = tuple(np.arange(len(x)) for x in xs)
    keys = [f"lengths{side}" for side in sides]
    given = [key for key in keys if key in arrays]
    if not given:
        longest = xs[0].shape[-1]
        if length is not None and (xs[0].ndim != 3 or length != longest):
            raise DataError(
                f"File {path} does not say that its samples have several lengths; leave --length out, or add an array "
                f"lengths with that of each of the recordings, which are padded to {longest}."
            )
        return OneLength(dict(arrays), whole)
    if len(given) < len(keys):
        lacking = next(key for key in keys if key not in arrays)
        raise DataError(f"File {path} has {given[0]} and no {lacking}; give the lengths of every side.")
    each = [_checked(arrays[key], x, key, path) for key, x in zip(keys, xs, strict=True)]
    counts = Counter(np.concatenate(each).tolist())
    said = ", ".join(f"{size} ({count} recordings)" for size, count in counts.most_common(_MOST_NAMED))
    more = f" and {len(counts) - _MOST_NAMED} more" if len(counts) > _MOST_NAMED else ""
    if length is None and len(counts) > 1:
        raise DataError(
            f"File {path} has recordings of {len(counts)} lengths: {said}{more}. They are loaded a length at a time: "
            f"--length {counts.most_common(1)[0][0]}, or all, an audit each, by a plan with a list audits: of one "
            "length each."
        )
    length = next(iter(counts)) if length is None else length
    if length not in counts:
        raise DataError(f"File {path} has no recordings of length {length}; it has {said}{more}.")
    rows = tuple(np.flatnonzero(lengths == length) for lengths in each)
    if any(not len(kept) for kept in rows):
        empty = next(f"x{side}" for side, kept in zip(sides, rows, strict=True) if not len(kept))
        raise DataError(f"File {path}: {empty} has no recordings of length {length}; ask for one that every side has.")
    cut = dict(arrays)
    for side, kept in zip(sides, rows, strict=True):
        cut[f"x{side}"] = arrays[f"x{side}"][kept][..., :length]
        for key in (f"y{side}", f"groups{side}"):
            if key in arrays and arrays[key].shape[:1] == arrays[f"x{side}"].shape[:1]:
                cut[key] = arrays[key][kept]
    starts = np.cumsum([0, *(len(x) for x in xs)])
    every = np.concatenate([kept + start for kept, start in zip(rows, starts, strict=False)])
    for key in also:
        if key in arrays and cut[key] is arrays[key] and arrays[key].shape[:1] == (starts[-1],):
            cut[key] = arrays[key][every]
    note = f"recordings of length {length} alone, {len(every)} of {starts[-1]}, without the padding behind them"
    others = {size: count for size, count in counts.items() if size != length}
    left = f"; left out: {', '.join(f'{size} ({count})' for size, count in sorted(others.items()))}" if others else ""
    return OneLength(cut, rows, (note + left,))


def _checked(lengths: NDArray[Any], x: NDArray[Any], key: str, path: Path) -> NDArray[np.int64]:
    if x.ndim != 3:
        raise DataError(f"File {path}: {key} are of recordings [N, C, L], and its samples have shape {list(x.shape)}.")
    if lengths.shape != (len(x),) or lengths.dtype.kind not in "iu":
        raise DataError(
            f"File {path}: {key} must be {len(x)} whole numbers, one a recording; it is {lengths.dtype} "
            f"{list(lengths.shape)}."
        )
    wrong = (lengths < 1) | (lengths > x.shape[2])
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(f"File {path}: {key}[{row}] is {lengths[row]}; it must be 1 to {x.shape[2]}, as x is long.")
    return lengths.astype(np.int64)
