"""A model's classes and the data's, matched by their names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from salus.data.labels import by_name, encode_against
from salus.data.split import Indices
from salus.errors import DataError, nearest


def match_classes(own: Sequence[str], known: Sequence[str], *, name: str) -> Indices:
    """Find each class of the data among those of a model, by name; numbers are equal when their values are.

    Whole numbers that no class is called by are places among the model's classes, counted from 0, as
    :func:`salus.data.labels.encode_against` reads them.

    Args:
        own: class names of the data.
        known: class names of the model, in the order of its logits; the data may lack some.
        name: of the data, for messages.

    Returns:
        The place of each of ``own`` among ``known``.

    Raises:
        DataError: the model does not know a class.
    """
    places = by_name(own, known)
    plain = [word.casefold() for word in known]
    for word in own:
        if word not in places and plain.count(word.casefold()) == 1:
            places[word] = plain.index(word.casefold())
    if not places and all(word.isascii() and word.isdigit() for word in own):
        # As arrays of labels have it: places in the list of classes, by their value, not by their rank.
        places = dict(zip(own, encode_against(own, known, name=name).tolist(), strict=True))
    for word in own:
        if word not in places:
            raise DataError(
                f"Data {name!r} have the class {word!r}, which the model does not know; {nearest(word, known)} If its "
                "classes are the same under other names, rename them in the data, or name them by --classes in the "
                "order of the model's logits."
            )
    found = [places[word] for word in own]
    for place in set(found):
        both = [word for word, at in zip(own, found, strict=True) if at == place]
        if len(both) > 1:
            raise DataError(
                f"Data {name!r}: classes {' and '.join(map(repr, both))} are both the model's {known[place]!r}."
            )
    return np.array(found, dtype=np.int64)


def lacking_note(own: Sequence[str], known: Sequence[str], places: Indices) -> list[str]:
    """Say which classes of the model the data lack, and which are spelt otherwise."""
    notes = []
    if lacking := [word for place, word in enumerate(known) if place not in places]:
        notes.append(f"the model also knows classes of which these data have no sample: {', '.join(lacking)}")
    if other := [f"{word} is {known[at]}" for word, at in zip(own, places.tolist(), strict=True) if word != known[at]]:
        notes.append(f"classes spelt otherwise than the model's: {', '.join(other)}")
    return notes
