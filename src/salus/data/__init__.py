"""Data sets: embedded, fetched, or the user's own."""

from salus.data.base import Dataset, Drop, FeatureMarks, Provenance, Splits
from salus.data.load import catalogue, load

__all__ = ["Dataset", "Drop", "FeatureMarks", "Provenance", "Splits", "catalogue", "load"]
