"""What all pictures share, and the pictures of data and of trainings."""

from salus.figures.data import dataset_picture
from salus.figures.reconstructions import reconstructions_picture
from salus.figures.signature import free_place

__all__ = ["dataset_picture", "free_place", "reconstructions_picture"]
