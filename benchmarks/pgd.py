"""PGD-40 on a heartbeat classifier, against the floor: its own forward and backward passes."""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn

from salus.attacks import PGD

LIMIT = 1.05
STEPS = 40
BATCH = 128
EPS = 0.01
CLASSES = 5


def main() -> int:
    """Print the ratio and the effect of early stopping; return 1 where the ratio is above the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15, help="interleaved repeats (default 15)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    model = heartbeat_classifier().eval()
    x = torch.rand(BATCH, 1, 280)
    with torch.no_grad():
        y = model(x).argmax(1)

    attack = PGD(eps=EPS, steps=STEPS, early_stop=False)
    seconds = interleaved(
        {
            "floor": lambda: bare_passes(model, x, y),
            "call": lambda: attack(model, x, y),
            "run": lambda: attack.run(model, x, y),
        },
        options.repeats,
    )
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {options.threads} threads")
    print(f"{BATCH} beats [1, 280], {STEPS} steps, medians of {options.repeats} interleaved repeats")
    print(f"bare forward and backward passes   {median(seconds['floor']) * 1e3:8.1f} ms")
    ratios = {}
    for name, title in (("call", f"PGD-{STEPS}"), ("run", f"PGD-{STEPS}, judged at the end")):
        # Each repeat against its own floor, so that a busy machine slows both.
        pairs = zip(seconds[name], seconds["floor"], strict=True)
        ratios[name] = median([took / floor for took, floor in pairs])
        print(f"{title:34} {median(seconds[name]) * 1e3:8.1f} ms   ratio {ratios[name]:.3f}")

    # A fooled beat is one whose label is wrong from the start; the others cannot fall at this eps.
    stopping = PGD(eps=1e-7, steps=STEPS)
    shares = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
    beat = torch.arange(BATCH)
    labels = {share: torch.where(beat < share * BATCH, (y + 1) % CLASSES, y) for share in shares}
    early = interleaved(
        {f"{share:.0%}": _early(stopping, model, x, labels[share]) for share in shares},
        max(3, options.repeats // 3),
    )
    print("with early stopping, by the share of beats already fooled:")
    for share, times in early.items():
        took = median(times)
        print(f"  {share:>4}   {took * 1e3:8.1f} ms   {took / median(early['0%']):.2f} of the time with none fooled")
    return int(ratios["call"] > LIMIT)


def heartbeat_classifier() -> nn.Module:
    """Return Salus's own ECG network, or where that is missing one of its shape."""
    try:
        from salus.models import ECGCNN
    except ImportError:
        layers: list[nn.Module] = []
        channels = 1
        for width in (32, 64, 128, 256):
            layers += [nn.Conv1d(channels, width, 7, padding=3), nn.BatchNorm1d(width), nn.LeakyReLU(0.2)]
            layers += [nn.MaxPool1d(2), nn.Dropout(0.2)]
            channels = width
        return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(channels, CLASSES))
    return ECGCNN(CLASSES)


def bare_passes(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """Do what no gradient attack can leave out: gradients to the input alone, parameters out of the graph."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for _ in range(STEPS):
        point = x.detach().requires_grad_()
        loss = nn.functional.cross_entropy(model(point), y, reduction="sum")
        torch.autograd.grad(loss, point)
    for parameter in model.parameters():
        parameter.requires_grad_(True)


def interleaved(jobs: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Run the jobs in turn, after one round to warm up, and return the seconds of each repeat."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for repeat in range(repeats + 1):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            if repeat > 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def _early(attack: PGD, model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], object]:
    return lambda: attack(model, x, y)


if __name__ == "__main__":
    sys.exit(main())
