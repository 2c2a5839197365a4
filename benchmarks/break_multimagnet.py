"""Attack MultiMagNet on MNIST in L2, where its reconstruction errors see least: a written attempt to break it.

Run: python benchmarks/break_multimagnet.py runs/multimagnet [--images 10] [--eps 2]

Needs what `salus reproduce multimagnet` left in its folder: classifier, autoencoders and the configuration that was
chosen on clean images. Prints how likely each image is to be accepted and wrong over the ensemble's draws.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from salus.attacks import PGD
from salus.classifier import Classifier
from salus.data import load
from salus.detectors import MultiMagNet
from salus.generative import Repository
from salus.guard import Guard
from salus.threats import adaptive


def main() -> None:
    """Attack, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of `salus reproduce multimagnet`")
    parser.add_argument("--images", type=int, default=10, help="the first so many test images")
    parser.add_argument("--eps", type=float, default=2.0, help="length of the change in L2")
    given = parser.parse_args()
    classifier = Classifier.load(given.run / "classifiers" / "mnist")
    detector = MultiMagNet(
        calibration=given.run / "calibrations" / "mnist-clean.json",
        repository=Repository.load(given.run / "autoencoders" / "mnist"),
        draw_seed=0,
    )
    test = load("mnist").test
    x, y = test.x[: given.images], test.y[: given.images]
    guard = Guard(classifier, [detector.fit(classifier, x, y)])
    right = guard(x).answers == y
    started = time.perf_counter()
    found = adaptive(PGD(norm="l2", eps=given.eps, steps=40), guard, x, y)
    print(f"{int(right.sum())} of {len(x)} accepted and right when clean")
    print(f"{int(found.success.sum())} of {len(x)} accepted and wrong at L2 {given.eps:g}, by one draw")
    print(f"chances over all draws: {', '.join(f'{chance:.2f}' for chance in found.chances.tolist())}")
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
