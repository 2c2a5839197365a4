"""The command line as a user meets it: one sentence for every mistake, exit code 2, nothing left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from salus.cli import main

QUICK = ["--training", "epochs=6", "--eps", "0.05", "--steps", "5", "--samples", "24", "--false-alarm-rate", "0.05"]


def salus(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_an_audit_prints_a_table_a_verdict_and_where_the_report_lies(tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = salus("audit", "--data", "breast-cancer", *QUICK, "--out", out)
    assert result.exit_code == 0, result.output
    for word in ("adaptive", "This classifier is", "Behind the guard", "report.html", "No feature is marked"):
        assert word in result.output
    for name in ("report.html", "results.json", "results.csv", "samples.safetensors", "run.json"):
        assert (out / name).is_file()
    page = (out / "report.html").read_bytes()
    assert salus("report", out).exit_code == 0
    assert (out / "report.html").read_bytes() == page, "redrawn from stored results alone"
    again = salus("audit", "--data", "breast-cancer", *QUICK, "--out", out)
    assert again.exit_code == 0 and "0 cells computed" in again.output


def test_failed_cells_exit_with_three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from salus.attacks import FGSM

    def break_down(self: FGSM, search: object, start: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(FGSM, "perturb", break_down)
    result = salus("audit", *QUICK, "--defence", "none", "--out", tmp_path / "run")
    assert result.exit_code == 3
    assert "cells failed" in result.output
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_guard_is_fitted_saved_and_applied(tmp_path: Path) -> None:
    from salus.data import load

    bundle = tmp_path / "guard"
    made = salus(
        "guard", "fit", "--data", "breast-cancer", "--training", "epochs=6", "--defence", "i-defender",
        "--false-alarm-rate", "0.05", "--out", bundle,
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    assert "I-defender on penultimate" in made.output and "rejects" in made.output
    test = load("breast-cancer").test
    np.savez(tmp_path / "patients.npz", x=test.x.numpy())
    judged = salus("guard", "apply", bundle, tmp_path / "patients.npz")
    assert judged.exit_code == 0, judged.output
    lines = judged.output.splitlines()
    assert lines[-1].startswith(f"{len(test)} inputs judged")
    lines = lines[:-1]
    assert len(lines) == len(test) + 1
    right = sum(line.split(",")[2] == test.classes[y] for line, y in zip(lines[1:], test.y.tolist(), strict=True))
    assert right > 0.8 * len(test)


def test_a_guard_is_never_fitted_into_another_ones_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from salus.detectors import IDefender

    words = ["guard", "fit", "--training", "epochs=4", "--false-alarm-rate", "0.05", "--out", tmp_path / "guard"]
    real = IDefender.fit
    monkeypatch.setattr(IDefender, "fit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    assert salus(*words).exit_code == 130, "stopped after training"
    monkeypatch.setattr(IDefender, "fit", real)
    other = salus(*words, "--seed", "3")
    assert other.exit_code == 2 and "another" in other.output
    assert salus(*words).exit_code == 0, "the same command goes on"
    again = salus(*words)
    assert again.exit_code == 2 and len(again.output.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--seed", "5000000000"], ["seed"]),
        (["--defence", "i-defender:dimensions=abc"], ["dimensions", "abc"]),
        (["--defence", "i-defender:max_samples=0"], ["max_samples"]),
        (["--defence", "i-defender:layers=nosuch"], ["nosuch", "penultimate"]),
        (["--data", "breast-cancr"], ["'breast-cancr'", "breast-cancer"]),
        (["--model", "mpl"], ["'mpl'", "mlp"]),
        (["--attack", "pdg"], ["'pdg'", "pgd"]),
        (["--attack", "pgd:stps=4,eps=0.1"], ["'stps'", "steps"]),
        (["--attack", "pgd:eps=-0.1"], ["eps", "-0.1"]),
        (["--attack", "pgd:eps=8"], ["eps=8", "8/255"]),
        (["--eps", "nan"], ["eps", "nan"]),
        (["--defence", "i-defnder"], ["'i-defnder'", "i-defender"]),
        (["--defence", "i-defender:componets=2"], ["componets", "components"]),
        (["--threat-model", "black"], ["'black'"]),
        (["--samples", "0"], ["samples"]),
        (["--bounds", "0;1"], ["0;1", "LOW,HIGH"]),
        (["--split", "patients"], ["split"]),
        (["--training", "epoch=3"], ["epoch", "epochs"]),
        (["--device", "abacus"], ["abacus", "cpu"]),
        (["--target", "healthy"], ["healthy", "benign"]),
        (["--immutable", "shoe size"], ["shoe size"]),
    ],
)
def test_bad_options_are_one_sentence_that_names_the_word(
    tmp_path: Path, words: list[str], expected: list[str]
) -> None:
    out = tmp_path / "run"
    result = salus("audit", *words, "--out", out)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    message = result.output.strip().splitlines()
    assert len(message) == 1, message
    for word in expected:
        assert word in message[0]
    assert not out.exists(), "nothing is left behind"


def _npz(path: Path, **changes: object) -> Path:
    generator = np.random.default_rng(0)
    y = np.arange(200) % 2
    arrays: dict[str, Any] = {
        "x": (0.2 + 0.5 * y[:, None] + 0.1 * generator.random((200, 6))).astype(np.float32),
        "y": y,
    }
    arrays.update(changes)
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"y": None}, ["y"]),
        ({"y": np.arange(150) % 2}, ["150", "200"]),
        ({"y": np.arange(200) % 2, "classes": np.array(["only"])}, ["class"]),
        ({"x": np.zeros((0, 6), np.float32), "y": np.zeros(0, np.int64)}, ["sample"]),
        ({"x": np.full((200, 6), np.nan, np.float32)}, ["NaN"]),
        ({"x": np.full((200, 6), 3.0, np.float32)}, ["bounds"]),
        ({"x": np.array([{}] * 200, dtype=object)}, ["x"]),
    ],
)
def test_bad_files_are_one_sentence(tmp_path: Path, changes: dict[str, object], expected: list[str]) -> None:
    path = _npz(tmp_path / "own.npz", **changes)
    result = salus("audit", "--data", path, "--out", tmp_path / "run")
    assert result.exit_code == 2, result.output
    assert len(result.output.strip().splitlines()) == 1, result.output
    for word in (*expected, "own"):
        assert word in result.output
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_no_npz_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "own.npz").write_text("hello")
    result = salus("audit", "--data", tmp_path / "own.npz", "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert len(result.output.strip().splitlines()) == 1


def test_ones_own_data_and_model_are_audited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from safetensors.torch import save_file

    path = _npz(tmp_path / "own.npz")
    (tmp_path / "ward_model.py").write_text(
        "from torch import nn\ndef build():\n    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))\n"
    )
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    data = np.load(path)
    x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"])
    optimiser = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(200):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    save_file(net.state_dict(), tmp_path / "own.safetensors")
    result = salus(
        "audit", "--data", path, "--model", "ward_model:build", "--weights", "own.safetensors", "--eps", "0.3",
        "--attack", "pgd:steps=5", "--false-alarm-rate", "0.05", "--out", "run",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["cells"][0]["clean_accuracy"] == 1.0
    wrong = salus("audit", "--data", "digits", "--model", "ward_model:build", "--weights", "own.safetensors",
                  "--out", "other")  # fmt: skip
    assert wrong.exit_code == 2 and len(wrong.output.strip().splitlines()) == 1, wrong.output
    assert not Path("other").exists()


def test_an_occupied_or_unwritable_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    for out in (tmp_path, tmp_path / "notes.txt", tmp_path / "notes.txt" / "run"):
        result = salus("audit", "--out", out)
        assert result.exit_code == 2 and len(result.output.strip().splitlines()) == 1, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt"]


def test_data_sets_are_listed_and_shown(tmp_path: Path) -> None:
    listed = salus("data", "list")
    assert listed.exit_code == 0
    assert all(name in listed.output for name in ("breast-cancer", "digits", "mitdb"))
    shown = salus("data", "show", "breast-cancer", "--picture", tmp_path / "bc.png")
    assert shown.exit_code == 0, shown.output
    assert all(word in shown.output for word in ("malignant", "test", "source", "split"))
    assert (tmp_path / "bc.png").read_bytes().startswith(b"\x89PNG")


def test_every_help_page_is_readable() -> None:
    def pages(command: click.Command, words: list[str]) -> Iterator[list[str]]:
        yield words
        for name, part in getattr(command, "commands", {}).items():
            yield from pages(part, [*words, name])

    for words in pages(main, []):
        shown = CliRunner().invoke(main, [*words, "--help"])
        assert shown.exit_code == 0 and "\\b" not in shown.output, words
