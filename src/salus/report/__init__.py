"""Pages of audits, drawn from stored results alone."""

from salus.report.page import write_report

__all__ = ["write_report"]
