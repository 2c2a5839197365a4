"""Writing files so that a reader sees the old one or the new one, never half of one."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from salus.errors import StoreError


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says about a full or forbidden disk into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StoreError(f"The disk that holds {path} is full: free some space and run again.") from error
        reason = error.strerror or str(error)
        raise StoreError(f"Cannot write {path}: {reason}. Choose a folder that you may write to.") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; parents are made.

    Raises:
        StoreError: the disk is full, or the place is not writable.
    """
    with _replaced(path) as place:
        place.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write text in UTF-8, whole or not at all."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all; NaN and infinity, which JSON lacks, are refused."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, whole or not at all."""
    with _replaced(path) as place:
        try:
            save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, place)
        except SafetensorError as error:  # it wraps what the operating system says, in words alone
            code = errno.ENOSPC if f"os error {errno.ENOSPC}" in str(error) else errno.EIO
            raise OSError(code, str(error)) from error


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """Let the block write another file, and put it in the place of ``path`` once it is on the disk."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        place = Path(name)
        try:
            yield place
            with place.open("rb+") as file:
                os.fsync(file.fileno())
            place.chmod(0o666 & ~_umask())
            place.replace(path)
        except BaseException:
            place.unlink(missing_ok=True)
            raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
