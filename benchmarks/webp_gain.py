"""What lossy WebP lets through of small changes: the widths of the surrogate in salus.purifiers.low_level.

Run: python benchmarks/webp_gain.py [--count 300] [--size 64] [--level 2] [--quality 20 35 50 65 80 90 100]

Random changes of one level up or down, in blocks of 1 to 16 pixels, are compressed with skin lesions of ham10000
(noise where they are not at hand). The share of each frequency that comes through is fitted by a Gaussian; its width
in space stands beside the one that the surrogate takes. It takes one line for all images; other images, and other
levels, have other widths.
"""

from __future__ import annotations

import argparse
import math
import sys

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from webp import images

from salus.purifiers import LowLevel
from salus.purifiers.low_level import YCBCR, widths

BLOCKS = (1, 2, 4, 8, 16)


def main() -> int:
    """Print fitted and taken widths by quality."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300, help="images (default %(default)s)")
    parser.add_argument("--size", type=int, default=64, help="pixels of a side (default %(default)s)")
    parser.add_argument("--level", type=float, default=2, help="of the changes, in 255ths (default %(default)s)")
    parser.add_argument("--quality", type=int, nargs="+", default=[20, 35, 50, 65, 80, 90, 100], help="of WebP")
    options = parser.parse_args()
    x, what = images(options.count, options.size)
    print(f"{len(x)} images of {options.size}x{options.size}, {what}; changes of {options.level:g}/255")
    print("quality  brightness: passes  width  taken  colour: passes  width  taken")
    for quality in options.quality:
        passed = gain(LowLevel(quality=quality, flip=False), x, options.level / 255)
        taken = widths(quality)
        found = [(float(part.mean()), width(part)) for part in (passed[0], passed[1:].mean(0))]
        print(
            f"{quality:7}  {found[0][0]:18.2f} {found[0][1]:6.2f} {taken[0]:6.2f}  "
            f"{found[1][0]:14.2f} {found[1][1]:6.2f} {taken[1]:6.2f}"
        )
    return 0


def gain(purifier: LowLevel, x: Tensor, level: float) -> Tensor:
    """Measure the share of each frequency that comes through: ``[3, H, W]``, of brightness and of both colours."""
    size = x.shape[2]
    before, through, whole = purifier.purify(x), torch.zeros(3, size, size), torch.zeros(3, size, size)
    rng = torch.Generator().manual_seed(0)
    for block in BLOCKS:
        signs = torch.randn(len(x), 3, size // block, size // block, generator=rng).sign() * level
        changed = (x + signs.repeat_interleave(block, 2).repeat_interleave(block, 3)).clamp(0, 1)
        sent, came = frequencies(changed - x), frequencies(purifier.purify(changed) - before)
        through += (sent * came).sum(0)
        whole += sent.square().sum(0)
    return through / whole


def frequencies(x: Tensor) -> Tensor:
    """Transform square images ``[N, 3, S, S]`` to YCbCr and by an orthonormal DCT-II."""
    place = torch.arange(x.shape[2])
    basis = (math.pi * (place + 0.5) * place[:, None] / len(place)).cos() * math.sqrt(2 / len(place))
    basis[0] /= math.sqrt(2)
    return basis @ torch.einsum("yc,nchw->nyhw", torch.tensor(YCBCR), x) @ basis.T


def width(passed: Tensor) -> float:
    """Fit the standard deviation, in pixels, of the Gaussian that lets through this share of each frequency."""
    cycles = torch.arange(len(passed)) / (2 * len(passed))
    squares = cycles[:, None] ** 2 + cycles**2

    def error(deviation: float) -> float:
        return float((torch.exp(-2 * (math.pi * deviation) ** 2 * squares) - passed).square().mean())

    return float(minimize_scalar(error, bounds=(0, 8), method="bounded").x)


if __name__ == "__main__":
    sys.exit(main())
