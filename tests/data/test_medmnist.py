from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salus.data import load
from salus.errors import DataError, OptionError

RNG = np.random.default_rng(0)


def _arrays(**other: Any) -> dict[str, np.ndarray]:
    arrays = {}
    for side, count in {"train": 30, "val": 12, "test": 6}.items():
        arrays[f"{side}_images"] = RNG.integers(0, 256, (count, 9, 8, 3), dtype=np.uint8)
        arrays[f"{side}_labels"] = (np.arange(count) % 3)[:, None].astype(np.uint8)
    return {**arrays, **other}


def _save(folder: Path, arrays: dict[str, Any]) -> Path:
    np.savez_compressed(folder / "dermamnist.npz", **arrays)
    return folder / "dermamnist.npz"


def test_the_three_parts_are_kept_and_val_is_halved_by_class(tmp_path: Path) -> None:
    arrays = _arrays()
    splits = load(_save(tmp_path, arrays), positive=("2",))
    assert splits.name == "dermamnist"
    assert splits.test.classes == ("0", "1", "2")
    assert splits.test.positive == ("2",)
    assert {part: data.counts for part, data in splits} == {
        "train": {"0": 10, "1": 10, "2": 10},
        "validation": {"0": 2, "1": 2, "2": 2},
        "calibration": {"0": 2, "1": 2, "2": 2},
        "test": {"0": 2, "1": 2, "2": 2},
    }
    for part, side in (("train", "train"), ("test", "test")):
        data = getattr(splits, part)
        seen = (data.x.permute(0, 2, 3, 1).numpy() * 255).round()
        assert (seen == arrays[f"{side}_images"]).all()
        assert (data.y.numpy() == arrays[f"{side}_labels"][:, 0]).all()
    held = {x.tobytes() for x in arrays["val_images"]}
    dealt = [
        (x * 255).round().permute(1, 2, 0).numpy().astype(np.uint8).tobytes()
        for data in (splits.validation, splits.calibration)
        for x in data.x
    ]
    assert set(dealt) == held
    assert len(dealt) == 12
    assert splits.test.names == tuple(f"test_images[{row}]" for row in range(6))


def test_grey_images_have_one_channel(tmp_path: Path) -> None:
    grey = {name: array[..., 0] if "images" in name else array for name, array in _arrays().items()}
    splits = load(_save(tmp_path, grey))
    assert splits.train.x.shape == (30, 1, 9, 8)
    assert ((splits.test.x[:, 0].numpy() * 255).round() == grey["test_images"]).all()


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "volumes": ({"val_images": np.zeros((12, 9, 8, 8), np.uint8)}, "val_images is uint8 .*no volumes"),
    "floats": ({"test_images": np.zeros((6, 9, 8, 3))}, "test_images is float64"),
    "several labels": ({"train_labels": np.zeros((30, 9), np.uint8)}, r"train_labels is uint8 \[30, 9\].*not several"),
    "too few labels": ({"train_labels": np.zeros((29, 1), np.uint8)}, "for 30 images"),
    "another size": ({"val_images": np.zeros((12, 8, 8, 3), np.uint8)}, r"differ in shape .* val \[3, 8, 8\]"),
    "a class that training lacks": (
        {"test_labels": np.full((6, 1), 7, np.uint8)},
        "train_labels has no image of class 7",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_not_one_labelled_image_after_another_is_refused(tmp_path: Path, case: str) -> None:
    other, message = BAD[case]
    with pytest.raises(DataError, match=message):
        load(_save(tmp_path, _arrays(**other)))


def test_a_part_that_is_missing_is_named(tmp_path: Path) -> None:
    arrays = _arrays()
    del arrays["val_labels"]
    with pytest.raises(DataError, match="has no val_labels"):
        load(_save(tmp_path, arrays))


def test_options_for_tables_are_refused(tmp_path: Path) -> None:
    path = _save(tmp_path, _arrays())
    for option, value in {"scale": True, "bounds": (0, 255), "immutable": ("age",)}.items():
        with pytest.raises(OptionError, match=f"Option {option} does not apply to an .npz file of images as MedMNIST"):
            load(path, **{option: value})
