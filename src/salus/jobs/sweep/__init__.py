"""Hardening by many settings, seeds and folds, of which the best on data that are not the test's is kept."""

from salus.jobs.sweep.options import SweepOptions
from salus.jobs.sweep.run import Swept, run_sweep

__all__ = ["SweepOptions", "Swept", "run_sweep"]
