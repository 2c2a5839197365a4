"""The folder of one audit or hardening: what is stored, under which hash, and that it is not somebody else's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from torch import Tensor

from salus.atomic import storage_errors, tensor_rows, write_bytes, write_json
from salus.data.published import file_sha256
from salus.errors import StoreError
from salus.progress import console

_FORMAT = "salus-run-1"

#: Of ``results.json``; those written before it was numbered have none. It rises when a field changes its meaning.
RESULTS_FORM = 1


def digest(content: Any) -> str:
    """Hash plain values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def slug(spec: str) -> str:
    """Make a short name for a folder of what a user wrote."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in spec)[:40].strip("-")


class Store:
    """Cells and artefacts of one audit, each written whole or not at all.

    Args:
        folder: the audit's ``--out``.
        kind: what is done there: ``audit``, or ``hardening`` or other work, which no audit may share.
    """

    def __init__(
        self,
        folder: Path,
        kind: Literal["audit", "hardening", "label search", "reproduction", "training", "fleet"] = "audit",
    ) -> None:
        self.folder = folder
        self.kind = kind
        self._a = f"{'an' if kind == 'audit' else 'a'} {kind}"

    def check_free(self) -> None:
        """Refuse a folder that holds something else, before any work is done.

        Raises:
            StoreError: it is a file, holds other things, or cannot be written.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise StoreError(f"--out {str(self.folder)!r} is a file; name a folder.")
        above = next((place for place in self.folder.parents if place.exists()), self.folder)
        if not above.is_dir() and above != self.folder:
            raise StoreError(f"--out {str(self.folder)!r} cannot be written: {above} is a file; name another folder.")
        if self.folder.is_dir():
            with storage_errors(self.folder):
                names = {path.name for path in self.folder.iterdir()} - {".lock"}
                # A kill may leave the half-written temporary file of the very first write.
                names = {name for name in names if not name.startswith(".run.json.")}
            if names and "run.json" not in names:
                raise StoreError(
                    f"--out {str(self.folder)!r} holds something that is no {self.kind} (for example "
                    f"{sorted(names)[0]!r}); name an empty or a new folder."
                )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second audit out of the folder while the block runs."""
        new = not self.folder.exists()
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".lock")
            try:
                lock.acquire(timeout=0)
            except Timeout as error:
                raise StoreError(
                    f"Another {self.kind} is running in {str(self.folder)!r}; wait for it to end."
                ) from error
            # What a killed run had half written.
            for litter in (
                path for room in ("cells", "bare") for path in (self.folder / room).glob(".*.safetensors.*")
            ):
                litter.unlink()
        try:
            yield
        finally:
            lock.release()
            # The lock file stays: removed, it could be locked twice. An empty folder of ours goes.
            if new and {path.name for path in self.folder.iterdir()} <= {".lock"}:
                (self.folder / ".lock").unlink(missing_ok=True)
                self.folder.rmdir()

    def claim(self, identity: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
        """Make the folder this audit's, or go on with it.

        Raises:
            StoreError: it was begun for other data, for another model, or for something else than this.
        """
        path = self.folder / "run.json"
        if path.exists():
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
                known = record["identity"] if record["format"] == _FORMAT else {}
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise StoreError(f"{path} is damaged; name another --out, or delete this folder.") from error
            if (begun := record.get("kind", "audit")) != self.kind:
                raise StoreError(f"--out {str(self.folder)!r} holds another kind of work, {begun}; name a new folder.")
            for key, value in identity.items():
                if digest(known.get(key)) != digest(value):
                    raise StoreError(
                        f"--out {str(self.folder)!r} holds {self._a} with another {key} "
                        f"({_short(known.get(key))}, not {_short(value)}); name another folder."
                    )
        write_json(path, {"format": _FORMAT, "kind": self.kind, "identity": identity, "plan": plan})

    def read_cell(self, key: str) -> dict[str, Any] | None:
        """Read a finished cell; None when there is none, or when it is damaged, which is said."""
        return self._read("cells", key, f"Cell {key[:12]}")

    def has_cell(self, key: str) -> bool:
        """Tell whether there is a finished cell, unless it is damaged."""
        return self._paths("cells", key)[0].exists()

    def cell_rows(self, key: str, count: int) -> AbstractContextManager[Callable[[Mapping[str, Tensor]], None]]:
        """Let a block write a cell's arrays of ``count`` rows, some rows at a time; see ``salus.atomic.tensor_rows``.

        Nobody reads them before :meth:`write_cell` vouches for them.
        """
        return tensor_rows(self._paths("cells", key)[1], count)

    def write_cell(self, key: str, cell: Mapping[str, Any]) -> None:
        """Store the record of a finished cell, which vouches for the arrays that were written before."""
        self._vouch("cells", key, cell)

    def bare_rows(self, key: str, count: int) -> AbstractContextManager[Callable[[Mapping[str, Tensor]], None]]:
        """Let a block write what an attack made of ``count`` samples of a bare classifier's; see :meth:`cell_rows`."""
        return tensor_rows(self._paths("bare", key)[1], count)

    def write_bare(self, key: str, facts: Mapping[str, Any]) -> None:
        """Vouch for what an attack made of a bare classifier's samples, which was written before."""
        self._vouch("bare", key, facts)

    def has_bare(self, key: str) -> bool:
        """Tell whether there is what an attack made of a bare classifier's samples, unless it is damaged."""
        return self._paths("bare", key)[0].exists()

    def read_bare(self, key: str) -> Path | None:
        """Return the file of what an attack made of a bare classifier's samples; None as of :meth:`read_cell`."""
        whole = self._read("bare", key, f"The attack {key[:12]} on the bare classifier")
        return None if whole is None else self._paths("bare", key)[1]

    def put_arrays(self, room: Literal["cells", "bare"], key: str, content: memoryview) -> None:
        """Write a file of arrays that came from elsewhere; nobody reads it before its record vouches for it."""
        write_bytes(self.arrays(room, key), content)

    def arrays(self, room: Literal["cells", "bare"], key: str) -> Path:
        """Name the file of a cell's arrays, or of what an attack made of a bare classifier's samples."""
        return self._paths(room, key)[1]

    def read_answers(self, key: str) -> Tensor:
        """Read what a finished cell's guard answered, int64 ``[N]``, -1 where it rejected; no other array is read."""
        try:
            with safe_open(self._paths("cells", key)[1], framework="pt") as arrays:
                answers: Tensor = arrays.get_tensor("label")
        except (OSError, SafetensorError) as error:
            raise StoreError(f"The answers of cell {key[:12]} cannot be read; run the audit again.") from error
        return answers

    def _read(self, room: str, key: str, what: str) -> dict[str, Any] | None:
        path, arrays = self._paths(room, key)
        if not path.exists():
            return None
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if record["sha256"] != file_sha256(arrays):
                raise ValueError("its arrays were changed or cut short")
        except (OSError, ValueError, KeyError, TypeError) as error:
            console.print(f"{what} is damaged ({error}); it is computed again.")
            return None
        return record

    def _vouch(self, room: str, key: str, record: Mapping[str, Any]) -> None:
        path, arrays = self._paths(room, key)
        write_json(path, {**record, "sha256": file_sha256(arrays)})

    def _paths(self, room: str, key: str) -> tuple[Path, Path]:
        base = self.folder / room
        return base / f"{key[:16]}.json", base / f"{key[:16]}.safetensors"


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
