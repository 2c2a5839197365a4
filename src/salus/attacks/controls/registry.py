"""Controls by the name that the command line and plans use."""

from __future__ import annotations

from typing import Any

from salus.attacks.controls.base import Control
from salus.attacks.controls.images import JPEG, Blur, Brightness, Contrast
from salus.attacks.controls.noise import UniformNoise, WhiteGaussianNoise
from salus.attacks.controls.signals import BaselineWander, ElectrodeMotion, Gain, MainsHum, MuscleNoise, TimeShift
from salus.registry import Registry

_OWN: tuple[type[Control], ...] = (
    UniformNoise,
    WhiteGaussianNoise,
    BaselineWander,
    MainsHum,
    MuscleNoise,
    ElectrodeMotion,
    Gain,
    TimeShift,
    Blur,
    JPEG,
    Brightness,
    Contrast,
)

CONTROLS: Registry[type[Control]] = Registry("control", "salus.controls", {cls.name: cls for cls in _OWN}, Control)


def parse_control(spec: str, **defaults: Any) -> Control:
    """Make a control from ``baseline-wander:snr=12``; ``defaults`` hold where it has them and the text is silent.

    Raises:
        OptionError: it or an option is unknown (the nearest names are given), or a value makes no sense.
    """
    control: Control = CONTROLS.parse(spec, **defaults)
    return control
