"""Data of somebody else's."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import make_moons

from salus.data import LoadOptions, Provenance, Source, Splits
from salus.data.assemble import RawData, assemble
from salus.data.split import SHARES, stratified


def load_moons(options: LoadOptions) -> Splits:
    """Make two half moons that lie in one another."""
    x, y = make_moons(600, noise=0.1, random_state=options.seed)
    raw = RawData(
        x=x,
        y=y.astype(np.int64),
        classes=("upper", "lower"),
        features=("east", "north"),
        provenance=Provenance(name="moons", source="scikit-learn's two moons"),
    )
    return assemble(raw, stratified(y, raw.classes, SHARES, seed=options.seed, name="moons"), scale=True)


MOONS = Source(name="moons", loader=load_moons, kind="table", summary="600 points on two half moons", licence="none")
