"""Exported programs: they load, take hooks and are saved; and nothing that a file brings along is run."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salus.classifier import Classifier, load_user_model
from salus.errors import BundleError, ModelError

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


class Net(nn.Module):
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 4, 3, padding="same")
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(80, 3)
        self.register_buffer("scale", torch.tensor(2.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        h = nn.functional.gelu(self.norm(self.conv(x)), approximate="tanh")
        out: Tensor = self.head(self.drop(h.reshape(x.shape[0], -1)))
        return out * self.scale


def export(module: nn.Module, *, dynamic: bool = True) -> bytes:
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    program = torch.export.export(module.eval(), (torch.rand(2, 1, 20),), dynamic_shapes=shapes)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def net() -> Net:
    return Net()


@pytest.fixture(scope="module")
def exported(net: Net) -> bytes:
    return export(net)


def load(path: Path, content: bytes) -> Classifier:
    path.write_bytes(content)
    return load_user_model(str(path), classes="abc", shape=(1, 20))


def test_a_program_computes_what_its_module_did_and_takes_hooks(tmp_path: Path, net: Net, exported: bytes) -> None:
    model = load(tmp_path / "net.pt2", exported)
    x = torch.rand(5, 1, 20)
    torch.testing.assert_close(model(x), net(x))
    states = model.states(x, ["penultimate", "conv"])
    torch.testing.assert_close(2 * net.head(states.hidden["penultimate"]), net(x))
    torch.testing.assert_close(states.hidden["conv"], net.conv(x).mean(2))


def test_a_program_without_a_linear_layer_shows_what_its_last_convolution_multiplies(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Conv1d(4, 3, 1), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    model = load(tmp_path / "net.pt2", export(net))
    states = model.states(torch.rand(5, 1, 20), ["penultimate"])
    torch.testing.assert_close(net[2](states.hidden["penultimate"][:, :, None])[:, :, 0], states.logits)


def test_a_program_can_be_saved_loaded_and_saved_again(tmp_path: Path, exported: bytes) -> None:
    model = load(tmp_path / "net.pt2", exported)
    model.save(tmp_path / "a")
    again = Classifier.load(tmp_path / "a")
    again.save(tmp_path / "b")
    x = torch.rand(5, 1, 20)
    assert torch.equal(Classifier.load(tmp_path / "b")(x), model(x))
    assert again.fingerprint() == model.fingerprint()
    program = tmp_path / "a" / "model.pt2"
    program.write_bytes(program.read_bytes()[:-1] + b"!")
    with pytest.raises(BundleError, match=r"model\.pt2 is not the file that was saved"):
        Classifier.load(tmp_path / "a")


def test_a_fixed_batch_size_says_how_to_export(tmp_path: Path, net: Net) -> None:
    with pytest.raises(ModelError, match="dynamic_shapes"):
        load(tmp_path / "net.pt2", export(net, dynamic=False))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 half"])
def test_what_is_no_archive_is_said(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ModelError, match="damaged, or no exported program"):
        load(tmp_path / "net.pt2", content)


def test_a_truncated_program_is_said(tmp_path: Path, exported: bytes) -> None:
    with pytest.raises(ModelError, match="damaged"):
        load(tmp_path / "net.pt2", exported[: len(exported) // 2])


class Payload:
    """Unpickled, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


Records = list[tuple[str, bytes]]


def rewritten(exported: bytes, change: Callable[[Records], None]) -> bytes:
    """Take an archive apart, change its records, and put it together."""
    with zipfile.ZipFile(io.BytesIO(exported)) as archive:
        records = [(name, archive.read(name)) for name in archive.namelist()]
    change(records)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *a, **k: None)  # of duplicate names
        for name, value in records:
            archive.writestr(name, value)
    return buffer.getvalue()


def put(records: Records, ending: str, value: bytes) -> None:
    place = next((i for i, (name, _) in enumerate(records) if name.endswith(ending)), None)
    if place is None:
        records.append((f"{records[0][0].partition('/')[0]}/{ending}", value))
    else:
        records[place] = (records[place][0], value)


def edit(records: Records, ending: str, change: Callable[[Any], None]) -> None:
    value = json.loads(next(content for name, content in records if name.endswith(ending)))
    change(value)
    put(records, ending, json.dumps(value).encode())


def torch_pickle(path: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(Payload(path), buffer)
    return buffer.getvalue()


def pickled_weight(records: Records, ran: Path) -> None:
    def change(config: Any) -> None:
        config["config"]["conv.bias"]["use_pickle"] = True
        put(records, config["config"]["conv.bias"]["path_name"], torch_pickle(ran))

    edit(records, "model_weights_config.json", change)


def pickled_constant(prefix: str) -> Callable[[Records, Path], None]:
    def attack(records: Records, ran: Path) -> None:
        payload = {"path_name": f"{prefix}0", "is_param": False, "use_pickle": True, "tensor_meta": None}
        edit(records, "model_constants_config.json", lambda c: c["config"].update(evil=payload))
        content = pickle.dumps(Payload(ran)) if prefix == "opaque_obj_" else torch_pickle(ran)
        put(records, f"data/constants/{prefix}0", content)

    return attack


def legacy(name: str) -> Callable[[Records, Path], None]:
    return lambda records, ran: put(records, name, torch_pickle(ran))


def in_the_graph(change: Callable[[Any, str], None]) -> Callable[[Records, Path], None]:
    return lambda records, ran: edit(records, "models/model.json", lambda m: change(m, f"touch {ran}"))


def shape_code(model: Any, command: str) -> None:
    for value in model["graph_module"]["graph"]["tensor_values"].values():
        for size in value["sizes"]:
            if "as_expr" in size:
                size["as_expr"]["expr_str"] = f"__import__('os').system('{command}')"


def shape_code_in_a_string(model: Any, command: str) -> None:
    for value in model["graph_module"]["graph"]["tensor_values"].values():
        for size in value["sizes"]:
            if "as_expr" in size:
                size["as_expr"]["expr_str"] = f"Max(\"__import__('os').system('{command}')\", 1)"


def operator(target: str) -> Callable[[Any, str], None]:
    def change(model: Any, command: str) -> None:
        node = model["graph_module"]["graph"]["nodes"][0]
        node["target"] = target
        node["inputs"] = [{"name": "", "arg": {"as_string": command}, "kind": 1}]

    return change


def input_name(model: Any, command: str) -> None:
    text = json.dumps(model["graph_module"]).replace(
        '"name": "x"', json.dumps({"name": f"x=__import__('os').system('{command}')"})[1:-1]
    )
    model["graph_module"] = json.loads(text)


def structure(model: Any, command: str) -> None:
    for call in model["graph_module"]["module_call_graph"]:
        if call["signature"]:
            context = {"default_factory_module": "antigravity", "default_factory_name": "x"}
            spec = {"type": "collections.defaultdict", "context": json.dumps(context), "children_spec": []}
            call["signature"]["out_spec"] = json.dumps([1, spec])


ATTACKS: dict[str, Callable[[Records, Path], None]] = {
    "a pickled weight": pickled_weight,
    "a pickled constant": pickled_constant("tensor_"),
    "a custom object": pickled_constant("custom_obj_"),
    "an opaque object": pickled_constant("opaque_obj_"),
    "weights of the old format": legacy("data/weights/model.pt"),
    "constants of the old format": legacy("data/constants/model.pt"),
    "a compiled library": legacy("data/aotinductor/model/model.so"),
    "a second program": legacy("models/other.json"),
    "code as a shape": in_the_graph(shape_code),
    "code in a string in a shape": in_the_graph(shape_code_in_a_string),
    "os.system as an operator": in_the_graph(operator("torch.os.system")),
    "torch.load as an operator": in_the_graph(operator("torch.load")),
    "a file as an operator": in_the_graph(operator("torch.ops.aten.from_file.default")),
    "code as the name of an input": in_the_graph(input_name),
    "a structure that imports": in_the_graph(structure),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_file_that_could_run_code_is_refused_and_nothing_runs(tmp_path: Path, exported: bytes, attack: str) -> None:
    ran = tmp_path / "ran"
    content = rewritten(exported, lambda records: ATTACKS[attack](records, ran))
    with pytest.raises(ModelError, match=r"could run code|no classifier needs"):
        load(tmp_path / "net.pt2", content)
    assert not ran.exists()


@pytest.mark.parametrize("name", ["models/model.json", "MODELS/model.json"])
def test_a_name_that_stands_twice_is_refused(tmp_path: Path, exported: bytes, name: str) -> None:
    def change(records: Records) -> None:
        records.append((f"{records[0][0].partition('/')[0]}/{name}", b"{}"))

    with pytest.raises(ModelError, match="twice"):
        load(tmp_path / "net.pt2", rewritten(exported, change))


def test_pickled_sample_inputs_are_never_read(tmp_path: Path, net: Net, exported: bytes) -> None:
    ran = tmp_path / "ran"
    content = rewritten(exported, lambda r: put(r, "data/sample_inputs/model.pt", torch_pickle(ran)))
    x = torch.rand(3, 1, 20)
    torch.testing.assert_close(load(tmp_path / "net.pt2", content)(x), net(x))
    assert not ran.exists()


def test_the_old_format_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("version", "8.8")
        archive.writestr("serialized_state_dict.pt", torch_pickle(tmp_path / "ran"))
        archive.writestr("serialized_exported_program.json", "{}")
    with pytest.raises(ModelError, match="old format"):
        load(tmp_path / "net.pt2", buffer.getvalue())
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("ending", ["models/model.json", "model_weights_config.json"])
def test_damaged_json_is_said(tmp_path: Path, exported: bytes, ending: str) -> None:
    content = rewritten(exported, lambda records: put(records, ending, b'{"config": [1, {'))
    with pytest.raises(ModelError, match="is damaged"):
        load(tmp_path / "net.pt2", content)
