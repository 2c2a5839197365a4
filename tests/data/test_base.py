from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from salus.data import Dataset, FeatureMarks, Provenance, load
from salus.errors import DataError

GOOD = Dataset(
    x=torch.rand(6, 3, generator=torch.Generator().manual_seed(0)),
    y=torch.arange(6) % 2,
    classes=("well", "ill"),
    provenance=Provenance("toy", "made here"),
    groups=torch.tensor([1, 1, 2, 2, 3, 3]),
    features=("age", "sex", "bmi"),
    marks=FeatureMarks(immutable=("sex",), derived=("bmi",)),
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bounds": (1.0, 0.0)}, "bounds .* are empty"),
        ({"x": GOOD.x.double()}, "x must be float32"),
        ({"x": GOOD.x[:, 0]}, r"x has shape \[6\]"),
        ({"x": GOOD.x[:0], "y": GOOD.y[:0], "groups": None}, "has no samples"),
        ({"y": GOOD.y[:4]}, "6 samples, but y has shape"),
        ({"groups": GOOD.y[:4]}, "one patient per sample, 6 in all"),
        ({"classes": ("well",)}, "fewer than two classes"),
        ({"y": GOOD.y + 1}, "sample 1 has label 2"),
        ({"x": GOOD.x.where(GOOD.y[:, None] == 0, torch.nan)}, "sample 1 holds NaN"),
        ({"x": GOOD.x + torch.eye(6, 3)[[3, 3, 0, 3, 3, 3]]}, "sample 2 has values from"),
        ({"features": ("age",)}, "1 feature names do not fit"),
        ({"marks": FeatureMarks(integer=("agee",))}, "no feature 'agee' to mark; did you mean 'age'"),
        ({"positive": ("il",)}, "no class 'il'; did you mean 'ill'"),
    ],
)
def test_a_contradiction_is_refused_and_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(GOOD, **change)  # type: ignore[arg-type]


def test_a_subset_keeps_patients_and_notes() -> None:
    part = GOOD.subset(torch.tensor([5, 0]), note="two of six")
    assert part.groups is not None
    assert part.groups.tolist() == [3, 1]
    assert part.counts == {"well": 1, "ill": 1}
    assert part.provenance.notes == ("two of six",)


def test_fixed_features_are_masked() -> None:
    assert GOOD.mask is not None
    assert GOOD.mask.tolist() == [True, False, False]


def test_the_fingerprint_follows_the_data_and_nothing_else() -> None:
    renamed = replace(GOOD, provenance=Provenance("other", "elsewhere"))
    assert renamed.fingerprint() == GOOD.fingerprint()
    assert replace(GOOD, bounds=(0.0, 2.0)).fingerprint() != GOOD.fingerprint()
    assert replace(GOOD, y=1 - GOOD.y).fingerprint() != GOOD.fingerprint()


def test_a_description_is_plain_json() -> None:
    described = json.loads(json.dumps(load("breast-cancer").describe()))
    assert described["counts"]["train"] == {"malignant": 107, "benign": 179}
    assert described["provenance"]["licence"] == "CC BY 4.0"
