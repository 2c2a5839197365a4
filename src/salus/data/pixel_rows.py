"""An array of images that grows by one image at a time: in memory, or on disk where it is large."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np

from salus.atomic import storage_errors
from salus.data.pixels import MOST_VALUES, Pixels
from salus.data.places import cache_folder
from salus.errors import DataError


@dataclass(eq=False)
class PixelRows:
    """Images of one shape, one after another in a file.

    Attributes:
        file: a file without a name, on disk or in memory.
        shape: of one image.
        dtype: of its levels.
        place: the folder on whose disk the file lies.
        count: how many images there are.
    """

    file: IO[bytes]
    shape: tuple[int, int, int]
    dtype: type[np.uint8] | type[np.uint16]
    place: Path
    count: int = 0

    def append(self, image: Pixels) -> None:
        """Write one image behind the others.

        Raises:
            StoreError: the disk is full.
        """
        with storage_errors(self.place):
            self.file.write(np.ascontiguousarray(image, self.dtype).tobytes())
        self.count += 1

    def array(self) -> Pixels:
        """Return the images ``[n, C, H, W]``, at least one; what is written to a mapped array stays in memory.

        Raises:
            StoreError: the disk is full.
        """
        if isinstance(self.file, BytesIO):
            x = np.frombuffer(self.file.getbuffer(), self.dtype)
        else:
            with storage_errors(self.place):
                self.file.flush()
            x = np.memmap(self.file, self.dtype, "c")
        return x.reshape(self.count, *self.shape)


@contextmanager
def pixel_rows(most: int, shape: tuple[int, int, int], *, name: str, deep: bool = False) -> Iterator[PixelRows]:
    """Open an array for at most so many images of one shape, of 8 bits or of 16 (``deep``).

    More than ``MOST_VALUES`` go to the disk of the user's cache. Nobody else can open the file, and the system takes it
    away when the array is no longer used, or the process has died: nothing of a patient stays behind.

    Raises:
        DataError: the disk has no room for them.
        StoreError: the cache cannot be written.
    """
    dtype = np.uint16 if deep else np.uint8
    if math.prod((most, *shape)) <= MOST_VALUES:
        yield PixelRows(BytesIO(), shape, dtype, Path())
        return
    folder = cache_folder()
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        needed, free = math.prod((most, *shape)) * dtype().itemsize, shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"Data {name!r}: {most} images of {shape[1]}x{shape[2]} need {needed / 2**30:.0f} GiB on disk while they "
            f"are used, {folder} has {free / 2**30:.0f}; make them smaller (--size), bring fewer, or name a folder on "
            "a larger disk by SALUS_CACHE."
        )
    with storage_errors(folder):
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed below; errors of writing are not these
    with file:
        yield PixelRows(file, shape, dtype, folder)
