from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from salus.data import load
from salus.data.axes import check_axes
from salus.errors import DataError


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [
        ((9, 32, 32, 3), r"looks like \[N, H, W, C\].*numpy.transpose\(x, \(0, 3, 1, 2\)\)\."),
        ((9, 450, 600, 4), r"numpy.transpose\(x, \(0, 3, 1, 2\)\)\."),
        ((9, 28, 28, 1), r"numpy.transpose\(x, \(0, 3, 1, 2\)\), or if they are signals, x\[..., 0\]"),
        ((9, 280, 1), r"looks like \[N, L, C\].*numpy.transpose\(x, \(0, 2, 1\)\)"),
        ((9, 5000, 12), r"numpy.transpose\(x, \(0, 2, 1\)\)"),
        ((9, 60, 2), r"numpy.transpose\(x, \(0, 2, 1\)\)"),
    ],
)
def test_channels_as_the_last_axis_are_refused_with_the_line_that_mends_them(
    shape: tuple[int, ...], remedy: str
) -> None:
    with pytest.raises(DataError, match=remedy):
        check_axes(np.zeros(shape), "x", Path("own.npz"))


@pytest.mark.parametrize(
    "shape",
    [(9, 30), (9, 1, 280), (9, 12, 5000), (9, 3, 32, 32), (9, 1, 28, 28), (9, 3, 4, 4), (9, 4, 64, 3), (9, 2, 2)],
)
def test_axes_as_they_ought_to_be_pass_without_a_word(shape: tuple[int, ...]) -> None:
    assert check_axes(np.zeros(shape), "x", Path("own.npz")) == []


@pytest.mark.parametrize(
    ("shape", "read"),
    [
        ((9, 16, 3, 3), "images of 16 channels and 3x3 pixels; if the channels are the last axis"),
        ((9, 64, 1, 1), "images of 64 channels and 1x1 pixels"),
        ((9, 40, 12), "signals of 40 channels and 12 moments; if the channels are the last axis"),
        ((9, 28, 28), r"signals of 28 channels and 28 moments; if these are grey images, save x[:, None]"),
    ],
)
def test_axes_that_could_be_meant_otherwise_are_read_and_told(
    shape: tuple[int, ...], read: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (note,) = check_axes(np.zeros(shape), "x", Path("own.npz"))
    assert read in note
    assert f"WARNING: own.npz: {note}." in capsys.readouterr().err


def test_a_file_of_images_with_the_channels_last_is_not_loaded(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((60, 8, 8, 3)).astype(np.float32)
    np.savez(tmp_path / "own.npz", x=x, y=np.arange(60) % 2)
    with pytest.raises(DataError, match=r"own.npz: x has shape \[60, 8, 8, 3\]"):
        load(tmp_path / "own.npz")
    np.savez(tmp_path / "own.npz", x=np.transpose(x, (0, 3, 1, 2)), y=np.arange(60) % 2)
    assert load(tmp_path / "own.npz").test.x.shape[1:] == (3, 8, 8)
