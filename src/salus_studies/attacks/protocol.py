"""Takes the results of the benchmark; ``benchmarks/attacks.py`` measures, row by row, beside five other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from salus_studies.frame.results import Results

if TYPE_CHECKING:
    from salus_studies.attacks.study import AttacksOptions


def run(options: AttacksOptions) -> Results:
    """Read what the benchmark stored.

    Raises:
        StoreError: there is nothing, or it is damaged.
    """
    return Results.read(options.benchmark or Path(__file__).parent)
