"""How much of the papers' effort is spent: the scales smoke, small, letter and full.

A scale takes fewer beats, epochs and folds than the papers. Their learning rates and the weights of their losses it
leaves alone: where so few steps do not suffice for these, the page shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from salus.hardening.gan_options import GANOptions, preset
from salus.training import TrainingOptions
from salus_studies.ecg_atk_gan.attacked import ITERATIONS, TRIES, Released
from salus_studies.frame.scales import Scale

#: The proposed model under each paper's settings, as trainings name it, and the preset.
PROPOSED = {"proposed": "six-attacks", "proposed-four": "four-attacks"}


@dataclass(frozen=True, kw_only=True)
class GANScale(Scale):
    """How much of the papers' effort is spent.

    Attributes:
        per_class: beats of each class after balancing; both papers' 10,000. None where classes are alike already.
        gan: how much less than in the papers' settings: epochs, folds, beats, widths, precision.
        baseline: how the baselines are trained; neither paper says.
        dc_gan_epochs: of Shaker's augmentation.
        iterations: of BIM and PGD in the released attack data.
        tries: random points that HSJ's start is sought among.
        test_beats: test beats of ``as-published``, at natural prevalence; None for all.
        seeds: of untrained networks that DBB and HSJ are made on, one after the other.
        seed_beats: test beats that those seeds get.
        honest_beats: test beats of each class in ``honest``, at most; None for all.
        honest_whole: classes of which all test beats are attacked there.
        query_beats: test beats of each class that AutoAttack and the attacks with 5,000 queries get.
    """

    per_class: int | None
    gan: Mapping[str, Any] = field(default_factory=dict)
    baseline: TrainingOptions = field(default_factory=TrainingOptions)
    dc_gan_epochs: int = 100
    iterations: int = ITERATIONS
    tries: int = TRIES
    test_beats: int | None = None
    seeds: int = 10
    seed_beats: int | None = None
    honest_beats: int | None = None
    honest_whole: tuple[str, ...] = ("S", "F")
    query_beats: int = 50
    queries: int = 5000

    def released(self, column: str, seed: int) -> Released:
        """Give what makes the attacked copies of a column."""
        return Released(column=column, iterations=self.iterations, tries=self.tries, seed=seed)

    def options(self, seed: int, network: str = "proposed") -> GANOptions:
        """Give the GAN's settings: a paper's, and how much less is spent here."""
        return preset(PROPOSED[network], per_class=self.per_class, seed=seed, **self.gan)


_TEXT = (16, 32, 128)  # the four-attack paper's three stages, a quarter of the released code's cost

SCALES: dict[str, GANScale] = {
    "smoke": GANScale(
        per_class=48,
        gan={"widths": (4, 8), "epochs": 1, "folds": 2, "folds_trained": 1},
        baseline=TrainingOptions(epochs=1, balance="none"),
        dc_gan_epochs=1,
        iterations=2,
        tries=2,
        test_beats=120,
        seeds=2,
        seed_beats=30,
        honest_beats=4,
        honest_whole=(),
        query_beats=1,
        queries=60,
    ),
    "small": GANScale(
        per_class=5000,
        gan={"widths": _TEXT, "epochs": 6, "folds_trained": 1, "scored": 2000},
        baseline=TrainingOptions(epochs=4, patience=4, balance="none"),
        dc_gan_epochs=20,
        iterations=10,
        tries=10,
        test_beats=4000,
        seed_beats=1000,
        honest_beats=250,
    ),
    "letter": GANScale(
        per_class=800,  # four trainings of the GAN in little more than an hour, in float32 on one core
        gan={"widths": _TEXT, "epochs": 30, "folds_trained": 2, "scored": 1000},
        baseline=TrainingOptions(epochs=30, patience=30, balance="none"),
        dc_gan_epochs=20,
        iterations=10,
        tries=10,
        seed_beats=1000,
        honest_beats=500,
    ),
    "full": GANScale(
        per_class=10_000,
        gan={"precision": "bfloat16"},
        baseline=TrainingOptions(epochs=100, patience=20, balance="none", precision="bfloat16"),
        query_beats=200,
    ),
}
