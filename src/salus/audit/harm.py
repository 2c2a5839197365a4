"""What an audit's answers do to patients, counted from stored answers, so that other weights repeat no attack."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from salus.data import Dataset
from salus.errors import DataError, OptionError, nearest
from salus.metrics import HarmWeights, Rate, health, mean_harm
from salus.options import build, split_spec
from salus.storage import Store

#: The column of a table of weights that says what rejecting an input of each class costs.
REJECTED = "rejected"


@dataclass(frozen=True, kw_only=True)
class ByMap:
    """Weights by the classes that mean disease; answers that name another class of the same side cost nothing.

    Attributes:
        missed: cost of calling the ill healthy.
        false_alarm: cost of calling the healthy ill.
        rejected: cost of rejecting an input.
    """

    missed: Annotated[float, Field(ge=0, description="cost of calling the ill healthy")] = 0.0
    false_alarm: Annotated[float, Field(ge=0, description="cost of calling the healthy ill")] = 0.0
    rejected: Annotated[float, Field(ge=0, description="cost of rejecting an input")] = 0.0

    def spread(self, data: Dataset) -> HarmWeights:
        """Spread them over the classes."""
        ill = [name in data.positive for name in data.classes]
        return HarmWeights(
            tuple(
                tuple(0.0 if sick == called else self.missed if sick else self.false_alarm for called in ill)
                for sick in ill
            ),
            (self.rejected,) * len(ill),
        )


def parse_harm(spec: str, data: Dataset) -> HarmWeights:
    """Read ``missed=10,false-alarm=1,rejected=0.5``, or a CSV file with class names on both sides.

    Raises:
        DataError: the file is missing or broken, its classes are not those of the data, or a weight makes no sense.
        OptionError: an option is unknown, or no class means disease.
    """
    if "=" not in spec or Path(spec).is_file():
        return _read(Path(spec), data.classes)
    _, options = split_spec(f"harm:{spec}", "harm")
    by_map = build(ByMap, options, "harm")
    if not data.positive:
        raise OptionError(
            f"--harm {spec}: no class of {data.provenance.name!r} means disease; name those that do by --positive, or "
            "weigh each pair of classes in a CSV file."
        )
    return by_map.spread(data)


def count_harm(
    store: Store, data: Dataset, records: Sequence[dict[str, Any]], weights: HarmWeights | None
) -> dict[str, Any] | None:
    """Add ``harm`` with its ends to the records of finished cells, and figures that older cells were stored without.

    Args:
        store: holds the answers of each cell.
        data: the samples that all of them judge.
        records: of the cells; they are changed.
        weights: None where no harm is to be counted.

    Returns:
        The weights as plain values for the report.
    """
    positive = [data.classes.index(name) for name in data.positive]
    for record in records:
        record |= Rate(None, None, None, 0).named("harm")
        if record["error"] is not None:
            continue
        if record["health"] is not None and "accuracy" not in record["health"]["left_out"]:
            record["health"] = health(data.y, store.read_answers(record["id"]), positive, data.groups)
        if weights is not None:
            record |= mean_harm(data.y, store.read_answers(record["id"]), weights, data.groups).named("harm")
    if weights is None:
        return None
    return {"matrix": [list(row) for row in weights.matrix], REJECTED: list(weights.rejected)}


def _read(path: Path, classes: Sequence[str]) -> HarmWeights:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file, strict=True) if any(row)]
    except FileNotFoundError as error:
        raise DataError(
            f"There is no table of weights {str(path)!r}; name a CSV file, or write --harm missed=10,false-alarm=1."
        ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"File {path} is no readable CSV ({error}).") from error
    if not rows:
        raise DataError(f"File {path} is empty; it must hold class names on both sides, and weights.")
    header, names = rows[0][1:], [row[0] for row in rows[1:]]
    own = [] if REJECTED in classes else [REJECTED]
    _same(path, "columns", header, classes, own)
    _same(path, "rows", names, classes, [])
    table = {name: _numbers(path, name, row[1:], header) for name, row in zip(names, rows[1:], strict=True)}
    try:
        return HarmWeights(
            tuple(tuple(table[true][answer] for answer in classes) for true in classes),
            tuple(table[true].get(REJECTED, 0.0) if own else 0.0 for true in classes),
        )
    except DataError as error:
        raise DataError(f"File {path}: {error}") from error


def _same(path: Path, where: str, names: Sequence[str], classes: Sequence[str], more: Sequence[str]) -> None:
    """Check that the names on one side are the classes, each once, in any order."""
    for name in names:
        if name not in (*classes, *more):
            raise DataError(f"File {path}: its {where} name no class of the data by {name!r}; {nearest(name, classes)}")
        if names.count(name) > 1:
            raise DataError(f"File {path}: its {where} name {name!r} twice.")
    for name in classes:
        if name not in names:
            raise DataError(f"File {path}: its {where} lack the class {name!r}.")


def _numbers(path: Path, name: str, cells: Sequence[str], header: Sequence[str]) -> dict[str, float]:
    if len(cells) != len(header):
        raise DataError(f"File {path}: the row {name!r} has {len(cells)} weights, but there are {len(header)} columns.")
    numbers = {}
    for answer, cell in zip(header, cells, strict=True):
        try:
            numbers[answer] = float(cell)
        except ValueError as error:
            raise DataError(f"File {path}: the weight of {name!r} called {answer!r} is {cell!r}, no number.") from error
    return numbers
