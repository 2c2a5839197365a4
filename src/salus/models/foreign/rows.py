"""Rows of a table as a model outside of Salus learnt them: raw values, columns by name, words as words."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from salus.errors import ModelError, nearest
from salus.models.reading import Inputs, Reading
from salus.preprocessing import ArrayPreprocessor, TablePreprocessor

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rows:
    """How x ``[N, ...]`` becomes the rows that a model reads.

    Attributes:
        width: values of one x.
        low: where zero lies of each, in its own unit; None where x is read as it is.
        span: how long one is.
        columns: name of each of the model's columns, and where its values stand in x: one place of a number, or one of
            each word.
        words: the words of a column, where it holds any.
    """

    width: int
    low: Numbers | None
    span: Numbers | None
    columns: tuple[tuple[str, tuple[int, ...]], ...]
    words: dict[str, tuple[str, ...]]

    def numbers(self, x: NDArray[np.float32]) -> Numbers:
        """Return all values in the units that the model knows, ``[N, F]``."""
        flat = x.reshape(len(x), -1).astype(np.float64)
        return flat if self.low is None or self.span is None else flat * self.span + self.low

    def digest(self) -> str:
        """Hash all that decides what the rows are."""
        units = [] if self.low is None or self.span is None else [self.low.tolist(), self.span.tolist()]
        return hashlib.sha256(repr((units, self.columns, sorted(self.words.items()))).encode()).hexdigest()

    def matrix(self, x: NDArray[np.float32]) -> Numbers:
        """Return the model's columns ``[N, C]``; columns of words as the place of the word."""
        values = self.numbers(x)
        if not self.columns:
            return values
        parts = [
            values[:, places].argmax(1).astype(np.float64) if name in self.words else values[:, places[0]]
            for name, places in self.columns
        ]
        return np.stack(parts, 1)

    def frame(self, x: NDArray[np.float32], as_numbers: Collection[str] = ()) -> Any:
        """Return the model's columns as a DataFrame; words of ``as_numbers`` are numbers there."""
        import pandas as pd

        matrix = self.matrix(x)
        columns: dict[str, Any] = {}
        for place, (name, _) in enumerate(self.columns):
            column: Any = matrix[:, place]
            if name in self.words:
                words = np.array(self.words[name], dtype=object)
                if name in as_numbers:
                    words = words.astype(np.float64)
                column = words[column.astype(np.int64)]
            columns[name] = column
        return pd.DataFrame(columns)


def rows_for(
    names: Sequence[str] | None, count: int | None, reading: Reading, inputs: Inputs
) -> tuple[Rows, Reading, list[str]]:
    """Match a model's columns with the features of the data, by name wherever both have names.

    Args:
        names: of the model's columns, in its order; None where its file names none.
        count: of the model's columns; None where its file does not say.
        reading: how it is to be read.
        inputs: what it will be given.

    Returns:
        The rows, the reading with what was decided, and what a reader should know of that.

    Raises:
        ModelError: a column is missing, or there are not as many.
    """
    width = int(np.prod(inputs.shape))
    low, span, reading, notes = _units(reading, inputs)
    features, words = _features(inputs)
    if names is None:
        own_columns: tuple[tuple[str, tuple[int, ...]], ...] = ()
        if words and count == width:
            words = {}  # it knows the features of words as numbers
        if words:
            own_columns = tuple(features)
        have = len(own_columns) or width
        if count is not None and count != have:
            raise ModelError(
                f"The model reads {count} values a sample, and the data have {have} of shape {list(inputs.shape)}; "
                "bring the data that it was trained on."
            )
        if len(inputs.shape) > 1:
            notes.append("Each sample was flattened into one row, channels first.")
        elif inputs.features:
            notes.append("The model's file names no columns; they were matched by their place.")
        return Rows(width, low, span, own_columns, words), reading, notes
    if not features:
        if len(names) != width:
            raise ModelError(f"The model reads {len(names)} columns ({names[0]}, ...), and the data have {width}.")
        notes.append(f"The data name no features; the model's columns ({names[0]}, ...) were matched by their place.")
        features = [(name, (place,)) for place, name in enumerate(names)]
    known = {_plain(name): (name, places) for name, places in features}
    if len(known) < len(features):
        raise ModelError("Two features of the data differ only in marks and spaces; rename one.")
    columns = []
    for name in names:
        if _plain(name) not in known:
            raise ModelError(
                f"The model reads a column {name!r}, which the data lack; {nearest(name, [n for n, _ in features])}"
            )
        own, places = known[_plain(name)]
        columns.append((name, places))
        if own in words and own != name:
            words[name] = words.pop(own)
    used = {_plain(name) for name in names}
    spare = [name for plain, (name, _) in known.items() if plain not in used]
    if spare:
        notes.append(f"Columns that the model does not read: {', '.join(spare)}.")
    return Rows(width, low, span, tuple(columns), words), reading, notes


def _units(reading: Reading, inputs: Inputs) -> tuple[Numbers | None, Numbers | None, Reading, list[str]]:
    """Decide whether a model reads raw values; of data that were scaled it does, unless the reading says otherwise."""
    made = inputs.preprocessor
    scaled = isinstance(made, (TablePreprocessor, ArrayPreprocessor)) and made.scaling is not None
    if reading.inputs == "prepared" or (reading.inputs is None and not scaled):
        return None, None, replace(reading, inputs="prepared"), []
    if made is None:
        raise ModelError("The model is to read raw values (inputs=raw), and how x was made of these is not known.")
    notes = []
    if reading.inputs is None:
        notes.append(
            "The model is given values in their own units, as before Salus scaled them; one that was trained on scaled "
            "ones is named with inputs=prepared behind a colon."
        )
    zero, one = (torch.full((1, *inputs.shape), value) for value in (0.0, 1.0))
    if isinstance(made, (TablePreprocessor, ArrayPreprocessor)) and made.scaling is not None:
        low, span = (value.expand(1, *inputs.shape).numpy().reshape(-1) for value in made.scaling.tensors())
    else:
        low, high = (made.inverse(value).double().numpy().reshape(-1) for value in (zero, one))
        span = high - low
    return low, span, replace(reading, inputs="raw"), notes


def _features(inputs: Inputs) -> tuple[list[tuple[str, tuple[int, ...]]], dict[str, tuple[str, ...]]]:
    """List the columns of the data, where each stands in x, and the words that it may hold."""
    made = inputs.preprocessor
    if isinstance(made, TablePreprocessor):
        columns, words, at = [], {}, 0
        for column in made.columns:
            columns.append((column.name, tuple(range(at, at + len(column.features)))))
            at += len(column.features)
            if column.categories:
                words[column.name] = column.categories
        return columns, words
    return [(name, (place,)) for place, name in enumerate(inputs.features)], {}


def _plain(name: str) -> str:
    """Write a name as libraries do that take no marks: LightGBM has mean_radius for "mean radius"."""
    return re.sub(r"\W+", "_", name.strip()).casefold()


def in_order(known: Sequence[Any], inputs: Inputs) -> tuple[list[int] | None, list[str]]:
    """Say which of a model's classes stands for each of the data's, matched by name; by place where numbers stand.

    Returns:
        Places among the model's classes, None where they are in the data's order; and what a reader should know.

    Raises:
        ModelError: they are others.
    """
    names, wanted = [_word(value) for value in known], list(inputs.classes)
    if len(names) != len(wanted):
        raise ModelError(
            f"The model tells {len(names)} classes apart ({', '.join(names)}), and the data {len(wanted)} "
            f"({', '.join(wanted)}); where they lack some, name all that it knows in its order (--classes A,B,C)."
        )
    if names == wanted:
        return None, []
    if sorted(names) == sorted(wanted):
        return [names.index(name) for name in wanted], [
            f"The model's classes were put in the order {', '.join(wanted)}."
        ]
    if names == [str(number) for number in range(len(names))]:
        pairs = ", ".join(f"{number} = {name}" for number, name in enumerate(wanted))
        return None, [f"The model numbers its classes; they were matched by place: {pairs}."]
    raise ModelError(
        f"The model's classes ({', '.join(names)}) are not the data's ({', '.join(wanted)}); name them alike, or "
        "number "
        "them from 0 in the data's order when the model is trained."
    )


def _word(value: Any) -> str:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool):
        return str(int(value))
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
