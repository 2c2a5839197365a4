"""One attack on a file of any size: read, attacked and written a shard at a time, and gone on with after a kill."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from salus.atomic import storage_errors, write_json
from salus.attacks import UAP, Attack
from salus.batches import rows_held
from salus.classifier import Classifier
from salus.errors import DataError, OptionError, StoreError
from salus.progress import progress
from salus.storage import RowReader, RowWriter

Rows = RowReader | NDArray[Any]

#: Samples in memory at a time; fewer where they are large.
SHARD = 2048

_COLUMNS = ("index", "label", "success", "distance", "queries", "passes")


@dataclass(frozen=True)
class Attacked:
    """What an attack on a file came to: ``n`` samples, ``fooled`` of them, ``computed`` by this run."""

    n: int
    fooled: int
    computed: int


def attack_rows(
    attack: Attack, classifier: Classifier, samples: Rows, labels: Rows, out: Path, *, shard: int | None = None
) -> Attacked:
    """Attack the samples of a file, writing ``x_adv.npy`` and ``results.csv`` as they come.

    A run that was stopped goes on after its last whole shard; the results are those of one run over all, because
    random draws depend on a sample's index alone.

    Args:
        attack: the attack.
        classifier: its victim.
        samples: floats ``[N, ...]`` inside the bounds, on disk or in memory.
        labels: whole numbers, true labels or targets, ``[N]``.
        out: folder to write to, new, empty, or of the same run.
        shard: samples in memory at a time; None: 2048, or fewer where they are large.

    Raises:
        DataError: samples and labels do not fit each other or the classifier.
        StoreError: the folder holds something else, or cannot be written.
    """
    if labels.shape != samples.shape[:1] or labels.dtype.kind not in "iu":
        raise DataError(
            f"The labels must be {len(samples)} whole numbers, one a sample; they are {labels.dtype} "
            f"{list(labels.shape)}."
        )
    if samples.dtype.kind != "f" or tuple(samples.shape[1:]) != classifier.shape:
        takes = ", ".join(map(str, classifier.shape))
        raise DataError(f"The samples are {samples.dtype} {list(samples.shape)}; the model takes floats [N, {takes}].")
    if len(samples) == 0:
        raise DataError("There are no samples to attack.")
    if isinstance(attack, UAP):
        raise OptionError("UAP fits one change to many samples: fit it by UAP.fit and put the Perturbation on a file.")
    if shard is None:
        shard = min(SHARD, rows_held(torch.empty(samples.shape, device="meta"), attack.batch_size))
    identity = {
        "attack": [attack.name, asdict(attack)], "model": classifier.fingerprint(), "shape": list(samples.shape),
        "samples": _sha256(samples, shard), "labels": _sha256(labels, shard), "shard": shard,
    }  # fmt: skip
    state = _State(out, identity, 4 * int(np.prod(samples.shape[1:])))
    fooled, begun, device = state.fooled, state.done, classifier.device
    writer = RowWriter(out / "x_adv.npy", tuple(samples.shape), done=state.done)
    try:
        with progress(attack.title, len(samples), done=state.done) as advance:
            for result in attack.stream(classifier, _parts(samples, labels, begun, shard, device), first=begun):
                writer.append(result.x_adv.cpu().numpy())
                y_part = labels[state.done : state.done + len(result.x_adv)]
                columns = (result.success, result.distance, result.queries, result.passes)
                fooled += int(result.success.sum())
                state.advance(y_part, [column.tolist() for column in columns], fooled)
                advance(len(y_part))
    finally:
        writer.close()
    return Attacked(len(samples), fooled, len(samples) - begun)


class _State:
    """How far a run is, and the table that grows with it."""

    def __init__(self, out: Path, identity: dict[str, Any], row_bytes: int) -> None:
        self.path, self.table = out / "attack.json", out / "results.csv"
        self.identity = json.loads(json.dumps(identity, default=str))
        self.done, self.fooled, size = 0, 0, 0
        if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not self.path.exists())):
            raise StoreError(f"--out {str(out)!r} holds something else; name an empty or a new folder.")
        if self.path.exists():
            try:
                stored = json.loads(self.path.read_text(encoding="utf-8"))
                self.done, self.fooled, size = (int(stored[key]) for key in ("done", "fooled", "table"))
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise StoreError(f"{self.path} cannot be read ({error}); name a new folder.") from error
            if stored.get("identity") != self.identity:
                raise StoreError(f"--out {str(out)!r} holds another attack, model or data; name a new folder.")
        for path, least in ((self.table, size), (out / "x_adv.npy", self.done * row_bytes)):
            if least and (not path.exists() or path.stat().st_size < least):
                raise StoreError(f"{path} is shorter than {self.path} says; name a new folder.")
        if not self.path.exists():
            self._save(0)  # the claim comes first: a folder that holds anything without it is somebody else's
        with storage_errors(out), self.table.open("r+" if size else "w", encoding="utf-8", newline="") as file:
            file.seek(size)
            file.truncate()
            if not size:
                file.write(",".join(_COLUMNS) + "\n")

    def advance(self, labels: NDArray[Any], columns: list[list[Any]], fooled: int) -> None:
        """Add the rows of one shard, then say that it is done."""
        text = io.StringIO()
        rows = zip(range(self.done, self.done + len(labels)), labels.tolist(), *columns, strict=True)
        csv.writer(text, lineterminator="\n").writerows(
            (index, label, str(won).lower(), f"{distance:.9g}", queries, passes)
            for index, label, won, distance, queries, passes in rows
        )
        with storage_errors(self.table), self.table.open("a", encoding="utf-8") as file:
            file.write(text.getvalue())
            file.flush()
            os.fsync(file.fileno())
        self.done += len(labels)
        self.fooled = fooled
        self._save(self.table.stat().st_size)

    def _save(self, table: int) -> None:
        state = {"done": self.done, "fooled": self.fooled, "table": table, "identity": self.identity}
        write_json(self.path, state)


def _sha256(rows: Rows, shard: int) -> str:
    found = hashlib.sha256(str(rows.dtype).encode())
    for first in range(0, len(rows), shard):
        found.update(np.ascontiguousarray(rows[first : first + shard]).tobytes())
    return found.hexdigest()


def _parts(
    samples: Rows, labels: Rows, begun: int, shard: int, device: torch.device
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for first in range(begun, len(samples), shard):
        x = np.ascontiguousarray(samples[first : first + shard], np.float32)
        y = np.ascontiguousarray(labels[first : first + shard], np.int64)
        yield torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)


def read_rows(inputs: Path, labels: Path | None) -> tuple[Rows, Rows]:
    """Open x and y: both in one ``.npz`` file, or two ``.npy`` files, which are read as they are needed.

    Raises:
        DataError: a file is missing or of another kind.
    """
    if inputs.suffix == ".npy":
        if labels is None:
            raise DataError(f"{inputs} holds samples alone: name their labels by --labels FILE.npy.")
        return RowReader(inputs), RowReader(labels)
    try:
        with np.load(inputs, allow_pickle=False) as file:
            return np.asarray(file["x"]), np.asarray(file["y"] if labels is None else RowReader(labels)[:])
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{inputs} is no .npz file with arrays x and y ({error}).") from error
