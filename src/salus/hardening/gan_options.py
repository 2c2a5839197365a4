"""How ECG-ATK-GAN is built and trained, and both papers' settings by name."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from salus.errors import OptionError, nearest
from salus.models.ecg_atk_gan import SkipBlock


@dataclass(frozen=True, kw_only=True)
class GANOptions:
    """How the GAN is built and trained; the defaults are the six-attack paper's (sections 2.2 and 3.2).

    Attributes:
        attack_loss: of the head that tells attacked from clean beats: ``cross-entropy``, weighted by ``kappa``
            (six-attack paper, Eq. 1), or ``mae`` (four-attack paper, Eq. 10).
        kappa: weights of clean and attacked beats in that cross-entropy.
        lambda_atk: weight of that loss (lambda_mae in the four-attack paper).
        lambda_ary: weight of the class head's cross-entropy (lambda_class in the four-attack paper).
        lambda_mse: weight of the generator's squared distance from the clean beat.
        learning_rate: of Adam, for both networks.
        final_rate: share of it that is left at the last step, to which it falls in a straight line; both papers
            hold it at 1.
        betas: of Adam.
        batch_size: beats a step.
        epochs: passes over the training beats.
        folds: parts of the cross-validation; 5 in both papers.
        folds_trained: how many of them are trained, the first ones; None for all.
        per_class: SMOTE brings every class of a fold's training beats to this number; None leaves them.
        widths: of the discriminator's stages.
        skip: the generator's skip blocks.
        precision: see :class:`salus.training.TrainingOptions`.
        seed: of every draw.
    """

    attack_loss: Literal["cross-entropy", "mae"] = "cross-entropy"
    kappa: tuple[float, float] = (1.0, 1.05)
    lambda_atk: float = 10.0
    lambda_ary: float = 10.0
    lambda_mse: float = 1.0
    learning_rate: float = 1e-4
    final_rate: float = 1.0
    betas: tuple[float, float] = (0.5, 0.999)
    batch_size: int = 128
    epochs: int = 100
    folds: int = 5
    folds_trained: int | None = None
    per_class: int | None = 10_000
    widths: tuple[int, ...] = (32, 64, 128, 256)
    skip: SkipBlock = "sda"
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("batch_size", "epochs"):
            if getattr(self, name) < 1:
                raise OptionError(f"ECG-ATK-GAN: {name}={getattr(self, name)} will not do; it must be 1 or more.")
        if self.folds < 2 or not (self.folds_trained is None or 1 <= self.folds_trained <= self.folds):
            raise OptionError(
                f"ECG-ATK-GAN: folds={self.folds} with folds_trained={self.folds_trained} will not do; there must be "
                "2 folds or more, of which 1 or more are trained."
            )
        for name in ("lambda_atk", "lambda_ary", "lambda_mse"):
            if not 0 <= getattr(self, name) < math.inf:
                raise OptionError(f"ECG-ATK-GAN: {name}={getattr(self, name)} will not do; it must be 0 or more.")
        if not 0 < self.learning_rate < math.inf:
            raise OptionError(f"ECG-ATK-GAN: learning_rate={self.learning_rate} will not do; it must be above 0.")
        if not 0 <= self.final_rate <= 1:
            raise OptionError(f"ECG-ATK-GAN: final_rate={self.final_rate} will not do; it must be from 0 to 1.")
        if self.attack_loss not in ("cross-entropy", "mae"):
            raise OptionError(f"ECG-ATK-GAN: attack_loss={self.attack_loss!r} is not cross-entropy or mae.")
        if self.skip not in ("sdc", "sda"):
            raise OptionError(f"ECG-ATK-GAN: skip={self.skip!r} is not sdc or sda.")


#: Both papers' settings by name.
PRESETS: dict[str, GANOptions] = {
    "six-attacks": GANOptions(),
    "four-attacks": GANOptions(attack_loss="mae", learning_rate=2e-4, batch_size=64, widths=(16, 32, 128), skip="sdc"),
}


def preset(name: str, **changes: Any) -> GANOptions:
    """Give a paper's settings, with changes.

    Raises:
        OptionError: there is no such preset.
    """
    if name not in PRESETS:
        raise OptionError(f"There is no preset {name!r}; {nearest(name, PRESETS)}")
    return replace(PRESETS[name], **changes)
