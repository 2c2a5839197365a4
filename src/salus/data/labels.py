"""The one encoder of labels: words or numbers, of a table, an array or a file, into indices of named classes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from salus.data.split import Indices
from salus.errors import DataError, nearest
from salus.progress import console

#: Whole numbers, and decimals as spreadsheets, pandas and NumPy write them. ``1E5`` is a word (a place on a plate).
_NUMBER = re.compile(r"[+-]?(\d{1,18}|(\d{1,18}\.\d{0,30}|\.\d{1,30})([eE][+-]?\d{1,2})?)", re.ASCII)

#: What pandas and spreadsheets write where nothing is known.
_MISSING = frozenset({"nan", "<na>", "na", "n/a", "nat", "null"})

_MOST_NAMED = 10


def encode_words(words: Sequence[str], classes: Sequence[str] = (), *, name: str) -> tuple[Indices, tuple[str, ...]]:
    """Index words by class; without class names the labels themselves, in order, are the classes.

    Numbers stand in numeric order, words as text. ``2.0`` is the class ``2``.

    Raises:
        DataError: a label is missing, one number is written in two ways, or a label is not among the given classes.
    """
    if classes:
        return encode_against(words, classes, name=name), tuple(classes)
    called = {word: class_name(word) for word in dict.fromkeys(words)}
    _refuse_missing(words, called, name)
    classes = _in_order(set(called.values()), name)
    place = {label: index for index, label in enumerate(classes)}
    return np.array([place[called[word]] for word in words], dtype=np.int64), tuple(classes)


def encode_array(y: NDArray[Any], classes: Sequence[str] = (), *, name: str) -> tuple[Indices, tuple[str, ...]]:
    """Index an array of labels, whole numbers or words, ``[N]`` or ``[N, 1]``; see :func:`encode_words`.

    Raises:
        DataError: the labels are neither, are not one per sample, or do not fit the given classes.
    """
    return encode_words(_words(y, classes, name), classes, name=name)


def encode_against(labels: NDArray[Any] | Sequence[str], classes: Sequence[str], *, name: str) -> Indices:
    """Index labels by the names of given classes, of a model for instance.

    Numbers are compared as numbers: ``1``, ``1.0`` and ``01`` are the class ``1``. Whole numbers that no class is
    called by are places in the list of classes, counted from 0. Where that could be meant otherwise, it is refused.

    Args:
        labels: whole numbers or words ``[N]`` or ``[N, 1]``.
        classes: their names, in order.
        name: of the labels, for messages.

    Raises:
        DataError: a label is no class, or could be read in two ways.
    """
    words = _words(labels, classes, name) if isinstance(labels, np.ndarray) else list(labels)
    distinct = dict.fromkeys(words)
    _refuse_missing(words, distinct, name)
    places = by_name(distinct, classes)
    if len(places) < len(distinct):
        places = _by_place(words, places, classes, name)
    return np.array([places[word] for word in words], dtype=np.int64)


def class_name(word: str) -> str:
    """Call a whole number that is written as a decimal by the whole number, and everything else by itself."""
    if "." not in word or not _NUMBER.fullmatch(word):
        return word
    value = Decimal(word)
    return str(int(value)) if value == value.to_integral_value() else word


def encode_groups(words: Sequence[str], *, name: str, word: str = "patient") -> Indices:
    """Number the patients, or other groups: their own whole numbers where they have some, their rank otherwise."""
    if "" in words:
        raise DataError(f"Data {name!r}: sample {list(words).index('')} has no {word}; fill it in.")
    distinct = set(words)
    whole = all(_is_whole(word) and len(word) < 18 for word in distinct)
    if whole and len({int(word) for word in distinct}) == len(distinct):  # 7 and 007 are two patients
        return np.array([int(word) for word in words], dtype=np.int64)
    return np.unique(np.array(words), return_inverse=True)[1].astype(np.int64)


def _words(y: NDArray[Any] | Sequence[str], classes: Sequence[str], name: str) -> list[str]:
    """Write each label of an array as a word."""
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise DataError(
            f"Data {name!r}: labels have shape {list(y.shape)}; give one whole number or word per sample "
            "(one-hot labels: take the argmax; several labels at once: name them in an array labels)."
        )
    if y.dtype.kind in "US":
        return [str(word.decode(errors="replace") if isinstance(word, bytes) else word) for word in y.tolist()]
    if y.dtype.kind == "b":
        words = ("False", "True") if {"False", "True"} <= set(classes) else ("0", "1")
        return [words[value] for value in y.tolist()]
    if y.dtype.kind == "f":
        if np.isnan(y).any():
            raise DataError(f"Data {name!r}: sample {int(np.isnan(y).argmax())} has no label (NaN); fill it in.")
        if bool((y == np.round(y)).all()) and bool((np.abs(y) < 2**53).all()):
            y = y.astype(np.int64)
    if y.dtype.kind not in "iu":
        raise DataError(f"Data {name!r}: labels must be whole numbers or words, not {y.dtype} values.")
    return [str(value) for value in y.tolist()]


def _refuse_missing(words: Sequence[str], distinct: Iterable[str], name: str) -> None:
    """Refuse an empty label, and among numbers what stands for one."""
    others = [word for word in distinct if word.casefold() not in _MISSING]
    missing = _MISSING if others and all(_NUMBER.fullmatch(word) for word in others) else {"nan", "<na>"}
    for word in distinct:
        if word == "":
            raise DataError(f"Data {name!r}: sample {list(words).index('')} has an empty label; fill it in.")
        if word.casefold() in missing:
            raise DataError(
                f"Data {name!r}: sample {list(words).index(word)} has the label {word!r}, which stands for a missing "
                "one; fill it in, or leave the sample out."
            )


def _in_order(labels: Collection[str], name: str) -> list[str]:
    """Order labels: as numbers where all are, else as text.

    Raises:
        DataError: two labels are the same number.
    """
    spelled: dict[Decimal, str] = {}
    for label in sorted(labels):
        if _NUMBER.fullmatch(label):
            other = spelled.setdefault(Decimal(label), label)
            if other != label:
                raise DataError(
                    f"Data {name!r}: the labels {other!r} and {label!r} are the same number; write them alike if they "
                    "are one class, or as words if they are two."
                )
    if len(spelled) == len(labels):
        return [spelled[value] for value in sorted(spelled)]
    return sorted(labels)


def by_name(words: Iterable[str], classes: Sequence[str]) -> dict[str, int]:
    """Find the classes that are called as labels are; numbers that are equal are called the same."""
    exact = {label: index for index, label in enumerate(classes)}
    equal: dict[Decimal, int] = {}
    for index, label in enumerate(classes):
        if _NUMBER.fullmatch(label) and equal.setdefault(Decimal(label), index) != index:
            equal[Decimal(label)] = -1  # two classes of one number: the spelling alone tells them apart
    places = {}
    for word in words:
        place = exact.get(word, equal.get(Decimal(word), -1) if _NUMBER.fullmatch(word) else -1)
        if place >= 0:
            places[word] = place
    return places


def _by_place(words: Sequence[str], named: dict[str, int], classes: Sequence[str], name: str) -> dict[str, int]:
    """Read whole numbers, not all of which a class is called by, as places in the list of classes.

    Raises:
        DataError: they are none, or could be read in two ways.
    """
    count, distinct = len(classes), list(dict.fromkeys(words))
    numbers = {word: int(class_name(word)) for word in distinct if _is_whole(class_name(word))}
    whole = len(numbers) == len(distinct)
    fits = whole and all(0 <= number < count for number in numbers.values())
    if fits and (not named or len(set(numbers.values())) == count):
        if 0 not in numbers.values():
            said = ", ".join(f"{numbers[word]} is {classes[numbers[word]]!r}" for word in distinct[:_MOST_NAMED])
            console.print(
                f"WARNING: the labels of {name} were read as places in the list of classes, counted from 0 ({said}); "
                "if they are counted from 1, give the classes' names.",
                markup=False,
            )
        return numbers
    some = f"{_some(sorted(numbers, key=lambda word: numbers[word]))}"
    if fits:
        lacking = next(word for word in distinct if word not in named)
        raise DataError(
            f"Data {name!r}: the labels {some} could be names of classes, but none is called {lacking!r}, or places in "
            f"the list of classes, counted from 0; give the classes' names: {_some(classes)}."
        )
    if whole and not named and all(1 <= number <= count for number in numbers.values()):
        raise DataError(
            f"Data {name!r}: the labels {some} could be counted from 1 (1 is {classes[0]!r}), or from 0 (1 is "
            f"{classes[1 % count]!r}, and there is no class {count}); give the classes' names ({_some(classes)}), or "
            f"count from 0 to {count - 1}."
        )
    unknown = [word for word in distinct if word not in named]
    if whole and not named:  # places, of which some lie beyond the list
        unknown = [word for word in distinct if not 0 <= numbers[word] < count]
    hint = nearest(unknown[0], classes)
    others = f" Labels that are no class: {_some(unknown)}." if len(unknown) > 1 else ""
    raise DataError(
        f"Data {name!r}: sample {list(words).index(unknown[0])} has the label {unknown[0]!r}, which is no class; "
        f"{hint}{others}" + ("" if hint.startswith("known") else f" Classes: {_some(classes)}.")
    )


def _some(words: Sequence[str]) -> str:
    more = len(words) - _MOST_NAMED
    return ", ".join(words[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _is_whole(word: str) -> bool:
    return word.isascii() and word.removeprefix("-").isdigit()
