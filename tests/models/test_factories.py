"""A user's own function and weights: what is taken, what is refused, and that no pickle runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from salus.classifier import Classifier, load_user_model
from salus.errors import ModelError

CODE = """
import torch
number = 3
def build(): return torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))
def needs(argument): return None
def fails(): raise ValueError("no luck")
def text(): return "text"
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a module of the user's; what it imports is forgotten afterwards."""
    (tmp_path / "users_nets.py").write_text(CODE)
    (tmp_path / "broken_nets.py").write_text("import torch\n1 / 0\n")
    (tmp_path / "exiting_nets.py").write_text("raise SystemExit(1)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    yield tmp_path
    for name in ("users_nets", "broken_nets", "exiting_nets"):
        sys.modules.pop(name, None)


def load(spec: str, weights: Path | None = None) -> Classifier:
    return load_user_model(spec, weights, classes="abc", shape=(6,))


def built() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_a_factory_and_weights_make_a_classifier(here: Path, suffix: str) -> None:
    module = built()
    path = here / f"weights{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(module.state_dict(), path)
    else:
        torch.save(module.state_dict(), path)
    model = load("users_nets:build", path)
    x = torch.rand(4, 6)
    assert torch.equal(model(x), module(x))
    assert model.architecture == {"factory": "users_nets:build"}


def test_a_checkpoint_that_nests_its_state_dict_is_read(here: Path) -> None:
    torch.save({"epoch": 3, "state_dict": built().state_dict()}, here / "w.pt")
    load("users_nets:build", here / "w.pt")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("users_nets", "write package.module:function"),
        ("users_nets.py:build()", "write package.module:function"),
        ("nobodys_nets:build", "importing nobodys_nets failed with ModuleNotFoundError"),
        ("broken_nets:build", "ZeroDivisionError"),
        ("exiting_nets:build", "SystemExit"),
        ("users_nets:biuld", "did you mean 'build'"),
        ("users_nets:number", "is a int, not a function"),
        ("users_nets:needs", "calling it failed with TypeError"),
        ("users_nets:fails", "no luck"),
        ("users_nets:text", "returned a str, not a torch.nn.Module"),
        ("nowhere.pt2", "no exported program"),
    ],
)
def test_what_is_no_factory_is_said(here: Path, spec: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load(spec)


def test_weights_that_do_not_fit_are_said(here: Path) -> None:
    state = built().state_dict()
    for change, message in (
        ({"0.weight": torch.zeros(5, 6)}, r"'0.weight' has shape \[5, 6\]; the model needs \[4, 6\]"),
        ({"9.bias": torch.zeros(1)}, "hold '9.bias'"),
    ):
        torch.save({**state, **change}, here / "w.pt")
        with pytest.raises(ModelError, match=message):
            load("users_nets:build", here / "w.pt")
    del state["2.bias"]
    torch.save(state, here / "w.pt")
    with pytest.raises(ModelError, match=r"needs '2.bias'"):
        load("users_nets:build", here / "w.pt")


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_files_that_hold_no_weights_are_said(here: Path, name: str) -> None:
    (here / name).write_bytes(b"not weights at all")
    with pytest.raises(ModelError, match="w\\."):
        load("users_nets:build", here / name)


def test_a_missing_or_misnamed_file_is_said(here: Path) -> None:
    with pytest.raises(ModelError, match="no file of weights"):
        load("users_nets:build", here / "none.pt")
    (here / "w.bin").touch()
    with pytest.raises(ModelError, match=r"w\.bin is empty\. Salus takes a state dict"):
        load("users_nets:build", here / "w.bin")
    torch.save([1, 2], here / "w.pt")
    with pytest.raises(ModelError, match="no state dict but a list"):
        load("users_nets:build", here / "w.pt")


class Payload:
    """Unpickled, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(here: Path, legacy: bool) -> None:
    torch.save({"0.weight": Payload(here / "ran")}, here / "w.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ModelError, match="run code"):
        load("users_nets:build", here / "w.pt")
    assert not (here / "ran").exists()


def test_a_whole_pickled_model_is_refused(here: Path) -> None:
    torch.save(built(), here / "w.pt")
    with pytest.raises(ModelError, match=r"whole pickled model .*save a state dict"):
        load("users_nets:build", here / "w.pt")
