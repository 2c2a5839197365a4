"""One family of errors: every message is a full sentence that names the thing, the place and the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

#: Characters of a message, and names in it: what is wrong with a file may be a word of a million letters.
_LONGEST, _MOST_NAMES = 1500, 1000


class SalusError(Exception):
    """A mistake in what Salus was given; the command line prints it as one sentence and exits with 2."""

    def __init__(self, message: object = "") -> None:
        text = str(message)
        if not text.isprintable():  # line breaks and the like in the names of a damaged file
            text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
        half = _LONGEST // 2
        super().__init__(text if len(text) <= _LONGEST else f"{text[:half]} [...] {text[-half:]}")


class DataError(SalusError):
    """The data cannot be used: wrong shape, NaN, out of bounds, labels that do not match, a broken file."""


class ModelError(SalusError):
    """The classifier cannot be used: wrong shape, wrong class count, broken weights, NaN logits."""


class OptionError(SalusError):
    """An option, of an attack, a defence or a plan, is unknown or has a value that makes no sense."""


class CalibrationError(SalusError):
    """The samples cannot carry what a detector was asked for."""


class BundleError(SalusError):
    """A saved model or guard is missing, truncated, tampered with, or made by another version."""


class StoreError(SalusError):
    """A folder cannot be written, is full, or holds something else."""


class EndpointError(SalusError):
    """A served guard or classifier cannot be reached, refuses what it is asked, or is another than it was."""


class EngineError(SalusError):
    """The machines or processes that were to do the work cannot be had, or are gone."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Name the known words nearest to a misspelt one, as the end of an error message."""
    known = sorted(known)
    if len(known) > _MOST_NAMES:
        return f"known are {len(known)} others."
    close = get_close_matches(word, known, n=2, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(repr(name) for name in close)}?"
    return f"known: {', '.join(known)}."
