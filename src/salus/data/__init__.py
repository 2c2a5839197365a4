"""Data sets: embedded, fetched, or the user's own."""

from salus.data.base import Dataset, Drop, FeatureMarks, Provenance, Splits
from salus.data.fetching import fetch
from salus.data.load import SOURCES, CatalogueEntry, Source, catalogue, load
from salus.data.options import DataOptions, LoadOptions

__all__ = [
    "SOURCES",
    "CatalogueEntry",
    "DataOptions",
    "Dataset",
    "Drop",
    "FeatureMarks",
    "LoadOptions",
    "Provenance",
    "Source",
    "Splits",
    "catalogue",
    "fetch",
    "load",
]
