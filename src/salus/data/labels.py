"""Turning the labels of one's own data, words or numbers, into class indices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salus.data.split import Indices
from salus.errors import DataError, nearest


def encode_words(words: Sequence[str], classes: Sequence[str] = (), *, name: str) -> tuple[Indices, tuple[str, ...]]:
    """Index words by class; without class names the words themselves, sorted, are the classes.

    Words that are all whole numbers are sorted as numbers.

    Raises:
        DataError: a label is empty, or is not among the given classes.
    """
    present = set(words)
    if "" in present:
        raise DataError(f"Data {name!r}: sample {list(words).index('')} has an empty label; fill it in.")
    if not classes:
        numeric = all(_is_whole(word) for word in present)
        classes = sorted(present, key=(lambda word: (int(word), word)) if numeric else None)
    index = {label: position for position, label in enumerate(classes)}
    for row, word in enumerate(words):
        if word not in index:
            raise DataError(
                f"Data {name!r}: sample {row} has the label {word!r}, which is no class; {nearest(word, classes)}"
            )
    return np.array([index[word] for word in words], dtype=np.int64), tuple(classes)


def encode_array(y: NDArray[Any], classes: Sequence[str] = (), *, name: str) -> tuple[Indices, tuple[str, ...]]:
    """Index an array of labels: class indices, or words.

    Raises:
        DataError: the labels are neither, are not one per sample, or do not fit the given classes.
    """
    if y.ndim != 1:
        raise DataError(
            f"Data {name!r}: labels have shape {list(y.shape)}; give one whole number or word per sample "
            "(one-hot labels: take the argmax)."
        )
    if y.dtype.kind in "US":
        words = [str(word.decode() if isinstance(word, bytes) else word) for word in y.tolist()]
        return encode_words(words, classes, name=name)
    if y.dtype.kind == "f" and bool(np.isfinite(y).all()) and bool((y == np.round(y)).all()):
        y = y.astype(np.int64)
    if y.dtype.kind not in "iub":
        raise DataError(f"Data {name!r}: labels must be whole numbers or words, not {y.dtype} values.")
    y = y.astype(np.int64)
    if not classes:
        return encode_words([str(value) for value in y.tolist()], name=name)
    wrong = (y < 0) | (y >= len(classes))
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"Data {name!r}: sample {row} has label {y[row]}, but there are {len(classes)} classes "
            f"(0 to {len(classes) - 1})."
        )
    return y, tuple(classes)


def encode_groups(words: Sequence[str], *, name: str, word: str = "patient") -> Indices:
    """Number the patients, or other groups: their own whole numbers where they have some, their rank otherwise."""
    if "" in words:
        raise DataError(f"Data {name!r}: sample {list(words).index('')} has no {word}; fill it in.")
    distinct = set(words)
    whole = all(_is_whole(word) and len(word) < 18 for word in distinct)
    if whole and len({int(word) for word in distinct}) == len(distinct):  # 7 and 007 are two patients
        return np.array([int(word) for word in words], dtype=np.int64)
    return np.unique(np.array(words), return_inverse=True)[1].astype(np.int64)


def _is_whole(word: str) -> bool:
    return word.isascii() and word.removeprefix("-").isdigit()
