"""Validate the default image network after every epoch, with statistics of the steps and with fresh ones.

    python benchmarks/steady_training.py --data digits --data lesions-grey/ --seeds 0,1

``gathered`` is training as it was: batch normalisation is validated with the running statistics of the steps.
``fresh`` is training as it is. Each run is added to ``steady_training.json``, in the place of an earlier one.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from salus import atomic
from salus.data import Dataset, load
from salus.models import default_model
from salus.training import Recipe, TrainingOptions, fit_classifier

OUT = Path(__file__).with_suffix(".json")


class Gathered(Recipe):
    """Ordinary training whose batch normalisation keeps the statistics of the steps."""

    def statistics_inputs(self, x: Tensor) -> Tensor | None:
        """Keep what was gathered."""
        return None


def main() -> None:
    """Train, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, help="a data set or a folder of images")
    parser.add_argument("--seeds", default="0", help="0,1,2")
    parser.add_argument("--most", type=int, default=3000, help="training samples at most")
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    for name in options.data:
        splits = load(name)
        assert splits.validation is not None
        train, validation = some(splits.train, options.most), some(splits.validation, options.most // 2)
        for seed in map(int, options.seeds.split(",")):
            for way, recipe in (("gathered", Gathered()), ("fresh", Recipe())):
                training = TrainingOptions(seed=seed, epochs=options.epochs)
                began = time.monotonic()
                model = default_model("image")
                _, history = fit_classifier(model, train, validation, training, recipe=recipe)
                accuracies = [epoch.accuracy for epoch in history.epochs]
                row = {
                    "data": Path(name).name,
                    "train": len(train),
                    "validation": len(validation),
                    "seed": seed,
                    "statistics": way,
                    "kept": history.best,
                    "kept_accuracy": percent(accuracies[history.best - 1]),
                    "largest_fall_after_epoch_2": percent(largest_fall(accuracies[2:])),
                    "accuracy": [percent(value) for value in accuracies],
                    "macro_recall": [percent(epoch.macro_recall) for epoch in history.epochs],
                    "loss": [round(epoch.loss, 3) for epoch in history.epochs],
                    "seconds": round(time.monotonic() - began),
                }
                print(json.dumps(row), flush=True)
                store(row)


def some(data: Dataset, most: int) -> Dataset:
    """Choose samples at random, the same in every run."""
    return data.subset(torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:most])


def largest_fall(values: list[float]) -> float:
    """Return by how much a value is below the one before it, at most."""
    return max((before - after for before, after in pairwise(values)), default=0.0)


def percent(share: float) -> float:
    """Write a share in percent."""
    return round(100 * share, 1)


def store(row: dict[str, Any]) -> None:
    """Add a row to the file of results."""
    rows: list[dict[str, Any]] = json.loads(OUT.read_text()) if OUT.exists() else []
    same = ("data", "seed", "statistics")
    rows = [other for other in rows if any(other[key] != row[key] for key in same)] + [row]
    atomic.write_text(OUT, "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


if __name__ == "__main__":
    main()
