"""Data sets: embedded, fetched, or the user's own."""

from salus.data.base import Dataset, Drop, FeatureMarks, Provenance, Splits

__all__ = ["Dataset", "Drop", "FeatureMarks", "Provenance", "Splits"]
