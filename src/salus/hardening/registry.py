"""Methods of hardening by the name that the command line uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from salus.hardening.adversarial_methods import Madry, SingleStep, Trades
from salus.hardening.base import Method
from salus.hardening.defensive_distillation import DefensiveDistillation
from salus.hardening.distillation import AdversarialDistillation
from salus.hardening.gan_method import GAN
from salus.hardening.gradient_regularisation import GradientRegularisationMethod
from salus.hardening.noise_to_signal import NoiseToSignalMethod
from salus.hardening.rounds_method import InRounds
from salus.registry import Registry

METHODS: Registry[type[Method]] = Registry(
    "hardening",
    "salus.hardening",
    {
        cls.name: cls
        for cls in (
            SingleStep,
            Madry,
            Trades,
            NoiseToSignalMethod,
            AdversarialDistillation,
            GradientRegularisationMethod,
            DefensiveDistillation,
            GAN,
            InRounds,
        )
    },
    Method,
)


def build_method(name: str, options: Mapping[str, Any], *, seed: int = 0) -> Method:
    """Make the method of this name with these options; the seed is for those that draw at random.

    Raises:
        OptionError: the method or an option is unknown, or a value makes no sense.
    """
    method: Method = METHODS.build(name, options, seed=seed)
    return method
