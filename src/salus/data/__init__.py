"""Data sets: embedded, fetched, or the user's own."""

from salus.data.base import Dataset, Drop, FeatureMarks, Provenance, Splits
from salus.data.fetching import fetch
from salus.data.load import CatalogueEntry, catalogue, load
from salus.data.options import LoadOptions

__all__ = [
    "CatalogueEntry",
    "Dataset",
    "Drop",
    "FeatureMarks",
    "LoadOptions",
    "Provenance",
    "Splits",
    "catalogue",
    "fetch",
    "load",
]
