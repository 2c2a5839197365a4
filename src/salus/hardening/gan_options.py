"""How ECG-ATK-GAN is built and trained, and both papers' settings by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from salus.errors import OptionError, nearest
from salus.models.ecg_atk_gan import RELEASED_DROPOUTS, Noise, SkipBlock
from salus.options import check_fields
from salus.training.precision import PrecisionOption

_Weight = Annotated[float, Field(ge=0)]
_Decay = Annotated[float, Field(ge=0, lt=1)]


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
        folds: parts of the cross-validation; 5 in the six-attack paper, the four-attack paper names none.
        folds_trained: how many of them are trained, the first ones; None for all.
        scored: held-out beats that every epoch is scored on, of each class its share; None for all of the fold's.
        per_class: SMOTE brings every class of a fold's training beats to this number; None leaves them.
        widths: of the discriminator's stages.
        skip: the generator's skip blocks, see :class:`salus.models.ecg_atk_gan.Generator`.
        follow: where the released code departs from the text, the ``text`` or the ``code``: there the discriminator's
            own losses have no weights and no ``kappa`` (the generator's have), it drops values at three places, and
            the noise enters the generator through a dense layer of 32 channels.
        precision: see :class:`salus.training.TrainingOptions`.
        seed: of every draw.
    """

    attack_loss: Annotated[
        Literal["cross-entropy", "mae"], Field(description="loss of the head that tells attacked from clean beats")
    ] = "cross-entropy"
    kappa: Annotated[
        tuple[_Weight, _Weight], Field(description="weights of clean and attacked beats in the cross-entropy")
    ] = (1.0, 1.05)
    lambda_atk: Annotated[_Weight, Field(description="weight of the attacked head's loss")] = 10.0
    lambda_ary: Annotated[_Weight, Field(description="weight of the class head's loss")] = 10.0
    lambda_mse: Annotated[_Weight, Field(description="weight of the generator's distance from the clean beat")] = 1.0
    learning_rate: Annotated[float, Field(gt=0, description="Adam's, for both networks")] = 1e-4
    final_rate: Annotated[float, Field(ge=0, le=1, description="share of the rate that is left at the last step")] = 1.0
    betas: Annotated[tuple[_Decay, _Decay], Field(description="Adam's decay of both averages")] = (0.5, 0.999)
    batch_size: Annotated[int, Field(ge=1, description="beats a step")] = 128
    epochs: Annotated[int, Field(ge=1, description="passes over the training beats")] = 100
    folds: Annotated[int, Field(ge=2, description="parts of the cross-validation")] = 5
    folds_trained: Annotated[
        Annotated[int, Field(ge=1)] | None, Field(description="how many of them are trained; none for all")
    ] = None
    scored: Annotated[
        Annotated[int, Field(ge=1)] | None,
        Field(description="held-out beats that every epoch is scored on; none for all"),
    ] = None
    per_class: Annotated[
        Annotated[int, Field(ge=1)] | None,
        Field(description="beats that SMOTE brings every class to; none leaves them"),
    ] = 10_000
    widths: Annotated[
        tuple[Annotated[int, Field(ge=1)], ...],
        Field(min_length=1, description="widths of the discriminator's stages"),
    ] = (32, 64, 128, 256)
    skip: Annotated[SkipBlock, Field(description="the generator's skip blocks; gated is ours, in neither paper")] = (
        "sda"
    )
    follow: Annotated[
        Literal["text", "code"],
        Field(
            description="where the released code departs from the text: code leaves the discriminator's losses "
            "unweighted, has three dropouts and a dense layer for the noise"
        ),
    ] = "text"
    precision: PrecisionOption = "float32"
    seed: Annotated[int, Field(ge=0, description="decides every random draw")] = 0

    def __post_init__(self) -> None:
        check_fields(self, "ECG-ATK-GAN")
        if self.folds_trained is not None and self.folds_trained > self.folds:
            raise OptionError(
                f"ECG-ATK-GAN: of {self.folds} folds no {self.folds_trained} can be trained; ask for fewer by "
                "folds_trained."
            )

    @property
    def of_discriminator(self) -> tuple[float, float]:
        """Weights of the attacked head's and the class head's loss where the discriminator learns."""
        return (1.0, 1.0) if self.follow == "code" else (self.lambda_atk, self.lambda_ary)

    @property
    def head_kappa(self) -> tuple[float, float]:
        """Weights of clean and attacked beats in the attacked head's cross-entropy."""
        return (1.0, 1.0) if self.follow == "code" else self.kappa

    @property
    def dropout_after(self) -> tuple[int, ...]:
        """Stages of the discriminator after which values are dropped, beside the last."""
        last = len(self.widths)
        return tuple(stage for stage in RELEASED_DROPOUTS if stage < last) if self.follow == "code" else ()

    @property
    def noise(self) -> Noise:
        """How the noise enters the generator."""
        return "dense" if self.follow == "code" else "channel"


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
