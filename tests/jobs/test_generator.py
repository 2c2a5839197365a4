"""`salus generator`: a folder with a generator, gone on with after a kill, and used by Defense-GAN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from salus.cli import main
from salus.errors import OptionError, StoreError
from salus.generative.generator import SampleGenerator
from salus.jobs import run_generator

SMALL = {"width": 2, "latent": 3}


def salus(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def waves(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "waves.npz", x=rng.random((300, 1, 12), dtype=np.float32), y=np.arange(300) % 2)
    return tmp_path / "waves.npz"


def test_it_trains_goes_on_and_its_folder_is_a_defence(waves: Path, tmp_path: Path) -> None:
    out = tmp_path / "generator"
    command = ["generator", "--data", waves, "--training", "width=2,latent=3", "--training", "betas=0.5+0.9"]
    first = salus(*command, "--epochs", 1, "--out", out)
    assert first.exit_code == 0, first.output
    assert "Trained for 1 epochs on 150 samples" in first.output
    assert f"--defence defense-gan:generator={out}" in first.output
    longer = salus(*command, "--epochs", 2, "--out", out)
    assert "Trained for 2 epochs" in longer.output, longer.output
    assert SampleGenerator.load(out).facts["data"] == "waves"
    spec = f"defense-gan:generator={out},restarts=2,iterations=5+defense-gan-purifier:generator={out},iterations=5"
    bundle = ["guard", "fit", "--data", waves, "--model", "ecg-cnn:widths=2+2+2", "--training", "epochs=1"]
    made = salus(*bundle, "--defence", spec, "--false-alarm-rate", 0.1, "--out", tmp_path / "guard")
    assert made.exit_code == 0 or "chance" in made.output, made.output
    refused = salus(*bundle, "--defence", f"defense-gan:generator={tmp_path}", "--out", tmp_path / "other")
    assert refused.exit_code == 2 and "There is no generator in" in refused.output


def test_a_folder_of_another_training_is_refused(waves: Path, tmp_path: Path) -> None:
    run_generator(str(waves), tmp_path / "out", training={**SMALL, "epochs": 1})
    with pytest.raises(StoreError, match="holds a training with another setup"):
        run_generator(str(waves), tmp_path / "out", training={**SMALL, "epochs": 1, "penalty": 5.0})
    with pytest.raises(StoreError, match="something that is no training"):
        run_generator(str(waves), waves.parent, training=SMALL)


def test_mistakes_are_told_before_anything_is_written(waves: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no option 'wdth'; did you mean 'width'"):
        run_generator(str(waves), tmp_path / "out", training={"wdth": 3})
    result = salus("generator", "--data", waves, "--epochs", 0, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "Training: epochs must be a whole number from 1 up, not 0" in result.output
    assert not (tmp_path / "out").exists()
