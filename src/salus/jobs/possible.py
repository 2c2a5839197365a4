"""What the features of a table may become under an attack on a file of samples: as an audit keeps to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from salus.audit.plan import marks
from salus.classifier import Classifier
from salus.data import Dataset, FeatureMarks, Provenance
from salus.data.assemble import RawData, assemble
from salus.data.ranges import FeatureRanges, read_ranges
from salus.data.split import all_test
from salus.errors import DataError
from salus.jobs.attack import SHARD, Rows
from salus.preprocessing import ArrayPreprocessor, TablePreprocessor


def read_possible(path: Path, classifier: Classifier, x: Rows, place: str) -> tuple[dict[str, Any], FeatureRanges]:
    """Read a file of ranges for a model's features, and check the samples against it.

    Features that say which word a column holds are held fixed, as audits hold them.

    Args:
        path: of the CSV file; see :mod:`salus.data.ranges`.
        classifier: the model, whose preprocessor knows the features.
        x: samples ``[N, F]`` as the model takes them.
        place: what to call them.

    Returns:
        What attacks are told by it (``mask``, ``units``, ``ranges``), and the ranges in the units of x.

    Raises:
        DataError: the model is of no table, the file is none or does not fit, or a sample lies outside.
    """
    made = classifier.preprocessor
    features = made.features if isinstance(made, (TablePreprocessor, ArrayPreprocessor)) else ()
    if made is None or not features:
        raise DataError(
            f"Ranges ({path}) are of a table's features by name, and the model in hand names none"
            f"{'' if made is None else f' ({made.describe()})'}; attack it with salus audit --data FILE --ranges, or "
            "train it on a table."
        )
    ranges = read_ranges(path, features)
    held = made.one_hot if isinstance(made, TablePreprocessor) else ()
    checked: Dataset | None = None
    for first in range(0, len(x), SHARD):
        some = np.ascontiguousarray(x[first : first + SHARD], np.float32)
        if some.shape[1:] != classifier.shape:
            break  # the attack refuses them in a sentence of its own
        raw = RawData(
            x=some,
            y=np.zeros(len(some), np.int64),
            classes=classifier.classes,
            provenance=Provenance(place, ""),
            bounds=classifier.bounds,
            features=features,
            marks=FeatureMarks(held),
            preprocessor=made,
            prepared=True,
            ranges=ranges,
        )
        checked = assemble(raw, all_test(len(some))).test
    if checked is None or checked.ranges is None:
        raise DataError(f"{place} holds no samples of the {len(features)} features that {path} is of.")
    return marks(checked), checked.ranges
