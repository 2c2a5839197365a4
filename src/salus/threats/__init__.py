"""What the attacker knows of a guard, and the attacks that follow from it (DESIGN: threat models).

White-box attacks see a bare classifier; transfer attacks a substitute trained apart; oblivious ones the guard's
classifier without its defence; gray-box ones a twin of the guard; adaptive ones the guard itself, acceptance included.
Every result is judged by the guard's own verdict: an attacked input *falls* when it is accepted and wrong.
Decision-only attacks ask for the guard's final answers, of which a rejection is one, and count every question.
"""

from salus.threats.adaptive import adaptive, each_alone
from salus.threats.base import Alone, AttackedSamples, Samples, StandIn, ThreatModel, Workshop
from salus.threats.drive import Driven, drive, driver
from salus.threats.engines import decision_only, full_strength, oblivious, transfer
from salus.threats.gray_box import gray_box
from salus.threats.latent import LatentSearch
from salus.threats.models import FIXED, THREAT_MODELS, WhiteBox, find_threat, threat_named
from salus.threats.objectives import ClassConsistent, Eq6, FeatureMatching, GuardObjective, LowestSuspicion, Orthogonal
from salus.threats.universal import adaptive_universal, universal_variants
from salus.threats.worst import AdaptiveResult

__all__ = [
    "FIXED",
    "THREAT_MODELS",
    "AdaptiveResult",
    "Alone",
    "AttackedSamples",
    "ClassConsistent",
    "Driven",
    "Eq6",
    "FeatureMatching",
    "GuardObjective",
    "LatentSearch",
    "LowestSuspicion",
    "Orthogonal",
    "Samples",
    "StandIn",
    "ThreatModel",
    "WhiteBox",
    "Workshop",
    "adaptive",
    "adaptive_universal",
    "decision_only",
    "drive",
    "driver",
    "each_alone",
    "find_threat",
    "full_strength",
    "gray_box",
    "oblivious",
    "threat_named",
    "transfer",
    "universal_variants",
]
