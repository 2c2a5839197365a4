"""What I-defender costs beside the classifier's own forward pass, on ``ecg-cnn`` at batch 128.

Processor time of one thread, in which other programs on the machine do not count.

Run: python benchmarks/idefender.py
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from salus.classifier import Classifier
from salus.data import Dataset, Provenance
from salus.detectors import IDefender
from salus.guard import Guard
from salus.models import build_model
from salus.training import TrainingOptions, train

BATCH, ROUNDS = 128, 200
LIMIT = 0.15


def main() -> None:
    """Print the share."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    # 8,000 synthetic beats of four shapes: the cost does not depend on what the signals mean.
    y = torch.randint(0, 4, (8000,), generator=generator)
    t = torch.linspace(0, 1, 280)
    x = 0.5 + 0.3 * torch.sin((y[:, None] + 1) * 6.28 * t) + 0.1 * torch.randn(8000, 280, generator=generator)
    data = Dataset(x[:, None].clamp(0, 1), y, ("N", "S", "V", "F"), Provenance("waves", "made here"))
    module = build_model("ecg-cnn", (1, 280), 4, {})
    train(module, data, data.subset(torch.arange(500)), TrainingOptions(epochs=1))
    classifier = Classifier(module, data.classes, shape=(1, 280), name="ecg-cnn")
    guard = Guard(classifier, [IDefender()]).fit(data, data.subset(torch.arange(4000, 8000)))
    batch = data.x[:BATCH]
    unguarded = Guard(classifier)  # gives the same verdict, without looking for attacks
    alone, bare, guarded = [], [], []
    with torch.no_grad():
        for _ in range(ROUNDS):  # in turn, so that a drift of the machine hits both
            alone.append(_seconds(classifier, batch))
            bare.append(_seconds(unguarded, batch))
            guarded.append(_seconds(guard, batch))
    forward, without, both = (statistics.median(times) for times in (alone, bare, guarded))
    print(f"torch {torch.__version__}, 1 thread, {platform.processor() or platform.machine()}")
    print(guard.detectors[0].describe())
    print(
        f"medians of {ROUNDS} rounds of {BATCH} beats: forward pass {1e3 * forward:.2f} ms, verdict without detectors "
        f"{1e3 * without:.2f} ms, with I-defender {1e3 * both:.2f} ms"
    )
    share = (both - without) / forward
    print(f"I-defender costs {share:.1%} of the forward pass (limit {LIMIT:.0%})")
    sys.exit(share > LIMIT)


def _seconds(run: Callable[[Tensor], object], batch: Tensor) -> float:
    started = time.process_time()
    run(batch)
    return time.process_time() - started


if __name__ == "__main__":
    main()
