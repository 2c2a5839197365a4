"""What audits measure: shares with intervals, per-class figures, health figures, detection, similarity."""

from salus.metrics.classification import accuracy, balanced_accuracy, confusion, macro_f1, per_class, score_auc
from salus.metrics.commonest import Commonest, commonest
from salus.metrics.detection import FEWEST_ADVERSARIAL, auc, roc
from salus.metrics.ec57 import ec57_table, ec57_under_attack
from salus.metrics.harm import HarmWeights, mean_harm
from salus.metrics.health import health
from salus.metrics.implied import Implied, implied
from salus.metrics.intervals import Rate, mean_proportion, mean_value, proportion, wilson
from salus.metrics.labels import easiest_label, per_label
from salus.metrics.optimality import area_under_curve, on_grid, optimality, robust_accuracy_curve, union
from salus.metrics.published import paper_accuracy, paper_auc
from salus.metrics.similarity import cross_correlation, mse, nrmse, similarities, ssim
from salus.metrics.skin_lesion_thesis import thesis_figures

__all__ = [
    "FEWEST_ADVERSARIAL",
    "Commonest",
    "HarmWeights",
    "Implied",
    "Rate",
    "accuracy",
    "area_under_curve",
    "auc",
    "balanced_accuracy",
    "commonest",
    "confusion",
    "cross_correlation",
    "easiest_label",
    "ec57_table",
    "ec57_under_attack",
    "health",
    "implied",
    "macro_f1",
    "mean_harm",
    "mean_proportion",
    "mean_value",
    "mse",
    "nrmse",
    "on_grid",
    "optimality",
    "paper_accuracy",
    "paper_auc",
    "per_class",
    "per_label",
    "proportion",
    "robust_accuracy_curve",
    "roc",
    "score_auc",
    "similarities",
    "ssim",
    "thesis_figures",
    "union",
    "wilson",
]
