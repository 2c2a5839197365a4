"""Files of weights: each is recognised for what it is, taken or refused with what is accepted, and no pickle runs."""

from __future__ import annotations

import argparse
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from salus.errors import ModelError
from salus.models.weights import load_weights, read_weights

#: What an optimizer's ``state_dict`` looks like.
OPTIMIZER = {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.001, "params": [0, 1]}]}


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3)).eval()


def state(prefix: str = "", seed: int = 0) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in network(seed).state_dict().items()}


def loaded(path: Path) -> tuple[str, ...]:
    """Load into a network of other weights, which must then answer as the one that was saved."""
    module, x = network(seed=1), torch.rand(5, 6)
    remarks = load_weights(module, path)
    assert torch.equal(module(x), network()(x))
    return remarks


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors", "w.bin", "w.ckpt", "w.pth.tar", "w"])
@pytest.mark.parametrize("legacy", [False, True])
def test_the_content_decides_and_not_the_name(tmp_path: Path, name: str, legacy: bool) -> None:
    torch.save(state(), tmp_path / name, _use_new_zipfile_serialization=not legacy)
    assert loaded(tmp_path / name) == ()
    safetensors.torch.save_file(state(), tmp_path / name)
    assert loaded(tmp_path / name) == ()


@pytest.mark.parametrize("entry", ["state_dict", "model_state_dict", "model", "net", "anything"])
def test_a_checkpoint_gives_its_weights(tmp_path: Path, entry: str) -> None:
    torch.save({"epoch": 3, "optimizer": OPTIMIZER, entry: state()}, tmp_path / "w.pt")
    assert loaded(tmp_path / "w.pt") == ()
    torch.save({"model": {"epoch": 3, entry: state()}}, tmp_path / "w.pt")
    assert loaded(tmp_path / "w.pt") == ()


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.model.", "backbone."])
def test_prefixes_of_wrappers_are_taken_off_and_said(tmp_path: Path, prefix: str) -> None:
    torch.save({"state_dict": state(prefix)}, tmp_path / "w.pt")
    assert loaded(tmp_path / "w.pt") == (f"The prefix {prefix!r} was taken off the names of the weights.",)


def test_a_wrapped_model_takes_the_weights_of_what_it_wraps(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "w.pt")
    module = nn.DataParallel(network(seed=1))
    (remark,) = load_weights(module, tmp_path / "w.pt")
    assert "'module.'" in remark
    assert torch.equal(module.module(torch.ones(2, 6)), network()(torch.ones(2, 6)))


def test_what_lies_beside_a_wrapped_model_is_left_out_and_said(tmp_path: Path) -> None:
    lightning = {**state("model."), "criterion.weight": torch.ones(3), "ema.n_averaged": torch.tensor(3)}
    torch.save({"pytorch-lightning_version": "2.5", "state_dict": lightning}, tmp_path / "w.ckpt")
    (remark,) = loaded(tmp_path / "w.ckpt")
    assert "'model.'" in remark and "left out: criterion.weight, ema.n_averaged (2 of 11)" in remark
    torch.save({"n_averaged": torch.tensor(5), **state("module.")}, tmp_path / "averaged.pt")
    assert "left out: n_averaged (1 of" in loaded(tmp_path / "averaged.pt")[0]


def test_weights_that_are_there_twice_are_refused_with_both_ways(tmp_path: Path) -> None:
    torch.save({**state("student."), **state("teacher.", seed=2)}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"w\.pt holds .* under 'student\.' and under 'teacher\.', beside others"):
        loaded(tmp_path / "w.pt")
    torch.save({**state("model."), **state("net.", seed=2)}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"under 'model\.' and under 'net\.'"):
        loaded(tmp_path / "w.pt")
    torch.save({"generator": state(), "discriminator": state(seed=2)}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="several state dicts, under 'generator', 'discriminator'; save"):
        loaded(tmp_path / "w.pt")
    torch.save({"ema": state(seed=2), "model": state()}, tmp_path / "w.pt")
    assert "under 'model' were taken, not those under 'ema'" in loaded(tmp_path / "w.pt")[0]


def test_what_a_prefixed_file_lacks_is_named_without_the_prefix(tmp_path: Path) -> None:
    weights = state("module.")
    del weights["module.3.bias"]
    torch.save(weights, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"the model needs '3\.bias', which they lack \(1 of 9 missing\)"):
        loaded(tmp_path / "w.pt")


def script() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(network()), buffer)
    return buffer.getvalue()


def saved(content: Any, legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            file.writestr(name, b"x")
    return buffer.getvalue()


def arrays() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, weight=np.zeros(3))
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: saved(network()), r"a whole pickled model \(torch\.nn\.\S+\).*run code.*model\.state_dict\(\)"),
        (lambda: saved(network(), legacy=True), "a whole pickled model"),
        (lambda: saved({"model": network(), "epoch": 3}), "a whole pickled model"),
        (
            lambda: saved({"hyper_parameters": argparse.Namespace(a=1), "state_dict": state()}),
            r"more than tensors \(argparse\.Namespace\).*run code.*checkpoint\['state_dict'\]",
        ),
        (lambda: saved(OPTIMIZER), "the state of an optimizer"),
        (lambda: saved({"epoch": 1, "optimizer_state_dict": {"state": {}}}), "the state of an optimizer"),
        (lambda: saved({**state(), "epoch": 3}), "its 'epoch' is a int"),
        (lambda: saved(torch.zeros(3)), "no state dict but a Tensor"),
        (lambda: saved({}), "an empty state dict"),
        (script, r"a TorchScript program; save its weights by torch\.save\(torch\.jit\.load\("),
        (lambda: archive("w/archive_format", "w/models/model.json"), r"an exported program.*--model FILE\.pt2"),
        (arrays, "an archive of NumPy arrays"),
        (lambda: archive("config.json", "model.weights.h5"), "a model of Keras"),
        (lambda: archive("word/document.xml"), "an archive of other files"),
        (lambda: b"\x08\x08\x12\x07pytorch\x1a\x052.8.0:\x80\x01" + bytes(90), "an ONNX program"),
        (lambda: b"\x89HDF\r\n\x1a\n" + bytes(90), "an HDF5 file, such as weights of Keras"),
        (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (lambda: b"\n<!DOCTYPE html><html>Not found</html>", "a web page"),
        (lambda: b'{"metadata": {}, "weight_map": {}}', "JSON text"),
        (lambda: b"weights, honestly", "no file of weights"),
        (lambda: b"", "is empty"),
        (lambda: saved(state())[:-500], "w.pt"),
        (lambda: safetensors.torch.save(state())[:-50], "no whole safetensors"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["w.pt", "w.pt.safetensors"])
def test_a_file_that_is_something_else_is_said_with_what_is_accepted(
    tmp_path: Path, make: Callable[[], bytes], sentence: str, name: str
) -> None:
    (tmp_path / name).write_bytes(make())
    with pytest.raises(ModelError, match=sentence) as error:
        read_weights(tmp_path / name)
    assert "state_dict" in str(error.value) or "safetensors" in str(error.value)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a folder; name the file of weights in it"):
        read_weights(tmp_path)
