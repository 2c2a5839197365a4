"""Audits: a plan in, stored cells and results out."""

from salus.audit.plan import Plan
from salus.audit.run import Outcome, run_audit

__all__ = ["Outcome", "Plan", "run_audit"]
