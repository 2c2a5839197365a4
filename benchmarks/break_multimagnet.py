"""Attack MultiMagNet as it is deployed, by who knows it: detector and reformer of one draw, on MNIST or CIFAR-10.

Run: python benchmarks/break_multimagnet.py runs/multimagnet [--data mnist] [--images 10] [--norm l2] [--eps 2]

Needs what `salus reproduce multimagnet` left in its folder: classifier, autoencoders and the configuration that was
chosen on clean images, which is what the study itself attacks, 200 images at a time. Prints how likely each image is to
be accepted and wrong over the ensemble's draws, and how long it took.
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
from salus.purifiers import MultiMagNetReformer
from salus.threats import adaptive


def main() -> None:
    """Attack, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of `salus reproduce multimagnet`")
    parser.add_argument("--data", choices=("mnist", "cifar10"), default="mnist", help="which of its two sets of data")
    parser.add_argument("--images", type=int, default=10, help="the first so many test images")
    parser.add_argument("--norm", choices=("linf", "l2"), default="l2", help="in which the change is measured")
    parser.add_argument("--eps", type=float, default=2.0, help="length of the change")
    parser.add_argument("--steps", type=int, default=40, help="of PGD")
    given = parser.parse_args()
    classifier = Classifier.load(given.run / "classifiers" / given.data)
    repository = Repository.load(given.run / "autoencoders" / given.data)
    calibration = given.run / "calibrations" / f"{given.data}-clean.json"
    detector = MultiMagNet(calibration=calibration, repository=repository, draw_seed=0)
    reformer = MultiMagNetReformer(repository=repository, draw_seed=0)
    test = load(given.data).test
    x, y = test.x[: given.images], test.y[: given.images]
    guard = Guard(classifier, [detector.fit(classifier, x, y)], reformer.fit(classifier, x, y))
    right = guard(x).answers == y
    started = time.perf_counter()
    found = adaptive(PGD(norm=given.norm, eps=given.eps, steps=given.steps), guard, x, y)
    print(f"{int(right.sum())} of {len(x)} accepted and right when clean")
    print(f"{int(found.success.sum())} of {len(x)} accepted and wrong at {given.norm} {given.eps:g}, by one draw")
    print(f"chances over all draws: {', '.join(f'{chance:.2f}' for chance in found.chances.tolist())}")
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
