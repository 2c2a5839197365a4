"""Detectors by the name that the command line and plans use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from salus.detectors.attacked_head import AttackedHead
from salus.detectors.base import Detector
from salus.detectors.deep_knn import DeepKNN
from salus.detectors.defense_gan import DefenseGAN
from salus.detectors.feature_squeezing import FeatureSqueezing
from salus.detectors.idefender import IDefender
from salus.detectors.kde import KDE
from salus.detectors.lid import LID
from salus.detectors.magnet import MagNet
from salus.detectors.mahalanobis import Mahalanobis
from salus.detectors.multimagnet import MultiMagNet
from salus.detectors.safetynet import SafetyNet
from salus.detectors.subnetwork import Subnetwork
from salus.registry import Registry

DETECTORS: Registry[type[Detector]] = Registry(
    "defence",
    "salus.detectors",
    {
        cls.name: cls
        for cls in (
            IDefender,
            AttackedHead,
            MagNet,
            MultiMagNet,
            DefenseGAN,
            Mahalanobis,
            DeepKNN,
            LID,
            KDE,
            FeatureSqueezing,
            SafetyNet,
            Subnetwork,
        )
    },
    Detector,
)


def build_detector(name: str, options: Mapping[str, Any], *, seed: int = 0) -> Detector:
    """Make the detector of this name with these options; the seed is for those that draw at random.

    Raises:
        OptionError: the detector or an option is unknown, or a value makes no sense.
    """
    detector: Detector = DETECTORS.build(name, options, seed=seed)
    return detector
