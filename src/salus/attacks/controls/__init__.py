"""Controls: harmless changes that inputs meet every day; a defence that rejects these is not a defence."""

from salus.attacks.controls.base import Control, signal_to_noise
from salus.attacks.controls.images import JPEG, Blur, Brightness, Contrast
from salus.attacks.controls.noise import UniformNoise, WhiteGaussianNoise
from salus.attacks.controls.registry import CONTROLS, parse_control
from salus.attacks.controls.signals import BaselineWander, ElectrodeMotion, Gain, MainsHum, MuscleNoise, TimeShift

__all__ = [
    "CONTROLS",
    "JPEG",
    "BaselineWander",
    "Blur",
    "Brightness",
    "Contrast",
    "Control",
    "ElectrodeMotion",
    "Gain",
    "MainsHum",
    "MuscleNoise",
    "TimeShift",
    "UniformNoise",
    "WhiteGaussianNoise",
    "parse_control",
    "signal_to_noise",
]
