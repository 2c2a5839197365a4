"""`salus guard calibrate`: MultiMagNet's grid on one's own classifier and data."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from salus.cli import main
from salus.detectors.multimagnet_grid import Calibration

COMMAND = ["guard", "calibrate", "--data", "breast-cancer", "--training", "epochs=8"]


def salus(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("calibration") / "autoencoders"
    assert salus("autoencoders", "--data", "breast-cancer", "--epochs", 3, "--out", place).exit_code == 0
    return place


def test_its_file_is_readable_and_a_defence(repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "calibrated"
    words = [*COMMAND, "--repository", repository, "--out", out]
    made = salus(*words, "--false-alarm-rate", 0.1)
    assert made.exit_code == 0, made.output
    assert "blends of them" in made.output and "at most 0.1 of clean inputs rejected" in made.output
    chosen = Calibration.load(out / "calibration.json")
    assert 1 - chosen.best.outcome.ppv <= 0.1
    weights = (out / "model.safetensors").read_bytes()
    attacked = salus(*words, "--attack", "pgd:eps=0.1")
    assert attacked.exit_code == 0, attacked.output
    assert (out / "model.safetensors").read_bytes() == weights
    against = Calibration.load(out / "calibration.json")
    assert against.best.outcome.accuracy == max(row.outcome.accuracy for row in against.grid)
    assert against.adversarial == "pgd:eps=0.1" and "attacked ones that fool the classifier" in attacked.output
    use = next(line for line in attacked.output.splitlines() if line.startswith("Use it: ")).split()[2:]
    audit = salus(
        "audit", "--data", "breast-cancer", *use, "--attack", "fgsm:eps=0.1", "--threat-model", "oblivious",
        "--samples", 40, "--out", tmp_path / "run",
    )  # fmt: skip
    assert audit.exit_code == 0, audit.output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--attack", "pgd"], "Calibrate against one attack at one eps"),
        (["--attack", "pgd:eps=1e-7"], "fooled the classifier on none"),
        (["--data", "digits"], "take samples of shape"),
        (["--repository", "nowhere"], "holds no repository"),
    ],
)
def test_bad_input_is_one_sentence(repository: Path, tmp_path: Path, words: list[str], sentence: str) -> None:
    result = salus(*COMMAND, "--repository", repository, "--out", tmp_path / "out", *words)
    assert result.exit_code == 2
    assert sentence in result.output
    assert not (tmp_path / "out" / "calibration.json").exists()


def test_a_repository_of_too_few_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    few = tmp_path / "few"
    assert salus("autoencoders", "--data", "breast-cancer", "--epochs", 1, "--members", 2, "--out", few).exit_code == 0
    result = salus(*COMMAND, "--repository", few, "--out", tmp_path / "out")
    assert result.exit_code == 2 and "draws 3 members at least" in result.output
    assert not (tmp_path / "out").exists()
