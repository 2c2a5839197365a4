"""The picture of a data set."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from salus.data.base import Dataset, Provenance, Splits
from salus.figures import dataset_picture


def splits(shape: tuple[int, ...], classes: int = 3, n: int = 60) -> Splits:
    x = torch.rand(n, *shape, generator=torch.Generator().manual_seed(0))
    y = torch.arange(n) % classes
    names = ("$N$", "<b>", *(f"class {i}" for i in range(classes - 2)))
    features = tuple(f"feature {i} {'long' * 9}" for i in range(shape[0])) if len(shape) == 1 else ()
    data = Dataset(x, y, names, Provenance("made up \u5fc3", "a test"), features=features)
    parts = torch.arange(n).split(n // 4)
    return Splits(*(data.subset(part) for part in parts[:4]))


@pytest.mark.parametrize("shape", [(30,), (2,), (1, 100), (12, 50), (1, 8, 8), (3, 8, 8), (2, 8, 8)])
def test_every_kind_of_data_is_drawn_the_same_each_time(shape: tuple[int, ...], tmp_path: Path) -> None:
    first = dataset_picture(splits(shape), tmp_path / "one.png")
    second = dataset_picture(splits(shape), tmp_path / "new" / "two.png")
    assert first == tmp_path / "one.png"
    assert first.read_bytes().startswith(b"\x89PNG")
    assert first.read_bytes() == second.read_bytes()


def test_many_classes_and_classes_without_training_samples_are_drawn(tmp_path: Path) -> None:
    dataset_picture(splits((1, 30), classes=20, n=80), tmp_path / "many.png")
    dataset_picture(splits((5,), classes=16, n=40), tmp_path / "absent.png")
    assert (tmp_path / "absent.png").stat().st_size > 1000
