"""How much of the papers' effort is spent: the scales smoke, small and full."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from salus.hardening.gan_options import GANOptions, preset
from salus.training import TrainingOptions
from salus_studies.ecg_atk_gan.attacked import ITERATIONS, TRIES, Released
from salus_studies.frame.scales import Scale


@dataclass(frozen=True, kw_only=True)
class GANScale(Scale):
    """How much of the papers' effort is spent.

    Attributes:
        per_class: beats of each class after balancing; both papers' 10,000.
        gan: what differs from the six-attack paper's settings.
        clean_epochs: of the GAN where no beat is attacked, so that an epoch has half the steps; None: as otherwise.
        baseline: how the baselines are trained; neither paper says.
        dc_gan_epochs: of Shaker's augmentation.
        iterations: of BIM and PGD in the released attack data.
        tries: random points that HSJ's start is sought among.
        test_beats: test beats of ``as-published``, at natural prevalence; None for all.
        honest_beats: test beats of ``honest``; None for all.
        query_beats: test beats that the attacks with 5,000 queries get.
    """

    per_class: int
    gan: Mapping[str, Any] = field(default_factory=dict)
    clean_epochs: int | None = None
    baseline: TrainingOptions = field(default_factory=TrainingOptions)
    dc_gan_epochs: int = 100
    iterations: int = ITERATIONS
    tries: int = TRIES
    test_beats: int | None = None
    honest_beats: int | None = None
    query_beats: int = 200
    queries: int = 5000

    def released(self, column: str, seed: int) -> Released:
        """Give what makes the attacked copies of a column."""
        return Released(column=column, iterations=self.iterations, tries=self.tries, seed=seed)

    def options(self, seed: int, *, attacked: bool = True) -> GANOptions:
        """Give the GAN's settings, for beats and their attacked copies or for beats alone."""
        epochs = {} if attacked or self.clean_epochs is None else {"epochs": self.clean_epochs}
        return preset("six-attacks", per_class=self.per_class, seed=seed, **{**self.gan, **epochs})


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
        honest_beats=16,
        query_beats=4,
        queries=60,
    ),
    "small": GANScale(
        per_class=5000,
        gan={
            "widths": _TEXT,
            "epochs": 6,
            "batch_size": 64,
            "learning_rate": 5e-4,
            "final_rate": 0.02,
            "lambda_mse": 1000.0,  # at the papers' 1 so few steps leave beats at an SSIM of 0.89
            "folds_trained": 1,
            "precision": "bfloat16",
        },
        clean_epochs=12,  # as many steps as the other columns
        baseline=TrainingOptions(epochs=4, patience=4, balance="none", precision="bfloat16"),
        dc_gan_epochs=20,
        iterations=10,
        tries=10,
        test_beats=4000,
        honest_beats=500,
    ),
    "full": GANScale(
        per_class=10_000,
        gan={"precision": "bfloat16"},
        baseline=TrainingOptions(epochs=100, patience=20, balance="none", precision="bfloat16"),
    ),
}
