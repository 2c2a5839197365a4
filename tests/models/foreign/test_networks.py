"""Networks in ONNX, Keras and the names of libraries: what they answer, what flows, and what is refused."""

import io
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from salus.audit import Plan, run_audit
from salus.classifier import Classifier, check_classifier, load_user_model
from salus.cli import main
from salus.data import Dataset, Splits, load
from salus.errors import ModelError, OptionError
from salus.guard import Guard
from salus.jobs import fit_bundle
from salus.models.torchvision_ops import load_torchvision

load_torchvision()  # repaired where it has to be, before others import it
onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnx2pytorch", reason="the extra onnx is not installed")


@pytest.fixture(scope="module")
def digits() -> Splits:
    return load("digits")


@pytest.fixture(scope="module")
def network(digits: Splits) -> nn.Module:
    """A small network, trained on handwritten digits."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(24 * 16, 10),
    )  # fmt: skip
    x, y = digits.train.x, digits.train.y
    optimiser = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(10):
        for rows in torch.randperm(len(x)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()
    return net.eval()


def exported(net: nn.Module, x: Tensor, path: Path, **options: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net,
            (x[:2],),
            path,
            dynamo=False,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "n"}, "y": {0: "n"}},
        )
    return path


def in_keras(net: Any, path: Path) -> Path:
    """Write the same network as Keras has it, channels last, with the same weights."""
    import os

    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras", reason="the extra keras is not installed")
    layers = keras.layers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = keras.Sequential(
            [
                layers.Input((8, 8, 1)),
                layers.Conv2D(12, 3, padding="same", activation="relu"),
                layers.MaxPooling2D(2),
                layers.Conv2D(24, 3, padding="same", activation="relu"),
                layers.Flatten(),
                layers.Dense(10, activation="softmax"),
            ]
        )
        kernels: list[Any] = [part for part in net if isinstance(part, (nn.Conv2d, nn.Linear))]
        first, second, last = kernels
        for layer, part in ((model.layers[0], first), (model.layers[2], second)):
            layer.set_weights([part.weight.detach().numpy().transpose(2, 3, 1, 0), part.bias.detach().numpy()])
        rows = last.weight.detach().numpy().reshape(10, 24, 4, 4).transpose(2, 3, 1, 0).reshape(-1, 10)
        model.layers[4].set_weights([rows, last.bias.detach().numpy()])
        model.save(path)
    return path


@pytest.fixture(scope="module")
def forms(network: nn.Module, digits: Splits, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same network as torch.export program, ONNX and Keras."""
    folder = tmp_path_factory.mktemp("forms")
    x = digits.test.x
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(network, (x[:2],), dynamic_shapes=({0: torch.export.Dim("n")},))
        torch.export.save(program, folder / "net.pt2")
    return {
        "torch.export": folder / "net.pt2",
        "onnx": exported(network, x, folder / "net.onnx"),
        "keras": in_keras(network, folder / "net.keras"),
    }


def of(spec: Path | str, data: Dataset, weights: Path | None = None) -> Classifier:
    return load_user_model(
        str(spec), weights, classes=data.classes, shape=data.x.shape[1:], bounds=data.bounds, data=data
    )


@pytest.mark.parametrize("form", ["torch.export", "onnx", "keras"])
def test_a_network_answers_alike_in_every_form_shows_its_gradients_and_comes_back(
    form: str, forms: dict[str, Path], network: nn.Module, digits: Splits, tmp_path: Path
) -> None:
    x = digits.test.x[:40]
    classifier = of(forms[form], digits.test)
    assert check_classifier(classifier, digits.test) is not None
    expected = network(x).log_softmax(1)
    assert torch.allclose(classifier.predict(x).log_softmax(1), expected, atol=1e-3)
    assert classifier.without_gradients is None
    gradients: list[Any] = []
    for model in (classifier, network):
        z = x.clone().requires_grad_()
        model(z).log_softmax(1)[:, 0].sum().backward()
        gradients.append(z.grad)
    assert torch.allclose(gradients[0], gradients[1], atol=1e-3)
    classifier.save(tmp_path)
    again = Classifier.load(tmp_path)
    assert torch.allclose(again.predict(x), classifier.predict(x), atol=1e-6)
    assert again.fingerprint() == classifier.fingerprint()


_FACTORY: list[nn.Module] = []


def factory() -> nn.Module:
    """Hand back the network that the test has in hand."""
    return _FACTORY[0]


def test_the_same_network_gives_the_same_audit_in_every_form(
    forms: dict[str, Path], network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    _FACTORY[:] = [network]
    monkeypatch.setitem(sys.modules, "given_network", sys.modules[__name__])
    rows = {}
    for form, model in {"module": "given_network:factory", **forms}.items():
        plan = {"data": "digits", "model": str(model), "attack": ["pgd:steps=6", "square:queries=25"], "eps": [0.08],
                "samples": 50, "defence": "none", "threat_model": "white-box"}  # fmt: skip
        outcome = run_audit(Plan.of(plan), tmp_path / form)
        assert not outcome.failed
        rows[form] = [(row["clean_accuracy"], row["robust_accuracy"]) for row in outcome.cells]
    for form, found in rows.items():
        for (clean, robust), (own_clean, own_robust) in zip(found, rows["module"], strict=True):
            assert abs(clean - own_clean) <= 0.005, form
            assert robust is None or abs(robust - own_robust) <= 0.0201, form  # one sample of fifty


@pytest.mark.parametrize("form", ["onnx", "keras"])
def test_check_and_guard_of_a_network_in_a_file(form: str, forms: dict[str, Path], tmp_path: Path) -> None:
    looked = CliRunner().invoke(main, ["model", "check", str(forms[form]), "--data", "digits"])
    assert looked.exit_code == 0, looked.output
    assert "a step along them raises the loss" in looked.output and "always answering" in looked.output
    plan = Plan.of({"data": "digits", "model": str(forms[form]), "defence": "i-defender"})  # of the penultimate layer
    bundle = fit_bundle(plan, tmp_path / "bundle")
    assert bundle.right > 0.8
    assert Guard.load(tmp_path / "bundle").classifier.without_gradients is None


def test_hidden_layers_of_a_keras_model_show_what_keras_makes_of_them(
    forms: dict[str, Path], digits: Splits, tmp_path: Path
) -> None:
    import copy

    import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        into = keras.Input((8, 8, 1))
        waves = layers.Conv2D(6, 3, padding="same", activation="relu", name="waves")(into)
        both = layers.Concatenate(name="both")([waves, layers.AveragePooling2D(3, 1, "same", name="blur")(waves)])
        mean = layers.GlobalAveragePooling2D(name="mean")(layers.BatchNormalization(name="scaled")(both))
        last = layers.Dense(10, name="last")(layers.Dense(7, activation="tanh", name="states")(mean))
        model = keras.Model(into, last)
        model.save(tmp_path / "branches.keras")
    x = digits.test.x[:9]
    classifier = of(tmp_path / "branches.keras", digits.test)
    assert {"logits", "penultimate", "waves", "blur", "both", "scaled", "mean", "states", "last"} == {
        *classifier.layer_names
    }
    for name in ("waves", "blur", "both", "scaled", "mean", "states", "last"):
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            theirs = keras.Model(model.inputs, model.get_layer(name).output)(x.movedim(1, -1), training=False)
        theirs = theirs.movedim(-1, 1)
        states = classifier.states(x, [name, f"{name}/flat"]).hidden
        assert torch.allclose(states[f"{name}/flat"], theirs.flatten(1), atol=1e-5)
        assert torch.allclose(states[name], theirs.flatten(2).mean(2) if theirs.ndim > 2 else theirs, atol=1e-5)
    seen = classifier.states(x, ["penultimate", "states"])
    assert torch.allclose(seen.hidden["penultimate"], seen.hidden["states"], atol=1e-6)
    assert torch.allclose(seen.logits, classifier.predict(x), atol=1e-6)
    moving = x.clone().requires_grad_()
    classifier.states(moving, ["waves"]).hidden["waves"].sum().backward()
    assert moving.grad is not None and float(moving.grad.abs().sum()) > 0
    fingerprint = classifier.fingerprint()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras's own, of its numpy
        twin = copy.deepcopy(classifier)
    assert twin.fingerprint() == fingerprint
    with torch.no_grad():
        for weight in twin.parameters():
            weight.mul_(0)
    assert not torch.equal(twin.states(x, ["waves"]).hidden["waves"], classifier.states(x, ["waves"]).hidden["waves"])
    sequential = of(forms["keras"], digits.test)
    assert sequential.states(x, ["penultimate"]).hidden["penultimate"].shape == (9, 24 * 4 * 4)
    with pytest.raises(ModelError, match="has no layer 'wave'; did you mean 'waves'"):
        classifier.states(x, ["wave"])


def test_recurrent_and_attentive_networks_become_torch(tmp_path: Path) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.LSTM(12, 8, batch_first=True, bidirectional=True)
            self.last = nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.last(self.inner(x.transpose(1, 2))[0].mean(1))
            return logits

    torch.manual_seed(0)
    x = torch.rand(6, 12, 40)
    net = Recurrent().eval()
    path = exported(net, x, tmp_path / "lstm.onnx")
    classifier = load_user_model(str(path), classes=("a", "b", "c"), shape=(12, 40))
    assert classifier.without_gradients is None
    assert torch.allclose(classifier.predict(x), net(x), atol=1e-5)


def test_a_program_for_batches_of_one_takes_any_where_its_answers_stay_the_same(
    network: nn.Module, digits: Splits, tmp_path: Path
) -> None:
    x = digits.test.x
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (x[:1],), tmp_path / "one.onnx", dynamo=False)
        mixing = nn.Sequential(network, nn.Softmax(0))
        torch.onnx.export(mixing, (x[:1],), tmp_path / "mixed.onnx", dynamo=False)
    classifier = of(tmp_path / "one.onnx", digits.test)
    assert torch.allclose(classifier.predict(x[:7]), network(x[:7]), atol=1e-4)
    assert any("takes any here" in note for note in classifier.notes)
    with pytest.raises(ModelError, match="takes batches of one size only; export it for any"):
        of(tmp_path / "mixed.onnx", digits.test)


def test_what_does_not_convert_is_said_and_attacked_by_scores(
    network: nn.Module, digits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx2pytorch

    path = exported(network, digits.test.x, tmp_path / "net.onnx")

    def fails(*args: Any, **options: Any) -> nn.Module:
        raise NotImplementedError("Conversion not implemented for op Strange")

    monkeypatch.setattr(onnx2pytorch, "ConvertModel", fails)
    classifier = of(path, digits.test)
    assert any("could not be turned into torch (Conversion not implemented" in note for note in classifier.notes)
    assert classifier.without_gradients is not None
    assert torch.allclose(classifier.predict(digits.test.x[:20]), network(digits.test.x[:20]), atol=1e-4)
    plan = {"data": "digits", "model": str(path), "attack": ["square:queries=20", "pgd"], "eps": [0.1], "samples": 10,
            "defence": "none", "threat_model": "white-box"}  # fmt: skip
    outcome = run_audit(Plan.of(plan), tmp_path / "audit")
    assert {row["attack"] for row in outcome.cells} == {None, "square"}


def test_a_conversion_that_answers_otherwise_is_not_used(
    network: nn.Module, digits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx2pytorch

    path = exported(network, digits.test.x, tmp_path / "net.onnx")
    real = onnx2pytorch.ConvertModel

    class Doubled(nn.Module):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__()
            self.inner = real(*args, **options)

        def forward(self, x: Tensor) -> Tensor:
            doubled: Tensor = 2 * self.inner(x)
            return doubled

    monkeypatch.setattr(onnx2pytorch, "ConvertModel", Doubled)
    classifier = of(path, digits.test)
    assert classifier.without_gradients is not None
    assert any("the two differ by" in note for note in classifier.notes)


def test_a_pipeline_in_onnx_reads_columns_by_name(tmp_path: Path) -> None:
    convert = pytest.importorskip("skl2onnx", reason="skl2onnx is not installed")
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier

    bundle = load_breast_cancer()
    forest = RandomForestClassifier(10, max_depth=4, random_state=0).fit(bundle.data, bundle.target)
    program = convert.to_onnx(forest, initial_types=[("x", FloatTensorType([None, 30]))])
    (tmp_path / "forest.onnx").write_bytes(program.SerializeToString())
    data = load("breast-cancer").test
    classifier = of(tmp_path / "forest.onnx", data)
    assert float((classifier.predict(data.x).argmax(1) == data.y).float().mean()) > 0.95
    assert classifier.without_gradients is not None
    assert any("in their own units" in note for note in classifier.notes)


def _with(path: Path, change: Callable[[Any], None], name: str) -> Path:
    program = onnx.load(path)
    change(program)
    changed = path.parent / name
    changed.write_bytes(program.SerializeToString())
    return changed


def test_onnx_that_reads_outside_its_folder_is_refused_and_what_lies_beside_it_is_read(
    network: nn.Module, digits: Splits, tmp_path: Path
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    plain = exported(network, digits.test.x, inside / "plain.onnx")
    program = onnx.load(plain)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        onnx.save_model(program, inside / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
    classifier = of(inside / "net.onnx", digits.test)
    assert torch.allclose(classifier.predict(digits.test.x[:8]), network(digits.test.x[:8]), atol=1e-4)
    (tmp_path / "secret").write_bytes(b"\0" * 10_000)
    (inside / "link").symlink_to(tmp_path / "secret")
    for where in ("../secret", str(tmp_path / "secret"), "link", "..\\secret", ""):

        def lead(program: Any, where: str = where) -> None:
            for tensor in program.graph.initializer:
                tensor.ClearField("raw_data")
                tensor.data_location = onnx.TensorProto.EXTERNAL
                tensor.external_data.add(key="location", value=where)

        hostile = _with(plain, lead, "hostile.onnx")
        with pytest.raises(ModelError, match="outside of its own folder; nothing was read"):
            of(hostile, digits.test)


def test_operators_from_elsewhere_are_refused(network: nn.Module, digits: Splits, tmp_path: Path) -> None:
    plain = exported(network, digits.test.x, tmp_path / "plain.onnx")

    def strange(program: Any) -> None:
        program.graph.node[1].domain, program.graph.node[1].op_type = "evil.ops", "Run"

    with pytest.raises(ModelError, match=r"calls the operator evil\.ops::Run"):
        of(_with(plain, strange, "strange.onnx"), digits.test)
    content = plain.read_bytes()
    for cut in (0, 10, len(content) // 2):
        (tmp_path / "cut.onnx").write_bytes(content[:cut])
        with pytest.raises(ModelError):
            of(tmp_path / "cut.onnx", digits.test)


def _edited(path: Path, to: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    change(parts)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    to.write_bytes(out.getvalue())
    return to


def test_hostile_keras_files_are_refused_by_name(forms: dict[str, Path], digits: Splits, tmp_path: Path) -> None:
    def layer(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, bytes]], None]:
        def edit(parts: dict[str, bytes]) -> None:
            config = json.loads(parts["config.json"])
            change(config["config"]["layers"][1])
            parts["config.json"] = json.dumps(config).encode()

        return edit

    def lambda_layer(each: dict[str, Any]) -> None:
        each.update(module="keras.layers", class_name="Lambda", config={"name": "x", "function": "boom"})

    def imports(each: dict[str, Any]) -> None:
        each.update(module="subprocess", class_name="run")

    def registered(each: dict[str, Any]) -> None:
        each.update(registered_name="evil>Conv2D")

    def inner(each: dict[str, Any]) -> None:
        each["config"]["activation"] = {"module": "builtins", "class_name": "function", "config": "eval"}

    def linked(parts: dict[str, bytes]) -> None:
        h5py = pytest.importorskip("h5py")
        file = io.BytesIO(parts["model.weights.h5"])
        with h5py.File(file, "a") as weights:
            weights["stolen"] = h5py.ExternalLink("/etc/passwd", "/x")
        parts["model.weights.h5"] = file.getvalue()

    cases: dict[str, Callable[[dict[str, bytes]], Any]] = {
        "Lambda.*holds code": layer(lambda_layer),
        "subprocess.run": layer(imports),
        "keras.layers.Conv2D": layer(registered),
        "builtins.function": layer(inner),
        "from elsewhere": linked,
        "assets/vocabulary.txt": lambda parts: parts.update({"assets/vocabulary.txt": b"a"}),
    }
    for sentence, change in cases.items():
        path = _edited(forms["keras"], tmp_path / "hostile.keras", change)
        with pytest.raises(ModelError, match=sentence):
            of(path, digits.test)


def test_files_of_forms_that_hold_code_are_refused_with_the_way_out(tmp_path: Path) -> None:
    from salus.audit.model import parse_model

    for name, way in {"model.h5": "model.keras", "graph.pb": "ONNX", "model.tflite": "ONNX"}.items():
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(OptionError, match=way):
            parse_model(str(tmp_path / name))


def test_layouts_are_found_out_and_both_are_named_where_nobody_can_tell() -> None:
    from salus.models.foreign.layout import laid_out
    from salus.models.reading import Inputs, Reading

    inputs = Inputs((3, 16, 16))
    assert laid_out(Reading(), [16, 16, 3], inputs, "m").layout == "channels-last"
    assert laid_out(Reading(), [3, 16, 16], inputs, "m").layout is None
    assert laid_out(Reading(), ["c", "h", "w"], inputs, "m").layout is None
    with pytest.raises(ModelError, match="channels-first or :layout=channels-last"):
        laid_out(Reading(), [3, 3, 3], Inputs((3, 3, 3)), "m")
    with pytest.raises(ModelError, match="bring the data that it was trained on"):
        laid_out(Reading(), [3, 32, 32], inputs, "m")


def test_numbers_that_are_too_large_for_floats_stay_finite() -> None:
    from salus.models.foreign.gradient_free import log_of

    assert np.isfinite(log_of(np.array([[0.0, 1.0]]))).all()
