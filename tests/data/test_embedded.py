from __future__ import annotations

import pytest
import torch

from salus.data import load
from salus.errors import DataError, OptionError


def test_breast_cancer_has_569_patients_30_features_and_its_disease_is_malignant() -> None:
    splits = load("breast-cancer")
    assert sum(len(data) for _, data in splits) == 569
    assert [round(len(data) / 569, 1) for _, data in splits] == [0.5, 0.1, 0.2, 0.2]
    assert splits.train.x.shape[1] == len(splits.train.features) == 30
    assert splits.train.classes == ("malignant", "benign")
    assert splits.train.positive == ("malignant",)
    assert {name: sum(data.counts[name] for _, data in splits) for name in splits.train.classes} == {
        "malignant": 212,
        "benign": 357,
    }


def test_breast_cancer_is_scaled_on_training_and_says_what_was_clipped() -> None:
    splits = load("breast-cancer", seed=3)
    torch.testing.assert_close(splits.train.x.amin(0), torch.zeros(30))
    torch.testing.assert_close(splits.train.x.amax(0), torch.ones(30))
    (note,) = [note for note in splits.test.provenance.notes if "clipped" in note]
    assert "0 in train" in note
    assert "by feature: " in note


def test_digits_are_images_of_sixteenths() -> None:
    splits = load("digits")
    assert sum(len(data) for _, data in splits) == 1797
    assert splits.test.x.shape[1:] == (1, 8, 8)
    assert splits.test.kind == "image"
    assert torch.equal(splits.test.x * 16, (splits.test.x * 16).round())
    assert splits.train.x.max() == 1


def test_the_same_seed_gives_the_same_data_and_parts_share_nothing() -> None:
    first, again, other = load("digits", seed=1), load("digits", seed=1), load("digits", seed=2)
    assert first.test.fingerprint() == again.test.fingerprint() != other.test.fingerprint()
    prints = {data.fingerprint() for _, data in first}
    assert len(prints) == 4


def test_marks_can_be_set_by_option_and_a_wrong_one_names_the_nearest() -> None:
    splits = load("breast-cancer", immutable=("mean radius",))
    mask = splits.train.mask
    assert mask is not None
    assert mask.sum() == 29
    with pytest.raises(DataError, match="no feature 'mean radios' to mark; did you mean 'mean radius'"):
        load("breast-cancer", immutable="mean radios")


def test_options_that_do_not_apply_are_refused_by_name() -> None:
    with pytest.raises(OptionError, match="Option smote does not apply to the data 'digits'"):
        load("digits", smote=100)
    with pytest.raises(OptionError, match="Option split does not apply"):
        load("breast-cancer", split="patients")
