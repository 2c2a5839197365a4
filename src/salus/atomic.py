"""Writing files so that a reader sees the old one or the new one, never half of one."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from salus.errors import StoreError

#: What safetensors calls the types that are written by rows.
_TYPES = {torch.int64: "I64", torch.float64: "F64", torch.float32: "F32", torch.bool: "BOOL"}


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


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all; parents are made.

    Raises:
        StoreError: the disk is full, or the place is not writable.
    """
    with _replacement(path) as place, storage_errors(path):
        place.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write text in UTF-8, whole or not at all."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all; NaN and infinity, which JSON lacks, are refused."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, whole or not at all."""
    with _replacement(path) as place, storage_errors(path):
        try:
            save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, place)
        except SafetensorError as error:  # it wraps what the operating system says, in words alone
            code = errno.ENOSPC if f"os error {errno.ENOSPC}" in str(error) else errno.EIO
            raise OSError(code, str(error)) from error


@contextmanager
def tensor_rows(path: Path, count: int) -> Iterator[Callable[[Mapping[str, Tensor]], None]]:
    """Write tensors as safetensors, some of their rows at a time; whole or not at all.

    Args:
        path: the file.
        count: how many rows each tensor will have.

    Yields:
        A function that takes the next rows of every tensor, ``[n, ...]`` each, the same tensors every time.

    Raises:
        StoreError: the disk is full, or the place is not writable.
        ValueError: the block wrote more or fewer rows.
    """
    starts: dict[str, int] = {}
    done = 0
    with _replacement(path) as place:
        with storage_errors(path):
            file = place.open("wb")

        def append(rows: Mapping[str, Tensor]) -> None:
            nonlocal done
            with storage_errors(path):
                if not starts:
                    starts.update(_begin(file, rows, count))
                for name, part in rows.items():
                    file.seek(starts[name] + done * part[0].nbytes)
                    file.write(part.detach().cpu().contiguous().numpy().data)
            done += len(part)

        with file:
            yield append
            if done != count:
                raise ValueError(f"{path} was to hold {count} rows, not {done}.")


def _begin(file: IO[bytes], rows: Mapping[str, Tensor], count: int) -> dict[str, int]:
    """Write the header of a safetensors file; return where each tensor begins."""
    header, starts, end = {}, {}, 0
    # In the library's own order, in which the widest types come first and all are aligned.
    for name, part in sorted(rows.items(), key=lambda item: (-item[1].element_size(), item[0])):
        starts[name], end = end, end + count * part[0].nbytes
        header[name] = {
            "dtype": _TYPES[part.dtype],
            "shape": [count, *part.shape[1:]],
            "data_offsets": [starts[name], end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    return {name: 8 + len(text) + start for name, start in starts.items()}


@contextmanager
def _replacement(path: Path) -> Iterator[Path]:
    """Let the block write another file, and put it in the place of ``path`` once it is on the disk."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
    place = Path(name)
    try:
        yield place
        with storage_errors(path):
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
