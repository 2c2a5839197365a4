"""What all pictures share, and the pictures of data and of trainings."""

from salus.figures.data import dataset_picture
from salus.figures.reconstructions import reconstructions_picture

__all__ = ["dataset_picture", "reconstructions_picture"]
