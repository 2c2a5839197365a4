"""How many images a second the low-level transformation purifies: WebP and a flip.

Run: python benchmarks/webp.py [--count 512] [--size 64] [--quality 50] [--repeats 5]

Skin lesions of ham10000 where they are at hand, else noise, which compresses worst. Ends with 1 below the limit.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time

import PIL
import torch
from PIL import features
from torch import Tensor

from salus.data import load
from salus.errors import DataError
from salus.purifiers import LowLevel

LIMIT = 400  # images a second at 64 pixels on two cores


def main() -> int:
    """Print images a second of the two together and of each alone; return 1 where both together are too slow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=512, help="images (default %(default)s)")
    parser.add_argument("--size", type=int, default=64, help="pixels of a side (default %(default)s)")
    parser.add_argument("--quality", type=int, default=50, help="of WebP (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="medians are over so many (default %(default)s)")
    options = parser.parse_args()
    x, what = images(options.count, options.size)
    print(
        f"Pillow {PIL.__version__}, libwebp {features.version('webp')}, {os.cpu_count()} cores; {len(x)} images of "
        f"{options.size}x{options.size}, {what}"
    )
    ways = {
        f"webp {options.quality} and flip": LowLevel(quality=options.quality),
        f"webp {options.quality}": LowLevel(quality=options.quality, flip=False),
        "flip": LowLevel(webp=False),
    }
    speeds = {way: speed(purifier, x, options.repeats) for way, purifier in ways.items()}
    for way, found in speeds.items():
        print(f"{way:>20}: {found:8.0f} images/s")
    both = next(iter(speeds.values()))
    print(f"limit: {LIMIT} images/s for both")
    return int(both < LIMIT)


def images(count: int, size: int) -> tuple[Tensor, str]:
    """Take images ``[N, 3, H, W]`` and say what they are."""
    try:
        train = load("ham10000", size=size).train  # class by class
        return train.x[:: max(len(train) // count, 1)][:count], "skin lesions of ham10000"
    except DataError:
        return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0)), "noise"


def speed(purifier: LowLevel, x: Tensor, repeats: int) -> float:
    """Measure images a second, the median of several runs."""
    purifier.purify(x[:8])
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        purifier.purify(x)
        seconds.append(time.perf_counter() - started)
    return len(x) / statistics.median(seconds)


if __name__ == "__main__":
    sys.exit(main())
