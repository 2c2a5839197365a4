"""What audits measure: shares with intervals, per-class figures, health figures, detection."""

from salus.metrics.classification import accuracy, balanced_accuracy, confusion, macro_f1, per_class
from salus.metrics.detection import FEWEST_ADVERSARIAL, auc, roc
from salus.metrics.health import health
from salus.metrics.intervals import Rate, proportion, wilson

__all__ = [
    "FEWEST_ADVERSARIAL",
    "Rate",
    "accuracy",
    "auc",
    "balanced_accuracy",
    "confusion",
    "health",
    "macro_f1",
    "per_class",
    "proportion",
    "roc",
    "wilson",
]
