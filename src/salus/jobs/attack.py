"""One attack on a file of any size: read, attacked and written a shard at a time, and gone on with after a kill."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from salus.atomic import storage_errors, write_json
from salus.attacks import UAP, Attack
from salus.batches import rows_held
from salus.classifier import Classifier
from salus.data.ranges import FeatureRanges
from salus.errors import DataError, OptionError, StoreError
from salus.metrics import Commonest, commonest
from salus.progress import progress
from salus.storage import RowReader, RowWriter

Rows = RowReader | NDArray[Any]

#: Samples in memory at a time; fewer where they are large.
SHARD = 2048

_COLUMNS = ("index", "name", "label", "right", "success", "distance", "queries", "passes")


@dataclass(frozen=True)
class Attacked:
    """What an attack on a file came to.

    Attributes:
        n: samples.
        right: of these, those that the model answers with their label (of a targeted attack: the target) unattacked.
        fallen: of ``n``, those for which the attack succeeds and that were not so before.
        fooled: of ``n``, those for which the attack succeeds.
        computed: attacked by this run.
        constant: what always giving the commonest label as the answer would do, attacked or not.
        cost: median of what the changes of a sample cost; None where nothing has a cost.
        cost_fallen: the same over the fallen; None where none fell.
    """

    n: int
    right: int
    fallen: int
    fooled: int
    computed: int
    constant: Commonest
    cost: float | None = None
    cost_fallen: float | None = None


def attack_rows(
    attack: Attack,
    classifier: Classifier,
    samples: Rows,
    labels: Rows,
    out: Path,
    *,
    names: Sequence[str] = (),
    shard: int | None = None,
    ranges: FeatureRanges | None = None,
) -> Attacked:
    """Attack the samples of a file, writing ``x_adv.npy`` and ``results.csv`` as they come.

    A run that was stopped goes on after its last whole shard; the results are those of one run over all, because
    random draws depend on a sample's index alone.

    Args:
        attack: the attack.
        classifier: its victim.
        samples: floats ``[N, ...]`` inside the bounds, on disk or in memory.
        labels: places among the classifier's classes, true labels or targets, ``[N]``.
        out: folder to write to, new, empty, or of the same run.
        names: what the source calls each sample ``[N]``; () where it has no names.
        shard: samples in memory at a time; None: 2048, or fewer where they are large.
        ranges: of a table's features, in the units of x, whose costs are written beside each sample.

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
        "attack": [attack.name, attack.identity()], "model": classifier.fingerprint(), "shape": list(samples.shape),
        "samples": _sha256(samples, shard), "labels": _sha256(labels, shard), "shard": shard,
        **({"costs": [ranges.up, ranges.down]} if ranges is not None and ranges.costly else {}),
    }  # fmt: skip
    row_bytes = 4 * int(np.prod(samples.shape[1:]))
    priced = ranges is not None and ranges.costly
    state = _State(out, identity, row_bytes, targeted=attack.targeted, priced=priced)
    begun, device = state.counts["done"], classifier.device
    before: deque[Tensor] = deque()
    writer = RowWriter(out / "x_adv.npy", tuple(samples.shape), done=begun)
    try:
        with progress(attack.title, len(samples), done=begun) as advance:
            parts = _watched(_parts(samples, labels, begun, shard, device), classifier, before)
            for result in attack.stream(classifier, parts, first=begun):
                writer.append(result.x_adv.cpu().numpy())
                first, count = state.counts["done"], len(result.x_adv)
                called = [classifier.classes[label] for label in labels[first : first + count].tolist()]
                right = before.popleft()
                columns = [right, result.success, result.distance, result.queries, result.passes]
                if ranges is not None and priced:
                    x = np.ascontiguousarray(samples[first : first + count], np.float32)
                    columns.append(ranges.cost(torch.from_numpy(x), result.x_adv.cpu()))
                state.advance(names[first : first + count], called, [column.tolist() for column in columns])
                advance(count)
    finally:
        writer.close()
    counts = state.counts
    constant = commonest(np.asarray(labels[: len(labels)]), classifier.classes)
    done = (len(samples), counts["right"], counts["fallen"], counts["fooled"], len(samples) - begun, constant)
    return Attacked(*done, *(state.costs() if priced else ()))


def _watched(
    parts: Iterator[tuple[Tensor, Tensor]], classifier: Classifier, before: deque[Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Note of each shard which samples are answered with their label before they are attacked."""
    for x, y in parts:
        before.append(classifier.answers(x) == y)
        yield x, y


class _State:
    """How far a run is, and the table that grows with it."""

    def __init__(
        self, out: Path, identity: dict[str, Any], row_bytes: int, *, targeted: bool, priced: bool = False
    ) -> None:
        self.path, self.table = out / "attack.json", out / "results.csv"
        self._targeted, self._columns = targeted, (*_COLUMNS, *(("cost",) if priced else ()))
        self.identity = json.loads(json.dumps(identity, default=str))
        self.counts, size = dict.fromkeys(("done", "right", "fallen", "fooled"), 0), 0
        if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not self.path.exists())):
            raise StoreError(f"--out {str(out)!r} holds something else; name an empty or a new folder.")
        if self.path.exists():
            try:
                stored = json.loads(self.path.read_text(encoding="utf-8"))
                self.counts = {key: int(stored[key]) for key in self.counts}
                size = int(stored["table"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise StoreError(f"{self.path} cannot be read ({error}); name a new folder.") from error
            if stored.get("identity") != self.identity:
                raise StoreError(f"--out {str(out)!r} holds another attack, model or data; name a new folder.")
        for path, least in ((self.table, size), (out / "x_adv.npy", self.counts["done"] * row_bytes)):
            if least and (not path.exists() or path.stat().st_size < least):
                raise StoreError(f"{path} is shorter than {self.path} says; name a new folder.")
        if not self.path.exists():
            self._save(0)  # the claim comes first: a folder that holds anything without it is somebody else's
        with storage_errors(out), self.table.open("r+" if size else "w", encoding="utf-8", newline="") as file:
            file.seek(size)
            file.truncate()
            if not size:
                file.write(",".join(self._columns) + "\n")

    def advance(self, names: Sequence[str], labels: Sequence[str], columns: list[list[Any]]) -> None:
        """Add the rows of one shard, then say that it is done."""
        text, first = io.StringIO(), self.counts["done"]
        rows = list(zip(names or [""] * len(labels), labels, *columns, strict=True))
        csv.writer(text, lineterminator="\n").writerows(
            (index, name, label, str(right).lower(), str(won).lower(), f"{distance:.9g}", *rest)
            for index, (name, label, right, won, distance, *rest) in enumerate(rows, first)
        )
        with storage_errors(self.table), self.table.open("a", encoding="utf-8") as file:
            file.write(text.getvalue())
            file.flush()
            os.fsync(file.fileno())
        self.counts["done"] += len(rows)
        for _, _, right, won, *_ in rows:
            self.counts["right"] += right
            self.counts["fooled"] += won
            self.counts["fallen"] += won and right != self._targeted
        self._save(self.table.stat().st_size)

    def costs(self) -> tuple[float, float | None]:
        """Return the median cost over all rows, and over those that fell."""
        with storage_errors(self.table), self.table.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        fell = [row for row in rows if row["success"] == "true" and (row["right"] == "true") != self._targeted]
        every, fallen = ([float(row["cost"]) for row in some] for some in (rows, fell))
        return float(np.median(every)), float(np.median(fallen)) if fallen else None

    def _save(self, table: int) -> None:
        state = {**self.counts, "table": table, "identity": self.identity}
        write_json(self.path, state)


def _sha256(rows: Rows, shard: int) -> str:
    found = hashlib.sha256(str(rows.dtype).encode())
    for first in range(0, len(rows), shard):
        found.update(np.ascontiguousarray(rows[first : first + shard]).tobytes())
    return found.hexdigest()


def _parts(
    samples: Rows, labels: Rows, begun: int, shard: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    for first in range(begun, len(samples), shard):
        x = np.ascontiguousarray(samples[first : first + shard], np.float32)
        y = np.ascontiguousarray(labels[first : first + shard], np.int64)
        yield torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)
