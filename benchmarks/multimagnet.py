"""What MultiMagNet costs: its calibration stage beside the reconstructions, its vote beside ``ecg-cnn``.

The calibration of the whole grid on 4,000 images may cost 1.2 times what nobody can save: ten reconstructions and
the classifier's softmaxes. A vote of five members by reconstruction error may cost three forward passes. All is
processor time of one thread, in which other programs on the machine do not count.

Run: python benchmarks/multimagnet.py  (a minute)
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable

import torch

from salus.classifier import Classifier
from salus.detectors import MultiMagNet
from salus.detectors.divergence import log_probabilities
from salus.detectors.multimagnet_calibration import choose_by_accuracy, measure
from salus.detectors.multimagnet_grid import Grid
from salus.generative import Member, Repository
from salus.guard import Guard
from salus.models import build_model
from salus.models.autoencoders import IMAGES, SIGNALS, AutoencoderSpec, build_autoencoder

BATCH, ROUNDS = 128, 100
IMAGES_TO_CALIBRATE, CALIBRATIONS = 4000, 3
CALIBRATION_LIMIT, VOTE_LIMIT = 1.2, 3.0


def main() -> None:
    """Print both ratios; the exit status says whether one is over its limit."""
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, 1 thread, {platform.processor() or platform.machine()}")
    over = [calibration(), vote()]
    sys.exit(any(over))


def calibration() -> bool:
    """Compare the stage with its reconstructions and softmaxes; small images, of which the rest is a larger share."""
    grid, shape = Grid(), (1, 14, 14)
    classifier, repository = untrained("small-cnn", shape, 10, IMAGES)
    x = torch.rand(IMAGES_TO_CALIBRATE, *shape, generator=torch.Generator().manual_seed(0))

    def floor() -> None:
        with torch.no_grad():
            for part in x.split(512):
                for one in (part, *(repository.reconstruct(i, part) for i in range(len(repository)))):
                    logits = classifier.predict(one)
                    for temperature in grid.temperatures:
                        log_probabilities(logits, temperature).exp()

    def stage() -> None:
        clean, adversarial = (measure(classifier, repository, half, grid.measures) for half in x.split(len(x) // 2))
        choose_by_accuracy(clean, adversarial, grid, attack="none")

    least, whole = in_turn(CALIBRATIONS, floor, stage)
    combinations = len(list(grid.combinations()))
    print(
        f"calibration, medians of {CALIBRATIONS}: {combinations} combinations on {len(x)} images {whole:.2f} s, ten "
        f"reconstructions and the softmaxes {least:.2f} s: {whole / least:.2f} times (limit {CALIBRATION_LIMIT:g})"
    )
    return whole / least > CALIBRATION_LIMIT


def vote() -> bool:
    """Compare a verdict with and without five voting members, on heartbeats."""
    shape = (1, 280)
    classifier, repository = untrained("ecg-cnn", shape, 4, SIGNALS)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(2000, *shape, generator=generator), torch.randint(0, 4, (2000,), generator=generator)
    batch, over = x[:BATCH], False
    for metric in ("re", "jsd"):
        detector = MultiMagNet(metric=metric, repository=repository).fit(classifier, x[:1000], y[:1000])
        guard, unguarded = Guard(classifier, [detector.calibrate(x[1000:])]), Guard(classifier)

        def forward() -> None:
            with torch.no_grad():
                classifier(batch)

        alone, without, both = in_turn(ROUNDS, forward, lambda: unguarded(batch), lambda: guard(batch))  # noqa: B023
        passes = (both - without) / alone
        limit = f"limit {VOTE_LIMIT:g}" if metric == "re" else "no limit: each vote is a forward pass itself"
        print(
            f"n = 5, {metric}, medians of {ROUNDS} rounds of {BATCH} beats: forward pass {1e3 * alone:.2f} ms, verdict "
            f"without detectors {1e3 * without:.2f} ms, with MultiMagNet {1e3 * both:.2f} ms: {passes:.2f} forward "
            f"passes ({limit})"
        )
        over = over or (metric == "re" and passes > VOTE_LIMIT)
    return over


def untrained(
    name: str, shape: tuple[int, ...], classes: int, specs: tuple[AutoencoderSpec, ...]
) -> tuple[Classifier, Repository]:
    """Build a classifier and a repository: what they cost does not depend on what they learnt."""
    classifier = Classifier(build_model(name, shape, classes, {}), [str(k) for k in range(classes)], shape=shape)
    members = [Member(spec, build_autoencoder(shape, spec), 0.0) for spec in specs]
    return classifier, Repository(members, shape=shape)


def in_turn(rounds: int, *runs: Callable[[], object]) -> list[float]:
    """Return each one's median seconds; in turn, so that a drift of the machine hits all."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for own, run in zip(times, runs, strict=True):
            started = time.process_time()
            run()
            own.append(time.process_time() - started)
    return [statistics.median(own) for own in times]


if __name__ == "__main__":
    main()
