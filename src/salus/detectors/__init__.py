"""Detectors: each scores inputs, higher = more suspicious, and is calibrated on clean data."""

from salus.detectors.attacked_head import AttackedHead
from salus.detectors.base import Detector, calibrate_together
from salus.detectors.calibration import ReferenceScores
from salus.detectors.deep_knn import DeepKNN
from salus.detectors.defense_gan import DefenseGAN
from salus.detectors.feature_squeezing import FeatureSqueezing
from salus.detectors.idefender import IDefender
from salus.detectors.kde import KDE
from salus.detectors.lid import LID
from salus.detectors.magnet import MagNet
from salus.detectors.mahalanobis import Mahalanobis
from salus.detectors.multimagnet import MultiMagNet
from salus.detectors.registry import DETECTORS, build_detector
from salus.detectors.safetynet import SafetyNet
from salus.detectors.subnetwork import Subnetwork

__all__ = [
    "DETECTORS",
    "KDE",
    "LID",
    "AttackedHead",
    "DeepKNN",
    "DefenseGAN",
    "Detector",
    "FeatureSqueezing",
    "IDefender",
    "MagNet",
    "Mahalanobis",
    "MultiMagNet",
    "ReferenceScores",
    "SafetyNet",
    "Subnetwork",
    "build_detector",
    "calibrate_together",
]
