"""Controls by the name that the command line and plans use."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from salus.attacks.controls.base import Control
from salus.attacks.controls.images import JPEG, Blur, Brightness, Contrast
from salus.attacks.controls.noise import GaussianNoise, UniformNoise
from salus.attacks.controls.signals import BaselineWander, ElectrodeMotion, Gain, MainsHum, MuscleNoise, TimeShift
from salus.errors import OptionError, nearest
from salus.options import build, split_spec

CONTROLS: dict[str, type[Control]] = {
    cls.name: cls
    for cls in (
        UniformNoise, GaussianNoise,
        BaselineWander, MainsHum, MuscleNoise, ElectrodeMotion, Gain, TimeShift,
        Blur, JPEG, Brightness, Contrast,
    )
}  # fmt: skip


def parse_control(spec: str, **defaults: Any) -> Control:
    """Make a control from ``baseline-wander:snr=12``; ``defaults`` hold where it has them and the text is silent.

    Raises:
        OptionError: it or an option is unknown (the nearest names are given), or a value makes no sense.
    """
    name, options = split_spec(spec, "control")
    if name not in CONTROLS:
        raise OptionError(f"Unknown control {name!r}; {nearest(name, CONTROLS)}")
    known = {field.name for field in fields(CONTROLS[name])}
    usual = {key: value for key, value in defaults.items() if key in known}
    return build(CONTROLS[name], {**usual, **options}, f"control {name!r}")
