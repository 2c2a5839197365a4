"""Pages and pictures, drawn from stored results alone."""

from salus.report.figures.reconstructions import reconstructions_picture
from salus.report.page import write_report
from salus.report.picture import dataset_picture

__all__ = ["dataset_picture", "reconstructions_picture", "write_report"]
