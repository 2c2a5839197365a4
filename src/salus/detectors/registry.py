"""Detectors by the name that the command line and plans use."""

from __future__ import annotations

import inspect
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
from salus.errors import OptionError, nearest

DETECTORS: dict[str, type[Detector]] = {
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
}


def build_detector(name: str, options: Mapping[str, Any], *, seed: int = 0) -> Detector:
    """Make the detector of this name with these options; the seed is for those that draw at random.

    Raises:
        OptionError: the detector or an option is unknown, or a value makes no sense.
    """
    if name not in DETECTORS:
        raise OptionError(f"Unknown defence {name!r}; {nearest(name, DETECTORS)}")
    cls = DETECTORS[name]
    known = list(inspect.signature(cls).parameters)
    for key in options:
        if not known:
            raise OptionError(f"Defence {name!r} takes no options; leave {key!r} out.")
        if key.replace("-", "_") not in known:
            raise OptionError(f"Defence {name!r} has no option {key!r}; {nearest(key, known)}")
    given = {key.replace("-", "_"): value for key, value in options.items()}
    return cls(**({"seed": seed, **given} if "seed" in known else given))
