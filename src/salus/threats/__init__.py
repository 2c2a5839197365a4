"""What the attacker knows of a guard, and the attacks that follow from it (DESIGN: threat models).

White-box attacks see a bare classifier; transfer attacks a substitute trained apart; oblivious ones the guard's
classifier without its defence; gray-box ones a twin of the guard; adaptive ones the guard itself, acceptance included.
Every result is judged by the guard's own verdict: an attacked input *falls* when it is accepted and wrong.
Decision-only attacks ask for the guard's final answers, of which a rejection is one, and count every question.
"""

from salus.threats.adaptive import AdaptiveResult, adaptive
from salus.threats.gray_box import gray_box
from salus.threats.latent import LatentSearch
from salus.threats.models import (
    THREAT_MODELS,
    check_threat,
    decision_only,
    full_strength,
    oblivious,
    refusal,
    transfer,
)
from salus.threats.objectives import ClassConsistent, Eq6, FeatureMatching, GuardObjective, Orthogonal
from salus.threats.universal import adaptive_universal, universal_variants

__all__ = [
    "THREAT_MODELS",
    "AdaptiveResult",
    "ClassConsistent",
    "Eq6",
    "FeatureMatching",
    "GuardObjective",
    "LatentSearch",
    "Orthogonal",
    "adaptive",
    "adaptive_universal",
    "check_threat",
    "decision_only",
    "full_strength",
    "gray_box",
    "oblivious",
    "refusal",
    "transfer",
    "universal_variants",
]
