"""Pages and pictures, drawn from stored results alone."""

from salus.report.page import write_report
from salus.report.picture import dataset_picture

__all__ = ["dataset_picture", "write_report"]
