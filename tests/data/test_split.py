from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from salus.data.split import SHARES, all_test, gaps, grouped, stratified
from salus.errors import DataError


def _together(parts: dict[str, np.ndarray]) -> list[int]:
    return sorted(np.concatenate(list(parts.values())).tolist())


@given(counts=st.lists(st.integers(4, 60), min_size=2, max_size=5), seed=st.integers(0, 9))
def test_every_sample_is_dealt_once_and_every_part_holds_every_class(counts: list[int], seed: int) -> None:
    y = np.repeat(np.arange(len(counts)), counts)
    names = [str(i) for i in range(len(counts))]
    parts = stratified(y, names, SHARES, seed=seed, name="d")
    assert _together(parts) == list(range(len(y)))
    assert gaps(y, names, parts) == []


def test_every_sample_may_be_a_test_sample() -> None:
    parts = all_test(5)
    assert {part: rows.tolist() for part, rows in parts.items()} == {
        "train": [], "validation": [], "calibration": [], "test": [0, 1, 2, 3, 4]
    }  # fmt: skip
    assert gaps(np.array([0, 0, 0, 1, 1]), ("a", "b", "c"), parts) == ["no sample of class c in test"]


def test_the_shares_are_kept_in_every_class() -> None:
    y = np.repeat([0, 1], [200, 1000])
    parts = stratified(y, ("a", "b"), SHARES, seed=0, name="d")
    for part, share in SHARES.items():
        assert np.bincount(y[parts[part]]).tolist() == [200 * share, 1000 * share]


def test_the_seed_decides_the_draw() -> None:
    y = np.arange(200) % 2
    first, again, other = (stratified(y, ("a", "b"), SHARES, seed=seed, name="d") for seed in (1, 1, 2))
    assert all((first[part] == again[part]).all() for part in SHARES)
    assert (first["test"] != other["test"]).any()


def test_a_class_that_is_empty_or_too_small_is_named() -> None:
    with pytest.raises(DataError, match=r"'d': class 'b' is empty"):
        stratified(np.zeros(20, dtype=np.int64), ("a", "b"), SHARES, seed=0, name="d")
    with pytest.raises(DataError, match=r"class 'b' has 3 samples, too few to split"):
        stratified(np.repeat([0, 1], [20, 3]), ("a", "b"), SHARES, seed=0, name="d")
    with pytest.raises(DataError, match=r"class 'b' is empty"):
        grouped(np.zeros(8, np.int64), np.arange(8), ("a", "b"), SHARES, seed=0, name="d")


@given(patients=st.integers(6, 40), seed=st.integers(0, 9), data=st.data())
def test_no_patient_is_in_two_parts_and_training_has_every_class(patients: int, seed: int, data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(2, 9), min_size=patients, max_size=patients))
    groups = np.repeat(np.arange(patients) * 7, sizes)
    y = np.random.default_rng(seed).integers(0, 2, len(groups))
    y[:2] = 0, 1
    parts = grouped(y, groups, ("a", "b"), SHARES, seed=seed, name="d")
    assert _together(parts) == list(range(len(y)))
    owners = [set(groups[rows].tolist()) for rows in parts.values()]
    assert sum(map(len, owners)) == len(set().union(*owners)) == patients
    assert all(owners)
    assert set(y[parts["train"]].tolist()) == {0, 1}


def test_a_class_that_one_patient_carries_goes_to_training() -> None:
    groups = np.repeat(np.arange(12), 10)
    y = (groups == 5).astype(np.int64)
    for seed in range(5):
        parts = grouped(y, groups, ("a", "rare"), SHARES, seed=seed, name="d")
        assert 5 in groups[parts["train"]]
        assert "no sample of class rare in test" in gaps(y, ("a", "rare"), parts)


def test_patients_are_dealt_near_to_the_class_shares() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 20)
    y = (rng.random(1200) < np.repeat(rng.random(60), 20)).astype(np.int64)
    parts = grouped(y, groups, ("a", "b"), SHARES, seed=0, name="d")
    for part, share in SHARES.items():
        held = np.bincount(y[parts[part]]) / np.bincount(y)
        assert np.abs(held - share).max() < 0.05


def test_too_few_patients_are_refused() -> None:
    y = np.array([0, 1] * 6)
    with pytest.raises(DataError, match=r"3 patients \(groups\), too few"):
        grouped(y, np.repeat([1, 2, 3], 4), ("a", "b"), SHARES, seed=0, name="d")
    only = np.repeat([0, 1, 2, 3], 5)
    with pytest.raises(DataError, match="too few to have every class in training"):
        grouped(only, only, ("a", "b", "c", "d"), SHARES, seed=0, name="d")
