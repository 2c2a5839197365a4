"""Reading a CSV file into columns of words, a piece at a time."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from numpy.typing import NDArray

from salus.errors import DataError, nearest

#: A column with one of these names holds the labels, unless another is named.
LABEL_NAMES = ("label", "class", "target", "y", "diagnosis")

#: Rows that are read at a time.
ROWS = 4096

SUFFIXES = frozenset({".csv", ".tsv"})

#: Characters of a line and columns of a table, far above those of the widest tables of genes.
MAX_LINE, MAX_COLUMNS = 2**24, 2**20


@dataclass(frozen=True, eq=False)
class RawTable:
    """Rows of a table as their source has them.

    Attributes:
        columns: column name -> its cells: words, or numbers float64 ``[N]`` with NaN where one is missing.
        names: of the rows.
    """

    columns: dict[str, list[str] | NDArray[Any]]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


def read_csv(path: Path) -> Iterator[RawTable]:
    """Read a table some thousand rows at a time; rows are counted from 1, the header aside.

    A file of a header alone gives one piece without rows.

    Raises:
        DataError: the file is no CSV in UTF-8, has no header, or rows of unequal length.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            mark = _delimiter(file.readline(MAX_LINE))
            file.seek(0)
            rows = csv.reader(_lines(file, path), delimiter=mark, strict=True)
            header = check_header(next(rows, []), path)
            number, piece = 0, 0
            columns: list[list[str]] = [[] for _ in header]
            for row in rows:
                if not row:
                    continue
                number += 1
                if len(row) != len(header):
                    raise DataError(
                        f"File {path}: row {number} has {len(row)} cells, the header {len(header)}; mend the row."
                    )
                for cells, cell in zip(columns, row, strict=True):
                    cells.append(cell.strip())
                if number % ROWS == 0:
                    yield _piece(header, columns, piece)
                    piece, columns = number, [[] for _ in header]
            if number > piece or not number:
                yield _piece(header, columns, piece)
    except FileNotFoundError as error:
        raise DataError(f"There is no file {path}; check the path.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"File {path} is not text in UTF-8; save it as CSV in UTF-8.") from error
    except csv.Error as error:
        raise DataError(f"File {path} is no readable CSV ({error}); save it again.") from error
    except OSError as error:
        raise DataError(f"File {path} cannot be read ({error.strerror}).") from error


def check_header(row: Sequence[str], path: Path) -> list[str]:
    """Name the columns.

    Raises:
        DataError: one has the name of another.
    """
    header = [name.strip() for name in row]
    if len(header) > MAX_COLUMNS:
        raise DataError(f"File {path}: its first line names {len(header)} columns, more than {MAX_COLUMNS}.")
    if not any(header):
        raise DataError(f"File {path} is empty; its first line must name the columns.")
    header = [name or f"Unnamed: {position}" for position, name in enumerate(header)]  # as pandas calls them
    seen: set[str] = set()
    for position, name in enumerate(header):
        if name in seen:
            raise DataError(
                f"File {path}: column {position + 1} has the name {name!r} of another; name every column differently."
            )
        seen.add(name)
    return header


def label_column(header: Sequence[str], label: str | None, path: Path) -> str:
    """Find the column of the labels: the one that was named, or the one that is called as such columns are.

    Raises:
        DataError: there is none, or there are several.
    """
    if label is not None:
        return find_column(header, label, path)
    candidates = [name for name in header if name.lower() in LABEL_NAMES]
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise DataError(f"File {path}: columns {' and '.join(candidates)} could hold the label; name one with --label.")
    raise DataError(
        f"File {path} has no column called {', '.join(LABEL_NAMES[:-1])} or {LABEL_NAMES[-1]}; name the one "
        f"that holds the label with --label. Columns: {', '.join(header)}."
    )


def find_column(header: Sequence[str], name: str, path: Path) -> str:
    """Check that there is a column of this name.

    Raises:
        DataError: there is none; the nearest name is given.
    """
    if name not in header:
        raise DataError(f"File {path} has no column {name!r}; {nearest(name, header)}")
    return name


def _piece(header: Sequence[str], columns: list[list[str]], before: int) -> RawTable:
    names = tuple(f"row {number}" for number in range(before + 1, before + 1 + len(columns[0])))
    return RawTable(dict(zip(header, columns, strict=True)), names)


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    """Read lines, none of them longer than a line of a table can be."""
    while line := file.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise DataError(f"File {path} has a line of over {MAX_LINE} characters; it is no table in CSV.")
        yield line


def _delimiter(line: str) -> str:
    """The comma, unless the header has none and has semicolons or tabs."""
    return next((mark for mark in ",;\t" if mark in line), ",")
