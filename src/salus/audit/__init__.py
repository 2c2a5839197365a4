"""Audits: a plan in, stored cells and results out."""

from salus.audit.harden import Hardened, run_hardening
from salus.audit.plan import Plan
from salus.audit.run import Outcome, run_audit

__all__ = ["Hardened", "Outcome", "Plan", "run_audit", "run_hardening"]
