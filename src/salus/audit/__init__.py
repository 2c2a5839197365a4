"""Audits: a grid of cells, each computed once, stored, and counted the same way."""

from salus.audit.fleet import Fleet, FleetAudit
from salus.audit.fleet_run import FleetOutcome, run_fleet
from salus.audit.plan import Plan
from salus.audit.run import Outcome, run_audit

__all__ = ["Fleet", "FleetAudit", "FleetOutcome", "Outcome", "Plan", "run_audit", "run_fleet"]
