from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from salus.data import load
from salus.errors import DataError, OptionError

RNG = np.random.default_rng(0)
X = RNG.random((60, 3)).astype(np.float32)
Y = np.arange(60) % 2


def _save(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "own.npz", **arrays)
    return folder / "own.npz"


def test_x_and_y_are_enough(tmp_path: Path) -> None:
    splits = load(_save(tmp_path, x=X, y=Y))
    assert splits.name == "own"
    assert splits.train.classes == ("0", "1")
    assert [len(data) for _, data in splits] == [30, 6, 12, 12]
    assert sorted(torch.cat([data.x for _, data in splits]).tolist()) == sorted(X.tolist())


@pytest.mark.parametrize(("shape", "kind"), [((60, 1, 50), "signal"), ((60, 3, 4, 4), "image")])
def test_signals_and_images_are_known_by_their_shape(tmp_path: Path, shape: tuple[int, ...], kind: str) -> None:
    assert load(_save(tmp_path, x=RNG.random(shape), y=Y)).test.kind == kind


def test_everything_the_file_says_arrives(tmp_path: Path) -> None:
    x = np.column_stack([RNG.integers(20, 90, 60), RNG.random(60), RNG.integers(0, 2, 60)]).astype(np.float64)
    path = _save(
        tmp_path,
        x=x,
        y=np.where(Y, "ill", "well"),
        classes=["well", "ill"],
        features=["age", "dose", "sex"],
        immutable=["sex"],
        integer=["age", "sex"],
        positive=["ill"],
        groups=np.repeat(np.arange(20), 3),
    )
    splits = load(path, scale=True)
    train = splits.train
    assert train.classes == ("well", "ill")
    assert train.positive == ("ill",)
    assert train.marks.immutable == ("sex",)
    assert train.groups is not None
    ages = x[np.isin(np.repeat(np.arange(20), 3), train.groups.numpy()), 0]
    assert train.steps == pytest.approx((1 / (ages.max() - ages.min()), 0, 1))
    owners = [set(data.groups.tolist()) for _, data in splits if data.groups is not None]
    assert sum(map(len, owners)) == 20
    assert load(path, scale=True, immutable="age").train.marks.immutable == ("age",)


def test_a_test_part_given_apart_stays_as_it_is(tmp_path: Path) -> None:
    path = _save(tmp_path, x_train=X[:40], y_train=Y[:40], x_test=X[40:], y_test=Y[40:])
    for seed in (0, 1):
        splits = load(path, seed=seed)
        assert torch.equal(splits.test.x, torch.from_numpy(X[40:]))
        assert [len(data) for _, data in splits] == [26, 4, 10, 20]
    assert splits.test.provenance.split.startswith("test part as given, the rest stratified")
    assert splits.test.names == tuple(f"x_test[{row}]" for row in range(20))
    for x, name in zip(splits.train.x, splits.train.names, strict=True):
        assert name.startswith("x_train[") and torch.equal(x, torch.from_numpy(X[int(name[8:-1])]))


def test_a_patient_on_both_given_sides_is_refused(tmp_path: Path) -> None:
    apart = {"x_train": X[:40], "y_train": Y[:40], "x_test": X[40:], "y_test": Y[40:]}
    groups = np.repeat(np.arange(15), 4)
    load(_save(tmp_path, **apart, groups_train=groups[:40], groups_test=groups[40:]))
    with pytest.raises(DataError, match=r"1 patient \(the first is group 9\) are on both sides"):
        load(_save(tmp_path, **apart, groups_train=groups[:40], groups_test=groups[36:56]))


def _parts(*sides: str, count: int = 20) -> dict[str, Any]:
    """Samples of which no two are equal, 20 a side."""
    rng = np.random.default_rng(1)
    arrays: dict[str, Any] = {}
    for side in sides:
        arrays |= {f"x_{side}": rng.random((count, 3)).astype(np.float32), f"y_{side}": np.arange(count) % 2}
    return arrays


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_a_validation_part_is_halved_beside_a_test_part(tmp_path: Path, val: str) -> None:
    arrays = _parts("train", val, "test")
    splits = load(_save(tmp_path, **arrays))
    assert {part: data.counts for part, data in splits} == {
        "train": {"0": 10, "1": 10},
        "validation": {"0": 5, "1": 5},
        "calibration": {"0": 5, "1": 5},
        "test": {"0": 10, "1": 10},
    }
    dealt = [x.numpy().tobytes() for data in (splits.validation, splits.calibration) for x in data.x]
    assert sorted(dealt) == sorted(x.tobytes() for x in arrays[f"x_{val}"])
    assert (splits.train.x.numpy() == arrays["x_train"]).all()
    assert "val halved by class into validation and calibration" in splits.test.provenance.split


def test_a_validation_part_alone_is_the_test_part(tmp_path: Path) -> None:
    arrays = _parts("train", "val")
    splits = load(_save(tmp_path, **arrays))
    assert (splits.test.x.numpy() == arrays["x_val"]).all()
    assert splits.test.provenance.split.startswith("val is the test part, the rest stratified")


def test_patients_of_a_validation_part_are_halved_whole(tmp_path: Path) -> None:
    patients = {f"groups_{side}": np.repeat(np.arange(5), 4) + 5 * i for i, side in enumerate(("train", "val", "test"))}
    splits = load(_save(tmp_path, **_parts("train", "val", "test"), **patients))
    assert not set(splits.validation.groups.tolist()) & set(splits.calibration.groups.tolist())  # type: ignore[union-attr]
    assert [len(data) for _, data in splits] == [20, 12, 8, 20]
    patients["groups_test"][0] = 7
    with pytest.raises(DataError, match=r"1 patient \(the first is group 7\) are on both sides"):
        load(_save(tmp_path, **_parts("train", "val", "test"), **patients))


def test_groups_in_one_piece_are_those_of_all_parts_in_order(tmp_path: Path) -> None:
    arrays = _parts("train", "test")
    splits = load(_save(tmp_path, **arrays, groups=np.repeat(np.arange(20), 2)))
    assert splits.test.groups is not None and splits.test.groups.tolist() == np.repeat(np.arange(10, 20), 2).tolist()
    assert "groups was read as the patients of x_train and x_test, in this order" in splits.test.provenance.notes
    mixed = np.repeat(np.arange(20), 2)[::-1].copy()
    mixed[-1] = 19
    with pytest.raises(DataError, match=r"\(the first is group 19\) are on both sides"):
        load(_save(tmp_path, **arrays, groups=mixed))
    with pytest.raises(DataError, match=r"groups of shape \[20\] beside x_train and x_test; give groups_train and"):
        load(_save(tmp_path, **arrays, groups=np.arange(20)))
    with pytest.raises(DataError, match=r"beside x_train, x_val and x_test; give groups_train, groups_val and groups_"):
        load(_save(tmp_path, **_parts("train", "val", "test"), groups=np.arange(40)))


def test_arrays_that_nobody_reads_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _save(tmp_path, **_parts("train", "test"), x_holdout=X, weights=Y, feature=["a", "b", "c"])
    notes = load(path).test.provenance.notes
    assert "arrays that nobody reads: x_holdout, weights, feature" in notes
    assert "WARNING: own.npz: arrays that nobody reads: x_holdout, weights, feature" in capsys.readouterr().err


def test_samples_in_one_piece_and_in_parts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds x and x_train and x_test; leave x out .* or the others if x is all"):
        load(_save(tmp_path, x=X, y=Y, **_parts("train", "test")))
    with pytest.raises(DataError, match="holds x_val and x_valid; leave one"):
        load(_save(tmp_path, **_parts("train", "val", "valid")))


@pytest.mark.parametrize("y", [Y[:, None], Y[:, None].astype(np.float64), np.where(Y, "1", "0")[:, None]])
def test_labels_of_one_column_are_taken_and_told(tmp_path: Path, y: np.ndarray) -> None:
    splits = load(_save(tmp_path, x=X, y=y))
    assert torch.equal(splits.test.y, load(_save(tmp_path, x=X, y=Y)).test.y)
    assert "y of shape [60, 1] was read as one label a sample" in splits.test.provenance.notes


def test_labels_from_one_up_are_classes_of_that_name(tmp_path: Path) -> None:
    y = np.arange(60) % 12 + 1
    splits = load(_save(tmp_path, x=X, y=y))
    assert splits.test.classes == tuple(map(str, range(1, 13)))
    again = load(_save(tmp_path, x=X, y=y.astype(float), classes=[str(i) for i in range(1, 13)]))
    assert torch.equal(again.test.y, splits.test.y)


def test_an_array_or_a_table_says_who_is_who(tmp_path: Path) -> None:
    patients = np.repeat(np.arange(12), 5)
    path = _save(tmp_path, x=X, y=Y, patient=patients)
    splits = load(path, group_by="patient")
    owners = [set(data.groups.tolist()) for _, data in splits if data.groups is not None]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 12
    assert splits.test.provenance.split.startswith("by patient (array patient), seed 0")
    np.savez(tmp_path / "named.npz", x=X, y=Y, groups=patients)
    assert torch.equal(load(tmp_path / "named.npz", group_by="groups").test.x, splits.test.x)
    assert not any("nobody reads" in note for note in splits.test.provenance.notes)
    for call in ("x[{}]", "{}"):
        table = tmp_path / "who.csv"
        table.write_text("name,group\n" + "".join(f"{call.format(i)},{patients[i]}\n" for i in range(60)))
        assert torch.equal(load(path, group_by=str(table)).test.x, splits.test.x)


def test_a_pattern_on_samples_without_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no array '\(p\)', and its samples have no names.* x\[0\], ..., x\[59\]"):
        load(_save(tmp_path, x=X, y=Y), group_by="(p)")


def test_bounds_are_those_that_are_given(tmp_path: Path) -> None:
    path = _save(tmp_path, x=X * 4 - 2, y=Y)
    with pytest.raises(DataError, match=r"sample \d+ has values from .* outside the bounds \(0, 1\)"):
        load(path)
    assert load(path, bounds=(-2, 2)).test.bounds == (-2.0, 2.0)
    scaled = load(path, scale=True).train
    assert (float(scaled.x.min()), float(scaled.x.max())) == (0, 1)
    with pytest.raises(OptionError, match="scale and bounds exclude each other"):
        load(path, scale=True, bounds=(-2, 2))


def test_grey_levels_are_never_divided_in_silence(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (60, 1, 4, 4)).astype(np.uint8)
    path = _save(tmp_path, x=images, y=Y)
    with pytest.raises(DataError, match=r"whole numbers \(uint8\) .*scale them \(--scale\) or give"):
        load(path)
    assert load(path, bounds=(0, 255)).test.x.max() > 1
    assert load(path, scale=True).test.x.max() <= 1


def test_values_clipped_after_scaling_are_counted(tmp_path: Path) -> None:
    x = np.vstack([X[:40], X[40:] * 3])
    path = _save(tmp_path, x_train=x[:40], y_train=Y[:40], x_test=x[40:], y_test=Y[40:])
    splits = load(path, scale=True)
    (note,) = [note for note in splits.test.provenance.notes if "clipped" in note]
    assert "0 in train" in note
    assert "feature 0 " in note
    assert int((splits.test.x == 1).sum()) > 10


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no labels": ({"x": X}, "has no labels: add an array 'y'"),
    "no samples array": ({"X": X, "y": Y}, "has no samples 'x'"),
    "NaN": ({"x": np.where(np.arange(60)[:, None] == 7, np.nan, X), "y": Y}, "sample 7 holds NaN"),
    "too large for a float": ({"x": X.astype(np.float64) + 1e300, "y": Y}, "sample 0 holds NaN or infinity"),
    "too few labels": ({"x": X, "y": Y[:59]}, "60 samples but 59 labels"),
    "one-hot labels": ({"x": X, "y": np.eye(2)[Y]}, "labels have shape"),
    "fractions as labels": ({"x": X, "y": Y + 0.5}, "whole numbers or words, not float64"),
    "label beyond the classes": (
        {"x": X, "y": Y + 1, "classes": ["a", "b"]},
        r"the labels 1, 2 could be counted from 1 \(1 is 'a'\), or from 0",
    ),
    "word that is no class": (
        {"x": X, "y": np.where(Y, "il", "well"), "classes": ["well", "ill"]},
        "sample 1 has the label 'il', which is no class; did you mean 'ill'",
    ),
    "empty class": ({"x": X, "y": Y, "classes": ["a", "b", "c"]}, "class 'c' is empty"),
    "tiny class": ({"x": X, "y": np.r_[np.zeros(57), 1, 1, 1]}, "class '1' has 3 samples, too few"),
    "one class": ({"x": X, "y": Y * 0}, "fewer than two classes"),
    "objects": ({"x": X, "y": np.array([None] * 60, dtype=object)}, "'y' holds Python objects"),
    "no samples": ({"x": X[:0], "y": Y[:0]}, "x has no samples"),
    "one dimension": ({"x": X[:, 0], "y": Y}, r"x has shape \[60\]; it must be"),
    "words as samples": ({"x": X.astype(str), "y": Y}, "x must hold numbers"),
    "groups of another length": (
        {"x": X, "y": Y, "groups": Y[:9]},
        "groups must hold one patient per sample",
    ),
    "class names twice": ({"x": X, "y": Y, "classes": ["a", "a"]}, "names something twice"),
    "numbers as class names": ({"x": X, "y": Y, "classes": [1, 2]}, "classes must be a list of words"),
    "unknown positive": ({"x": X, "y": Y, "positive": ["ill"]}, "no class 'ill'"),
    "marks without names": ({"x": X, "y": Y, "integer": ["age"]}, "have no feature names"),
    "unknown mark": (
        {"x": X, "y": Y, "features": ["age", "b", "c"], "integer": ["aged"]},
        "no feature 'aged' to mark; did you mean 'age'",
    ),
    "fractions marked integer": (
        {"x": X, "y": Y, "features": ["age", "b", "c"], "integer": ["age"]},
        "'age' is marked integer, but sample 0",
    ),
    "only a training part": ({"x_train": X, "y_train": Y}, "has no samples 'x_test'"),
    "parts of two shapes": (
        {"x_train": X, "y_train": Y, "x_test": X[:, :2], "y_test": Y},
        "x_train and x_test differ in shape",
    ),
    "NaN in the test part": (
        {"x_train": X, "y_train": Y, "x_test": X * np.nan, "y_test": Y},
        "x_test': sample 0 holds NaN",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arrays_are_refused_in_one_sentence(tmp_path: Path, case: str) -> None:
    arrays, message = BAD[case]
    path = _save(tmp_path, **arrays)
    with pytest.raises(DataError, match=message) as caught:
        load(path)
    assert "own" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"x,y\n1,2\n", pickle.dumps([1]), b"PK\x05\x06" + b"\0" * 18])
def test_a_file_that_is_no_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "own.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"own\.npz"):
        load(path)


def test_a_truncated_or_damaged_npz_is_refused(tmp_path: Path) -> None:
    whole = _save(tmp_path, x=X, y=Y).read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:200] + b"\xff" * 40 + whole[240:]):
        (tmp_path / "own.npz").write_bytes(damaged)
        with pytest.raises(DataError, match=r"own\.npz is (no|broken)"):
            load(tmp_path / "own.npz")


def test_nothing_in_a_file_is_ever_executed(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "executed",)

    bomb = np.empty(1, dtype=object)
    bomb[0] = Bomb()
    path = _save(tmp_path, x=bomb, y=Y)
    with pytest.raises(DataError, match="holds Python objects"):
        load(path)
    assert not (tmp_path / "executed").exists()


def test_all_samples_are_test_samples_also_where_parts_are_given(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).random((6, 3)), np.arange(6) % 2
    np.savez(tmp_path / "own.npz", x_train=x[:4], y_train=y[:4], x_test=x[4:], y_test=y[4:])
    splits = load(tmp_path / "own.npz", split="all")
    assert len(splits.test) == 6 and not len(splits.train)
