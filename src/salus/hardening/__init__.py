"""Training that makes a classifier more robust."""

from salus.hardening.adversarial_training import AdversarialTraining, madry, single_step, trades
from salus.hardening.dc_gan import augment
from salus.hardening.defensive_distillation import AtTemperature
from salus.hardening.distillation import Distillation, distillation
from salus.hardening.ecg_atk_gan import ECGATKGAN, train_ecg_atk_gan
from salus.hardening.folds import out_of_fold
from salus.hardening.gan_options import PRESETS, GANOptions, preset
from salus.hardening.gradient_regularisation import GradientRegularisation
from salus.hardening.label_cleaning import ConfidentLearning, HighLoss, LabelFinds, without
from salus.hardening.label_judgement import judge
from salus.hardening.noise_to_signal import NoiseToSignal, noise_to_signal
from salus.hardening.registry import METHODS, build_method
from salus.hardening.rounds import Rounds, retrain

__all__ = [
    "ECGATKGAN",
    "METHODS",
    "PRESETS",
    "AdversarialTraining",
    "AtTemperature",
    "ConfidentLearning",
    "Distillation",
    "GANOptions",
    "GradientRegularisation",
    "HighLoss",
    "LabelFinds",
    "NoiseToSignal",
    "Rounds",
    "augment",
    "build_method",
    "distillation",
    "judge",
    "madry",
    "noise_to_signal",
    "out_of_fold",
    "preset",
    "retrain",
    "single_step",
    "trades",
    "train_ecg_atk_gan",
    "without",
]
