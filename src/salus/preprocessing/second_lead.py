"""The second lead of a recording, for the channels that look at one: by its name, whatever the recorder calls it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from salus.errors import DataError
from salus.preprocessing.context import SECOND_LEAD
from salus.preprocessing.wfdb_files import Lead, Order, by_name, lead_names, read_lead

#: As the MIT-BIH records name theirs, the most frequent first.
NAMES = ("V1", "V5", "V2", "V4")


def needs_second(inputs: Sequence[str]) -> bool:
    """Tell whether some of these channels look at a second lead."""
    return bool(SECOND_LEAD & set(inputs))


def besides(first: str) -> Order:
    """Order the leads of a recording other than the first: those of :data:`NAMES`, then the rest."""

    def order(names: Sequence[str]) -> Sequence[str]:
        return by_name(*NAMES, then_others=True)([name for name in names if name != first])

    return order


def no_second(what: str, first: str) -> str:
    """Say that a recording has one lead, and the model looks at two."""
    return f"{what} has no lead beside {first}, and channel second-departure needs one; leave it out of inputs."


def said_of(name: str, second: str, dead: Sequence[str]) -> list[str]:
    """Say which lead was read as the second of a recording, and which before it are dead."""
    return [f"{name}: the second lead is {second}" + "".join(f", as {each} is dead" for each in dead)]


def read_second(record: Path, first: str, inputs: Sequence[str]) -> Lead | None:
    """Read the second lead of a record at 360 Hz; None where no channel needs it.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    if not needs_second(inputs):
        return None
    if not besides(first)(lead_names(record)):
        raise DataError(no_second(f"Record {record}", first))
    return read_lead(record, besides(first))
