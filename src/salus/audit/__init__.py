"""Audits: a plan in, stored cells and results out."""

from salus.audit.autoencoders import TrainedRepository, run_autoencoders
from salus.audit.generator import TrainedGenerator, run_generator
from salus.audit.harden import Hardened, run_hardening
from salus.audit.label_search import FoundLabels, run_labels
from salus.audit.plan import Plan
from salus.audit.run import Outcome, run_audit

__all__ = [
    "FoundLabels",
    "Hardened",
    "Outcome",
    "Plan",
    "TrainedGenerator",
    "TrainedRepository",
    "run_audit",
    "run_autoencoders",
    "run_generator",
    "run_hardening",
    "run_labels",
]
