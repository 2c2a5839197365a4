"""Training that makes a classifier more robust."""

from salus.hardening.dc_gan import augment
from salus.hardening.ecg_atk_gan import ECGATKGAN, train_ecg_atk_gan
from salus.hardening.gan_options import PRESETS, GANOptions, preset
from salus.hardening.methods import METHODS, build_method
from salus.hardening.retraining import AdversarialTraining, madry, single_step, trades

__all__ = [
    "ECGATKGAN",
    "METHODS",
    "PRESETS",
    "AdversarialTraining",
    "GANOptions",
    "augment",
    "build_method",
    "madry",
    "preset",
    "single_step",
    "trades",
    "train_ecg_atk_gan",
]
