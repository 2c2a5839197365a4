"""What the command line says to a word that it does not know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from salus.cli.main import main


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["guard", "aply"], "There is no command 'aply'; did you mean 'apply'?"),
        (["guard", "judge"], "There is no command 'judge'; known: apply, ask,"),
        (["adit"], "There is no command 'adit'; did you mean 'audit' or"),
    ],
)
def test_a_command_that_there_is_not_names_the_nearest(words: list[str], sentence: str) -> None:
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2 and sentence in result.output


def test_monitors_are_listed_with_their_options() -> None:
    result = CliRunner().invoke(main, ["list", "monitors", "lifelike"])
    assert result.exit_code == 0 and "lifelike: " in result.output and "waver=0.25" in result.output


@pytest.mark.parametrize(
    ("model", "weights", "sentence"),
    [
        ("net.ts", None, "is a TorchScript program, which Salus does not run; export the network with torch.export"),
        ("torch.nn:Identity", "net.onnx", "give it as the model, --model FILE.onnx"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_programs_of_other_kinds_are_told_by_name(
    tmp_path: Path, model: str, weights: str | None, sentence: str
) -> None:
    torch.jit.trace(torch.nn.Linear(4, 2), torch.zeros(1, 4)).save(str(tmp_path / "net.ts"))
    (tmp_path / "net.onnx").write_bytes(b"\x08\x08\x12\x07pytorch" + bytes(64))
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).random((60, 4), np.float32), y=np.arange(60) % 2)
    words = [
        "model",
        "check",
        str(tmp_path / model) if weights is None else model,
        "--data",
        str(tmp_path / "data.npz"),
    ]
    words += [] if weights is None else ["--weights", str(tmp_path / weights)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2 and sentence in result.output, result.output
