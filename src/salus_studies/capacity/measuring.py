"""What a verdict and an entry of the log cost on this machine, with one thread."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from salus.guard import Guard
from salus.serve.database import Database
from salus.serve.keys import Keys
from salus.serve.log.entry import VerdictEntry
from salus.serve.log.ledger import Ledger
from salus.serve.log.submission import Submission

#: Sizes of batches, and of groups of entries.
BATCHES, GROUPS = (1, 2, 4, 8, 16, 32, 64), (1, 4, 16, 64, 256, 1024, 4096)
_REPEATS, _SECONDS = 30, 3.0


def verdict_times(guard: Guard, seed: int) -> dict[str, float]:
    """Time verdicts on batches of several sizes: ``fixed`` seconds a pass and ``each`` a sample, by least squares."""
    shape = guard.classifier.shape
    x = torch.rand(max(BATCHES), *shape, generator=torch.Generator().manual_seed(seed))
    guard.hold()  # as the service does
    return _line(BATCHES, [_median(partial(guard, x[:size])) for size in BATCHES])


def log_times(guard: Guard) -> dict[str, float]:
    """Time transactions of the log in SQLite, and say how many bytes an entry takes there."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        keys = Keys.open(place / "keys" / "key.pem", data_folder=None)
        database = Database.open(f"sqlite:///{place / 'data' / 'service.sqlite'}")
        ledger, count = Ledger(database, keys), 0

        def write(size: int) -> None:
            nonlocal count
            submissions = [Submission((_entry(guard, count + number),)) for number in range(size)]
            ledger.write(submissions, preface=(), sign_from=1000)
            count += size

        line = _line(GROUPS, [_median(partial(write, size)) for size in GROUPS])
        ledger.disconnect()
        database.close()
        size = sum(file.stat().st_size for file in (place / "data").iterdir())
    return {**line, "bytes_an_entry": size / count}


def wire(guard: Guard, seed: int) -> dict[str, float]:
    """Count the bytes of a beat on the wire: as JSON, as an array, and those of an answer."""
    x = np.random.default_rng(seed).random((1, *guard.classifier.shape), np.float32)
    answer = {
        "outcome": "accepted",
        "label": guard.classifier.classes[0],
        "probabilities": dict.fromkeys(guard.classifier.classes, 0.123456789),
    }
    return {
        "json": float(len(json.dumps({"inputs": x.tolist(), "prepared": True}))),
        "array": float(x.nbytes),
        "answer": float(len(json.dumps(answer))),
    }


def _entry(guard: Guard, number: int) -> VerdictEntry:
    names = [detector.name for detector in guard.detectors]
    return VerdictEntry(
        guard="hearts",
        bundle="0" * 64,
        request=f"{number:032x}",
        token="local",  # noqa: S106  # the name of a token
        row=0,
        input="0" * 64,
        outcome="accepted",
        label=guard.classifier.classes[0],
        probabilities=dict.fromkeys(guard.classifier.classes, 0.123456789),
        scores=dict.fromkeys(names, 1.23456789),
        thresholds=dict.fromkeys(names, 2.3456789),
        rejected_by=(),
    )


def _median(run: Callable[[], object]) -> float:
    run()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < _REPEATS and (not times or time.perf_counter() - began < _SECONDS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _line(sizes: tuple[int, ...], seconds: list[float]) -> dict[str, float]:
    """Fit seconds = fixed + each x size, each time weighted by its own inverse, so that small ones count too."""
    weights = 1 / np.array(seconds)
    columns = np.stack([np.ones(len(sizes)), np.array(sizes, float)], 1)
    (fixed, each), *_ = np.linalg.lstsq(columns * weights[:, None], np.ones(len(sizes)), rcond=None)
    return {"fixed": max(float(fixed), 0.0), "each": float(each)}
