"""Arrays in the ``.npy`` format whose header nobody vouches for: checked against what follows before it is believed."""

from __future__ import annotations

import math
import sys
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

MAGIC = np.lib.format.MAGIC_PREFIX


def read_npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read shape, whether the order is Fortran's, and type; the file stands behind the header afterwards.

    Raises:
        ValueError: it is no such header, or there are Python objects, which are never loaded.
    """
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except (OSError, ValueError):
        raise
    except Exception as error:  # it is Python's text, and fails as such
        raise ValueError(f"its header is damaged: {' '.join(str(error).split())}") from error
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never loaded because they can run code")
    if any(size < 0 for size in shape):
        raise ValueError(f"its shape is {shape}")
    return shape, fortran, dtype


def read_npy(file: IO[bytes], size: int) -> NDArray[Any]:
    """Read an array from the beginning of a file of ``size`` bytes; no memory is asked for that the file does not fill.

    Raises:
        ValueError: it is none, holds Python objects, words of no characters, or fewer bytes than its header says.
    """
    shape, _, dtype = read_npy_header(file)
    count, held = math.prod(shape), size - file.tell()
    if count * dtype.itemsize > held or (not dtype.itemsize and count):
        raise ValueError(f"its header promises an array of {list(shape)} {dtype} values, and {held} bytes follow")
    file.seek(0)
    array = np.asarray(np.lib.format.read_array(file, allow_pickle=False))
    check_characters(array)
    return array


def check_characters(array: NDArray[Any]) -> None:
    """Refuse words with numbers for which there is no character: Python cannot make words of them.

    Raises:
        ValueError: there are some.
    """
    if array.dtype.kind == "U" and array.size:
        codes = np.frombuffer(array.tobytes(), np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
        if bool(((codes > sys.maxunicode) | ((codes >= 0xD800) & (codes < 0xE000))).any()):
            raise ValueError("its words hold characters that there are not")
