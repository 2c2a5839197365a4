"""Audits: a grid of cells, each computed once, stored, and counted the same way."""

from salus.audit.plan import Plan
from salus.audit.run import Outcome, run_audit

__all__ = ["Outcome", "Plan", "run_audit"]
