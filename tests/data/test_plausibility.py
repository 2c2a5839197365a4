"""What looks like a mistake in how data were read, and what does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from salus.cli import main
from salus.data import Dataset, Provenance, Splits, load
from salus.data.packed import Packed
from salus.data.plausibility import implausible, values_of

RNG = np.random.default_rng(0)


def splits(x: torch.Tensor, bounds: tuple[float, float] = (0.0, 1.0), features: tuple[str, ...] = ()) -> Splits:
    """Make every part of the same samples."""
    y = torch.arange(len(x)) % 2
    data = Dataset(x, y, ("a", "b"), Provenance("own", "made here"), bounds=bounds, features=features)
    return Splits(data, data, data, data)


def said(x: torch.Tensor, bounds: tuple[float, float] = (0.0, 1.0), features: tuple[str, ...] = ()) -> list[str]:
    parts = splits(x, bounds, features)
    return implausible(parts, values_of(parts))


def floats(*shape: int, high: float = 1.0) -> torch.Tensor:
    return torch.from_numpy(RNG.random(shape) * high).float()


def test_eight_levels_in_the_lowest_twentieth_are_said_to_be_that() -> None:
    levels = torch.from_numpy(RNG.integers(0, 8, (30, 1, 6, 6)) * 0.055 / 7).float()
    few, narrow = said(levels)
    assert "only 8 levels, from 0 to 0.055" in few
    assert "5.5% of the bounds (0, 1)" in narrow


def test_the_same_holds_of_bytes_that_are_never_made_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = torch.from_numpy(RNG.integers(0, 8, (30, 3, 6, 6)) * 2).to(torch.uint8)
    images = splits(Packed(levels, torch.arange(30)))

    def refuse(self: Packed) -> None:
        raise AssertionError("made floats")

    monkeypatch.setattr(Packed, "unpack", refuse)
    few, narrow = implausible(images, values_of(images))
    assert "only 8 levels, from 0 to 0.0549" in few and "5.5%" in narrow
    assert values_of(images).step == 1 / 255


def test_a_signal_in_other_units_than_its_bounds_is_said_to_be_narrow() -> None:
    (line,) = said(floats(20, 2, 50, high=0.5), (-5, 5))
    assert "5.0% of the bounds (-5, 5)" in line


def test_samples_without_content_are_counted() -> None:
    x = floats(20, 1, 8, 8)
    x[3], x[7] = 0.0, 0.4
    assert said(x) == [
        "2 of the 20 images that were looked at hold one value throughout: there is nothing in them to tell their "
        "class by."
    ]


def test_features_that_one_eps_does_not_fit_are_named() -> None:
    table = torch.stack([floats(50, high=250), floats(50), floats(50, high=2)], 1)
    (line,) = said(table, (0, 300), ("platelets", "lactate", "bilirubin"))
    assert "'lactate' and 'bilirubin' reach over less than 1% of the bounds (0, 300)" in line and "--scale" in line


@pytest.mark.parametrize("shape", [(40, 12), (40, 1, 30), (40, 3, 8, 8)])
def test_ordinary_values_are_nothing_to_speak_of(shape: tuple[int, ...]) -> None:
    assert said(floats(*shape)) == []


def test_a_table_of_yes_and_no_is_nothing_to_speak_of() -> None:
    findings = torch.from_numpy(RNG.integers(0, 2, (60, 9))).float()
    findings[0] = 0  # a patient without any
    assert said(findings) == []


@pytest.mark.parametrize("name", ["breast-cancer", "digits"])
def test_the_embedded_data_are_nothing_to_speak_of(name: str) -> None:
    data = load(name)
    assert implausible(data, values_of(data)) == []


@pytest.mark.parametrize(
    ("x", "step"),
    [
        (torch.arange(256.0).repeat(4).reshape(4, 1, 16, 16), 1.0),
        (torch.arange(256.0).repeat(4).reshape(4, 1, 16, 16) / 255, 1 / 255),
        (torch.tensor([0.0, 1.0]).repeat(128).reshape(4, 1, 8, 8), None),
        (torch.arange(256.0).repeat(4).reshape(4, 1, 16, 16) / 300, None),
    ],
    ids=["whole", "bytes", "yes-no", "other"],
)
def test_the_step_that_all_values_keep_to_is_found(x: torch.Tensor, step: float | None) -> None:
    assert values_of(splits(x, (0, 255))).step == step


def test_each_feature_of_a_table_has_its_own_step() -> None:
    ages, score = torch.arange(60.0) + 20, torch.arange(60.0) % 3 / 2
    values = values_of(splits(torch.stack([ages, score, floats(60)], 1), (0, 120)))
    assert values.steps == (1.0, 0.5, 0.0)


def test_data_show_warns(tmp_path: Path) -> None:
    x = RNG.integers(0, 8, (40, 1, 6, 6)) * 0.055 / 7
    np.savez(tmp_path / "scans.npz", x=x.astype(np.float32), y=np.arange(40) % 2)
    shown = CliRunner().invoke(
        main, ["data", "show", str(tmp_path / "scans.npz"), "--picture", str(tmp_path / "picture.png")]
    )
    assert shown.exit_code == 0, shown.output
    assert "warning: The values take only 8 levels" in shown.output
