from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from salus.data import Dataset, FeatureMarks, Provenance, Splits, load
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


def test_a_part_has_samples_unless_all_are_test_samples() -> None:
    none = GOOD.subset(torch.zeros(0, dtype=torch.int64))
    with pytest.raises(DataError, match="no samples in the part test"):
        Splits(GOOD, GOOD, GOOD, none)
    with pytest.raises(DataError, match="no samples in the part calibration"):
        Splits(GOOD, GOOD, none, GOOD)
    whole = Splits(none, none, none, GOOD)
    with pytest.raises(DataError, match="there are none for the network 'mlp' to learn from"):
        whole.need_training("the network 'mlp'")
    assert whole.describe()["counts"]["train"] == {"well": 0, "ill": 0}
    Splits(GOOD, GOOD, GOOD, GOOD).need_training("the network 'mlp'")


def test_a_subset_keeps_patients_and_notes() -> None:
    part = GOOD.subset(torch.tensor([5, 0]), note="two of six")
    assert part.groups is not None
    assert part.groups.tolist() == [3, 1]
    assert part.counts == {"well": 1, "ill": 1}
    assert part.provenance.notes == ("two of six",)


def test_names_stay_with_their_samples() -> None:
    named = replace(GOOD, names=tuple("abcdef"))
    assert named.subset(torch.tensor([5, 0])).names == ("f", "a")
    assert named.subset(named.y == 1).names == ("b", "d", "f")
    assert named.fingerprint() == GOOD.fingerprint()
    longer = replace(named, x=named.x.repeat(2, 1), y=named.y.repeat(2), groups=None)
    assert longer.subset(torch.tensor([1, 7])).names == ("b", ""), "what was put behind them has none"
    with pytest.raises(DataError, match="7 names for 6 samples"):
        replace(GOOD, names=tuple("abcdefg"))


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


#: Of the data below, by the version before groups had a word.
FINGERPRINT = "7950a3902138909e01b197a4645ba40c5e70bb77931cda3a13de8bc8126a4446"


def test_the_word_for_groups_is_no_part_of_the_data_but_of_what_is_said_of_them() -> None:
    data = Dataset(
        torch.tensor([[0.0], [0.25], [1.0]]), torch.tensor([0, 1, 1]), ("a", "b"), Provenance("x", ""),
        groups=torch.tensor([1, 1, 2]),
    )  # fmt: skip
    lesions = replace(data, group_word="lesion")
    assert data.group_word == "patient"
    # Audits are stored under this: it must stay what it was.
    assert lesions.fingerprint() == data.fingerprint() == FINGERPRINT
    assert Splits(lesions, lesions, lesions, lesions).describe()["group_word"] == "lesion"
    with pytest.raises(DataError, match="one lesion per sample"):
        replace(lesions, groups=torch.tensor([1]))
