"""Who is who: the patient of each sample, by a pattern on its name or by a table of one's own (``--group-by``)."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from salus.data.labels import encode_groups
from salus.data.split import Indices
from salus.errors import DataError, OptionError

#: The columns of a table that says who is who.
COLUMNS = ("name", "group")

_FEW = 3


@dataclass(frozen=True, eq=False)
class Groups:
    r"""The patient of each sample.

    Attributes:
        ids: numbers ``[N]``.
        words: what the source calls each ``[N]``.
        rule: how they were found, for sentences: ``the pattern '(p\d+)_' on names``.
    """

    ids: Indices
    words: tuple[str, ...]
    rule: str

    @classmethod
    def of(cls, words: Sequence[str], rule: str, *, name: str) -> Groups:
        """Number the words; see :func:`salus.data.labels.encode_groups`."""
        return cls(encode_groups(words, name=name), tuple(words), rule)

    @property
    def note(self) -> str:
        """Say who counts as one patient."""
        count = len(set(self.words))
        return f"{count} patient{'s' * (count != 1)} by {self.rule}"


def path_aliases(name: str) -> tuple[str, ...]:
    """What a table may call a file: its path, or the end of it, with or without the suffix."""
    parts = name.split("/")
    ends = ["/".join(parts[first:]) for first in range(len(parts))]
    return (*ends, *(end[: -len(Path(end).suffix)] for end in ends if Path(end).suffix))


def group_names(
    rule: str, names: Sequence[str], *, name: str, aliases: Callable[[str], tuple[str, ...]] = path_aliases
) -> Groups:
    """Find the patient of each sample by its name.

    Args:
        rule: a regular expression with one group, or the path of a CSV file with the columns ``name`` and ``group``.
        names: of the samples.
        name: of the data, for messages.
        aliases: what a table may call a sample, the most exact first.

    Raises:
        OptionError: the rule is neither.
        DataError: it leaves a sample without a patient.
    """
    if rule.lower().endswith(".csv"):
        words = _by_table(Path(rule), names, aliases, name)
        return Groups.of(words, f"the table {Path(rule).name}", name=name)
    if "(" not in rule:
        raise OptionError(
            f"Option group_by {rule!r} is neither a pattern with one group, such as '(patient\\d+)_', nor a CSV file "
            f"with the columns {','.join(COLUMNS)}."
        )
    return Groups.of(by_pattern(rule, names, name=name), f"the pattern {rule!r} on names", name=name)


def by_pattern(rule: str, names: Sequence[str], *, name: str) -> list[str]:
    """Take what the pattern's one group matches in each name.

    Raises:
        OptionError: it is no regular expression, or has not one group.
        DataError: a name does not match.
    """
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise OptionError(f"Option group_by {rule!r} is no regular expression: {error}.") from error
    if pattern.groups != 1:
        raise OptionError(
            f"Option group_by {rule!r} has {pattern.groups} groups; put parentheses around what names the patient, and "
            "write (?:...) for all others."
        )
    matches = [pattern.search(each) for each in names]
    words = [match[1] or "" if match else "" for match in matches]
    _refuse_without([each for each, word in zip(names, words, strict=True) if not word], f"the pattern {rule!r}", name)
    return words


def _by_table(path: Path, names: Sequence[str], aliases: Callable[[str], tuple[str, ...]], name: str) -> list[str]:
    table = _read_table(path)
    calls = [next((alias for alias in aliases(each) if alias in table), None) for each in names]
    _refuse_without([each for each, call in zip(names, calls, strict=True) if call is None], f"file {path}", name)
    owner: dict[str, str] = {}
    for each, call in zip(names, calls, strict=True):
        if call is not None and owner.setdefault(call, each) != each:
            raise DataError(
                f"Data {name!r}: the name {call!r} in {path} could be {owner[call]} or {each}; write there the longer "
                "names."
            )
    return [table[call] for call in calls if call is not None]


def _read_table(path: Path) -> Mapping[str, str]:
    """Read which group each name belongs to."""
    table: dict[str, str] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            head = file.readline()
            file.seek(0)
            rows = csv.DictReader(file, delimiter=next((mark for mark in ",;\t" if mark in head), ","), strict=True)
            header = [column.strip() for column in rows.fieldnames or ()]
            if not set(COLUMNS) <= set(header):
                raise DataError(f"File {path} must have the columns {','.join(COLUMNS)}; it has {', '.join(header)}.")
            rows.fieldnames = header
            for row in rows:
                key, group = ((row[column] or "").strip() for column in COLUMNS)
                if table.setdefault(key, group) != group:
                    raise DataError(f"File {path} says that {key!r} is of {table[key]!r} and of {group!r}; leave one.")
                if not group:
                    raise DataError(f"File {path} has no group for {key!r}; fill it in.")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"File {path}, which is to say who is who (--group-by), cannot be read ({reason}); write a CSV in UTF-8 "
            f"with the columns {','.join(COLUMNS)}."
        ) from error
    return table


def _refuse_without(missing: Sequence[str], what: str, name: str) -> None:
    if missing:
        more = f" and {len(missing) - _FEW} more" if len(missing) > _FEW else ""
        raise DataError(
            f"Data {name!r}: {what} (--group-by) says of {', '.join(missing[:_FEW])}{more} of which patient they are "
            "not; every sample needs one."
        )


def refuse_shared(groups: Groups, sides: Sequence[str], remedy: str, *, name: str) -> None:
    """Refuse patients who stand on two sides of a split that was given.

    Args:
        groups: the patients.
        sides: the side of each sample ``[N]``.
        remedy: what would be right, as the end of a sentence.
        name: of the data, for messages.

    Raises:
        DataError: there are some.
    """
    side = np.array(sides)
    _, codes = np.unique(side, return_inverse=True)
    pairs = np.unique(np.stack([groups.ids, codes]), axis=1)
    ids, counts = np.unique(pairs[0], return_counts=True)
    shared = ids[counts > 1]
    if len(shared):
        first = groups.words[int((groups.ids == shared[0]).argmax())]
        raise DataError(
            f"Data {name!r}: {len(shared)} patient{'s' * (len(shared) > 1)} (the first is group {first}) "
            f"are on both sides; {remedy}"
        )
