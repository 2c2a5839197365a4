"""Detectors: each scores inputs, higher = more suspicious, and is calibrated on clean data."""

from salus.detectors.attacked_head import AttackedHead
from salus.detectors.base import Detector, calibrate_together
from salus.detectors.calibration import ReferenceScores
from salus.detectors.idefender import IDefender
from salus.detectors.registry import DETECTORS, build_detector

__all__ = [
    "DETECTORS",
    "AttackedHead",
    "Detector",
    "IDefender",
    "ReferenceScores",
    "build_detector",
    "calibrate_together",
]
