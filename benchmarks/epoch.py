"""The share of an epoch that the network itself takes: the default image network on 4,300 grey images of 64x64.

An epoch of ``salus.training.train`` (order, steps, statistics, validation of 430 images, checkpoint)
beside the bare forward passes, backward passes and steps on floats that lie in memory, in turn, processor time.

Run: python benchmarks/epoch.py
"""

from __future__ import annotations

import copy
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy
import torch
from PIL import Image
from torch import nn

from salus.data import Dataset, load
from salus.models import build_model, default_model
from salus.training import Epoch, TrainingOptions, train

IMAGES, SIZE = 4300, 64
EPOCHS = 2
LIMIT = 0.7


def main() -> None:
    """Print the share."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data, validation = images(Path(folder))
        module = build_model(default_model("image"), tuple(data.x.shape[1:]), 2, {})
        options = TrainingOptions(epochs=EPOCHS)
        bare = Bare(module, data, options)
        whole: list[float] = []
        alone: list[float] = []
        began = time.process_time()

        def measure(epoch: Epoch) -> None:
            nonlocal began
            whole.append(time.process_time() - began)
            alone.append(bare.epoch())
            began = time.process_time()

        train(module, data, validation, options, checkpoint=Path(folder) / "checkpoint", on_epoch=measure)
    shares = [network / epoch for network, epoch in zip(alone, whole, strict=True)]
    share = statistics.median(shares)
    print(f"torch {torch.__version__}, 1 thread, {platform.processor() or platform.machine()}")
    print(f"epoch {statistics.median(whole):.1f} s, of which in the network {statistics.median(alone):.1f} s")
    print(f"share of the network {share:.1%} ({min(shares):.1%} to {max(shares):.1%}; at least {LIMIT:.0%})")
    sys.exit(share < LIMIT)


def images(folder: Path) -> tuple[Dataset, Dataset]:
    """Write noise as grey PNG files, one to three of two classes, and read them as any folder; all of it is learnt."""
    rng = numpy.random.default_rng(0)
    for number in range(IMAGES):
        place = folder / "images" / ("rare" if number % 4 == 0 else "common") / f"{number:04d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE), dtype=numpy.uint8)).save(place)
    splits = load(str(folder / "images"))
    parts = [part for part in (splits.train, splits.validation, splits.calibration, splits.test) if part is not None]
    x, y = torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts])
    assert len(x) == IMAGES and splits.validation is not None
    return Dataset(x, y, splits.train.classes, splits.train.provenance), splits.validation


class Bare:
    """Forward passes, backward passes and steps of one epoch, and nothing else."""

    def __init__(self, module: nn.Module, data: Dataset, options: TrainingOptions) -> None:
        self.module = copy.deepcopy(module).train()
        self.optimizer = torch.optim.AdamW(self.module.parameters(), options.learning_rate)
        self.batches = list(zip(data.x.split(options.batch_size), data.y.split(options.batch_size), strict=True))

    def epoch(self) -> float:
        """Return its processor time."""
        began = time.process_time()
        for x, y in self.batches:
            loss = nn.functional.cross_entropy(self.module(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return time.process_time() - began


if __name__ == "__main__":
    main()
