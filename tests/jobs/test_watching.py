"""`salus guard watch`: a monitor that a bundle carries, fitted to the groups of its data."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from salus.cli import main
from salus.data import load
from salus.detectors.queries import load_monitor


def salus(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def bundle(table_bundle: Path, tmp_path: Path) -> Path:
    """A bundle of one's own, which a monitor may be added to."""
    return Path(shutil.copytree(table_bundle, tmp_path / "bundle"))


@pytest.fixture
def grouped(tmp_path: Path) -> Path:
    """Rows of the bundle's data, dealt to twelve clinics."""
    splits = load("breast-cancer")
    x = torch.cat([splits.train.x, splits.test.x])
    y = torch.cat([splits.train.y, splits.test.y])
    place = tmp_path / "clinics.npz"
    np.savez(place, x=x.numpy(), y=y.numpy(), groups=np.arange(len(x)) % 12, classes=np.array(splits.test.classes))
    return place


def test_a_monitor_is_fitted_to_the_training_groups_and_tried_on_the_others(bundle: Path, grouped: Path) -> None:
    made = salus("guard", "watch", bundle, "--data", grouped, "--monitor", "nearest")
    assert made.exit_code == 0, made.output
    assert "honest callers of the test side" in made.output
    monitor = load_monitor(bundle / "monitor")
    assert monitor.name == "nearest"
    assert 2 <= monitor.fitted_["callers"] < 12


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--data", "breast-cancer"), "they have no groups"),
        (("--data", "digits"), "take"),
        (("--monitor", "oracle"), "Unknown monitor 'oracle'"),
    ],
)
def test_what_cannot_be_fitted_is_one_sentence(
    bundle: Path, grouped: Path, words: tuple[str, ...], sentence: str
) -> None:
    result = salus("guard", "watch", bundle, "--data", grouped, *words)
    assert result.exit_code == 2
    assert sentence in result.output
    assert not (bundle / "monitor").exists()
