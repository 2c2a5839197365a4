"""How much of the paper's effort is spent: the scales smoke, small and full."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from salus.generative.wgan import WGANOptions
from salus.training import TrainingOptions
from salus_studies.frame.scales import Scale


@dataclass(frozen=True, kw_only=True)
class DefenderScale(Scale):
    """What one scale trains, fits and attacks.

    Attributes:
        train_images: of each data set, drawn; None for all.
        test_images: attacked from model E to F; None for all.
        small_networks: how models E and F are trained.
        shallow: options of the wide residual network in the place of WRN-34-8.
        deep: of that in the place of WRN-46-8.
        wide: how they are trained.
        components: Gaussians a class that validation chooses from.
        choosing: training images of each class that a choice is fitted to.
        fitting: training images of each class that a detector is fitted to.
        validation_images: whose likelihood chooses; None for all.
        generator: how Defense-GAN's generator is trained.
        young_epochs: passes over the training images of a generator that is trained for less time.
        trend_images: test images of the descents that go otherwise; None for those that Defense-GAN projects.
        substitute: how each round of E's substitute is trained; None for the threat model's own.
        projected: test images that Defense-GAN projects; None for all.
        shorter: its descents have the paper's iterations divided by so much.
        tuning_images: validation images that attack strengths are tuned on.
        halvings: of the interval that a strength is looked for in.
        wide_images: test images attacked in Table 6; None for all.
        supervised: training images of each class that are attacked for SafetyNet and Subnetwork to learn from.
        choosing_pairs: pairs that their layers are chosen on, a quarter of them to be told apart.
        branch: widths of Subnetwork's convolutions.
        branch_epochs: passes over the pairs of its training.
        gray_images: test images attacked in Tables 7 and 8; None for all.
        own_images: test images that Salus's own gray-box and adaptive attackers get.
        imagenet: network, its options, pixels, and training of Table 9.
    """

    train_images: int | None = None
    test_images: int | None = None
    small_networks: TrainingOptions = field(default_factory=TrainingOptions)
    shallow: Mapping[str, int] = field(default_factory=lambda: {"depth": 34, "width": 8})
    deep: Mapping[str, int] = field(default_factory=lambda: {"depth": 46, "width": 8})
    wide: TrainingOptions = field(default_factory=TrainingOptions)
    components: tuple[int, ...] = (1, 2, 3, 4, 5)
    choosing: int = 4000
    fitting: int = 10_000
    validation_images: int | None = None
    generator: WGANOptions = field(default_factory=WGANOptions)
    young_epochs: int = 10
    trend_images: int | None = None
    substitute: TrainingOptions | None = None
    projected: int | None = None
    shorter: int = 1
    tuning_images: int = 1000
    halvings: int = 10
    wide_images: int | None = None
    supervised: int = 2000
    choosing_pairs: int = 4000
    branch: tuple[int, ...] = (96, 192, 192)
    branch_epochs: int = 20
    gray_images: int | None = None
    own_images: int = 500
    imagenet: Mapping[str, Any] = field(default_factory=dict)

    def iterations(self, published: int) -> int:
        """Give the steps of a descent."""
        return max(1, published // self.shorter)


def wide_name(options: Mapping[str, int]) -> str:
    """Name a wide residual network as the paper does."""
    return f"WRN-{options['depth']}-{options['width']}"


SCALES: dict[str, DefenderScale] = {
    "smoke": DefenderScale(
        train_images=1000,
        test_images=100,
        small_networks=TrainingOptions(epochs=2, batch_size=32),
        shallow={"depth": 10, "width": 1},
        deep={"depth": 16, "width": 1},
        wide=TrainingOptions(epochs=4, batch_size=32),
        components=(1, 2),
        choosing=40,
        fitting=40,
        validation_images=60,
        generator=WGANOptions(epochs=1, width=4, latent=8),
        young_epochs=1,
        trend_images=50,
        substitute=TrainingOptions(epochs=2, batch_size=32),
        projected=60,
        shorter=100,
        tuning_images=20,
        halvings=3,
        wide_images=60,
        supervised=10,
        choosing_pairs=40,
        branch=(4, 4, 4),
        branch_epochs=2,
        gray_images=60,
        own_images=4,
        imagenet={"network": "small-cnn", "options": {}, "size": 32, "training": TrainingOptions(epochs=1)},
    ),
    "small": DefenderScale(
        test_images=2000,
        small_networks=TrainingOptions(epochs=4, patience=4),
        shallow={"depth": 16, "width": 2},
        deep={"depth": 22, "width": 2},
        wide=TrainingOptions(
            epochs=16,
            batch_size=64,
            learning_rate=4e-3,
            weight_decay=0.02,
            averaging=0.999,
            keep="last",
            precision="auto",
        ),
        components=(1, 3, 5),
        choosing=1000,
        fitting=2000,
        validation_images=2000,
        generator=WGANOptions(epochs=6, width=32, learning_rate=2e-4),
        young_epochs=1,
        projected=100,
        tuning_images=300,
        halvings=8,
        wide_images=1000,
        supervised=1400,
        choosing_pairs=1200,
        branch=(48, 96, 96),
        branch_epochs=8,
        gray_images=300,
        own_images=50,
        imagenet={
            "network": "vgg19",
            "options": {},
            "size": 224,
            "training": TrainingOptions(epochs=10, precision="bfloat16"),
        },
    ),
    "full": DefenderScale(
        small_networks=TrainingOptions(epochs=20, patience=20),
        wide=TrainingOptions(epochs=100, patience=100, learning_rate=1e-3, weight_decay=5e-4, precision="bfloat16"),
        generator=WGANOptions(epochs=1000, precision="bfloat16"),
        imagenet={
            "network": "vgg19",
            "options": {},
            "size": 224,
            "training": TrainingOptions(epochs=90, precision="bfloat16"),
        },
    ),
}
