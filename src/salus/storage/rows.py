"""Rows of a ``.npy`` file, read and written a few at a time, so that memory does not grow with the file."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from salus.atomic import storage_errors
from salus.errors import DataError
from salus.npy import check_characters, read_npy_header


class RowReader:
    """Reads slices of an array on disk.

    Args:
        path: a ``.npy`` file in C order, without Python objects.

    Raises:
        DataError: it is something else, or shorter than it says.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self.shape, self.dtype = _header(file)
                self._start = file.tell()
        except (OSError, ValueError) as error:
            raise DataError(f"{path} is no .npy file that can be read row by row ({error}).") from error
        if self.shape[0] and not math.prod(self.shape) * self.dtype.itemsize:
            raise DataError(f"{path} holds {self.shape[0]} rows without values.")
        if path.stat().st_size < self._start + math.prod(self.shape) * self.dtype.itemsize:
            raise DataError(f"{path} is shorter than its header says; it was not written to its end.")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        first, last, _ = rows.indices(len(self))
        width = int(np.prod(self.shape[1:]))
        with self.path.open("rb") as file:
            file.seek(self._start + first * width * self.dtype.itemsize)
            values = np.fromfile(file, self.dtype, (last - first) * width)
        try:
            check_characters(values)
        except ValueError as error:
            raise DataError(f"{self.path} is damaged: {error}; save it again.") from error
        return values.reshape(last - first, *self.shape[1:])


class RowWriter:
    """Writes an array to disk slice by slice, and goes on after ``done`` rows of one begun before.

    Args:
        path: the ``.npy`` file; its header says from the start how many rows there will be.
        shape: of the whole array.
        done: rows that are there already; what lies behind them is cut off.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], *, done: int = 0) -> None:
        with storage_errors(path):
            self._file: BinaryIO = path.open("r+b" if done else "w+b")
            described = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(self._file, described)
            self._path = path
            self._file.seek(done * int(np.prod(shape[1:])) * 4, os.SEEK_CUR)
            self._file.truncate()

    def append(self, rows: NDArray[Any]) -> None:
        """Write the next rows and see them onto the disk."""
        with storage_errors(self._path):
            self._file.write(np.ascontiguousarray(rows, "<f4").tobytes())
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    shape, fortran, dtype = read_npy_header(file)
    if fortran or not shape:
        raise ValueError("it must be in C order and hold rows")
    return shape, dtype
