"""Two small sets that scikit-learn carries, so that everything can be tried without a download."""

from __future__ import annotations

import hashlib

import numpy as np

from salus.data.assemble import RawData, assemble
from salus.data.base import FeatureMarks, Provenance, Splits
from salus.data.options import LoadOptions
from salus.data.ranges import read_ranges
from salus.data.split import SHARES, describe_shares, stratified
from salus.preprocessing import ArrayPreprocessor
from salus.preprocessing.tables import Column, TablePreprocessor


def load_breast_cancer(options: LoadOptions) -> Splits:
    """Load 569 patients with 30 measurements of cell nuclei: malignant or benign (Wolberg et al., 1995)."""
    import sklearn
    from sklearn.datasets import load_breast_cancer as load_bundled

    bundle = load_bundled()
    x, y = bundle.data, bundle.target.astype(np.int64)
    classes = tuple(str(name) for name in bundle.target_names)
    raw = RawData(
        x=x,
        y=y,
        classes=classes,
        positive=("malignant",),
        features=tuple(str(name) for name in bundle.feature_names),
        marks=FeatureMarks(options.immutable, options.integer, options.derived),
        ranges=None
        if options.ranges is None
        else read_ranges(options.ranges, [str(name) for name in bundle.feature_names]),
        preprocessor=options.made_by(TablePreprocessor)
        or TablePreprocessor(columns=tuple(Column(str(name)) for name in bundle.feature_names)),
        known_classes=options.known_classes,
        provenance=Provenance(
            name="breast-cancer",
            source="Breast Cancer Wisconsin (Diagnostic), UCI, as carried by scikit-learn",
            version=f"scikit-learn {sklearn.__version__}",
            licence="CC BY 4.0",
            checksum=hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest(),
            split=f"stratified by class, seed {options.seed}: {describe_shares(SHARES)}",
        ),
    )
    parts = stratified(y, classes, SHARES, seed=options.seed, name="breast-cancer")
    return assemble(raw, parts, scale=True)


def load_digits(options: LoadOptions) -> Splits:
    """Load 1,797 handwritten digits of 8x8 pixels with 17 grey levels (Alpaydin & Kaynak, 1998)."""
    import sklearn
    from sklearn.datasets import load_digits as load_bundled

    bundle = load_bundled()
    y = bundle.target.astype(np.int64)
    classes = tuple(str(digit) for digit in range(10))
    raw = RawData(
        x=bundle.images[:, None] / 16,  # [N, 1, 8, 8]
        y=y,
        classes=classes,
        preprocessor=options.made_by(ArrayPreprocessor) or ArrayPreprocessor(),
        known_classes=options.known_classes,
        provenance=Provenance(
            name="digits",
            source="Optical Recognition of Handwritten Digits (test part), UCI, as carried by scikit-learn",
            version=f"scikit-learn {sklearn.__version__}",
            licence="CC BY 4.0",
            checksum=hashlib.sha256(bundle.images.tobytes() + y.tobytes()).hexdigest(),
            split=f"stratified by class, seed {options.seed}: {describe_shares(SHARES)}",
            notes=("grey levels 0 to 16 divided by 16",),
        ),
    )
    return assemble(raw, stratified(y, classes, SHARES, seed=options.seed, name="digits"))
