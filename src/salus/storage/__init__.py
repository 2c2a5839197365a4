"""Run folders: what one command writes and goes on from, and what machine it ran on."""

from salus.storage.folder import RESULTS_FORM, Store, digest, slug
from salus.storage.machine import find_device, versions
from salus.storage.rows import RowReader, RowWriter
from salus.storage.trainings import TrainingFolder

__all__ = [
    "RESULTS_FORM",
    "RowReader",
    "RowWriter",
    "Store",
    "TrainingFolder",
    "digest",
    "find_device",
    "slug",
    "versions",
]
