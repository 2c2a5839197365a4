from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from salus.data import Dataset, Provenance, Splits, load
from salus.data.duplicates import tell_duplicates
from salus.data.packed import Packed


def _splits(x: torch.Tensor, y: torch.Tensor | None = None) -> Splits:
    """Forty samples, ten a part."""
    y = torch.arange(len(x)) % 2 if y is None else y
    data = Dataset(x, y, ("a", "b"), Provenance("own", "a test"), names=tuple(f"row {i}" for i in range(len(x))))
    return Splits(*(data.subset(rows) for rows in torch.arange(len(x)).split(10)))


def _rows() -> torch.Tensor:
    return torch.rand(40, 3, generator=torch.Generator().manual_seed(0))


def test_samples_that_are_all_different_pass_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    splits = _splits(_rows())
    assert tell_duplicates(splits) is splits
    assert capsys.readouterr().err == ""


def test_samples_on_both_sides_are_counted_and_noted_in_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    x = _rows()
    x[33] = x[4]
    x[35] = x[4]
    x[37] = x[7]
    x[22] = x[1]
    x[38] = x[39]  # within a part
    x[15] = x[2]  # validation is chosen by, not scored
    y = torch.arange(40) % 2
    splits = tell_duplicates(_splits(x, y))
    notes = splits.test.provenance.notes
    assert notes == (
        "3 of 10 samples of the part test stand, value for value, also in the part train (the first: row 33 is row 4); "
        "2 of them have another label there",
        "1 of 10 samples of the part calibration stand, value for value, also in the part train (the first: row 22 is "
        "row 1); 1 of them have another label there",
    )
    assert all(data.provenance.notes == notes for _, data in splits)
    assert capsys.readouterr().err.count("WARNING: own: ") == 2


def test_samples_that_are_equal_in_the_middle_alone_are_different() -> None:
    x = torch.rand(1, 1, 3000).repeat(40, 1, 1)
    x[:, 0, 0] = torch.arange(40) / 40
    assert tell_duplicates(_splits(x)).test.provenance.notes == ()
    x[31] = x[5]
    (note,) = tell_duplicates(_splits(x)).test.provenance.notes
    assert "row 31 is row 5" in note


def test_images_that_stay_bytes_are_compared_as_bytes() -> None:
    levels = torch.randint(0, 256, (40, 3, 60, 60), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    levels[30] = levels[0]
    levels[31] = levels[1]
    levels[31, 0, 0, 0] += 1
    (note,) = tell_duplicates(_splits(Packed(levels, torch.arange(40)))).test.provenance.notes
    assert note.startswith("1 of 10 samples of the part test") and "row 30 is row 0" in note


def test_a_yes_and_no_table_and_images_that_are_black_in_the_middle_are_told_apart_row_by_row() -> None:
    bits = torch.arange(40)[:, None] // 2 ** torch.arange(3) % 2
    test, *_ = tell_duplicates(_splits(bits.float())).test.provenance.notes
    assert test.startswith("10 of 10 samples of the part test stand") and "(the first: row 30 is row 6)" in test
    x = torch.zeros(40, 1, 9000)
    x[:, 0, 1] = torch.arange(40) / 40
    assert tell_duplicates(_splits(x)).test.provenance.notes == ()


def test_where_all_are_test_samples_there_is_nothing_to_compare() -> None:
    data = _splits(_rows()).test
    empty = data.subset(torch.arange(0))
    splits = Splits(empty, empty, empty, replace(data, x=data.x[:1].repeat(10, 1)))
    assert tell_duplicates(splits) is splits


def test_every_loader_tells_of_them(tmp_path: Path) -> None:
    x = np.repeat(np.random.default_rng(0).random((12, 3)), 5, axis=0).astype(np.float32)
    np.savez(tmp_path / "own.npz", x=x, y=np.arange(60) % 2)
    assert "stand, value for value, also in the part train" in str(load(tmp_path / "own.npz").test.provenance.notes)
    rows = "\n".join(",".join(map(str, row)) + f",{i % 2}" for i, row in enumerate(x))
    (tmp_path / "own.csv").write_text(f"a,b,c,label\n{rows}\n")
    assert "row " in str(load(tmp_path / "own.csv").describe()["provenance"]["notes"])
