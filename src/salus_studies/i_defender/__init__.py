"""I-defender (Zheng and Hong, NeurIPS 2018): its nine tables, and what Salus measures beside them."""

from salus_studies.i_defender.published import (
    ALPHAS,
    BLACK_BOX,
    DETECTION,
    EPSILONS,
    GRAY_BOX,
    IMAGENET,
    IMAGENET_LINES,
    REMARKS,
    SEMI_WHITE_BOX,
    SHALLOW_AND_DEEP,
    TARGET_AND_SOURCE,
)

__all__ = [
    "ALPHAS",
    "BLACK_BOX",
    "DETECTION",
    "EPSILONS",
    "GRAY_BOX",
    "IMAGENET",
    "IMAGENET_LINES",
    "REMARKS",
    "SEMI_WHITE_BOX",
    "SHALLOW_AND_DEEP",
    "TARGET_AND_SOURCE",
]
