"""Salus's own networks and their registry."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn

from salus.classifier import Classifier
from salus.errors import ModelError, OptionError
from salus.models import ECGCNN, MODELS, build_model, default_model, load_torchvision
from salus.models.layers import last_layer
from salus.models.pretrained import architecture
from salus.registry import PluginWarning
from salus.training import seeded
from salus.training.checkpoint import weights_digest

FITTING = {
    "mlp": (5,),
    "ecg-cnn": (2, 37),
    "small-cnn": (3, 17, 8),
    "acharya": (2, 37),
    "kachuee": (2, 127),
    "shaker": (2, 37),
    "ecg-atk-gan": (2, 37),
    "ecg-context": (2, 37),
    "ecg-hierarchical": (3, 37),
    "model-e": (3, 17, 8),
    "model-f": (3, 17, 12),
    "mnist-cnn": (3, 17, 16),
    "multimagnet-mnist": (3, 25, 24),
    "multimagnet-surrogate": (3, 17, 10),
    "all-cnn": (3, 17, 8),
    "wrn": (3, 17, 8),
    "vgg19": (3, 33, 32),
    "resnet50": (3, 33, 32),
    "efficientnet-lite0": (3, 33, 32),
    "efficientnet-lite1": (3, 33, 32),
    "efficientnet-lite2": (3, 33, 32),
    "inception-v3": (3, 76, 75),
}
SHORTEST = {"acharya": 28, "kachuee": 125, "shaker": 16}


#: Networks of many million weights are looked at without them.
LARGE = ("wrn", "vgg19", "resnet50", "inception-v3", *(f"efficientnet-lite{variant}" for variant in range(3)))


def _need_torchvision(name: str) -> None:
    if name in ("vgg19", "resnet50", "inception-v3") and find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")


@pytest.mark.parametrize("name", MODELS.own)
def test_every_network_returns_logits_for_its_kind_of_data(name: str) -> None:
    _need_torchvision(name)
    with torch.device("meta" if name in LARGE else "cpu"):
        module = build_model(name, FITTING[name], 4).eval()
        assert module(torch.rand(3, *FITTING[name])).shape == (3, 4)


@pytest.mark.parametrize("name", MODELS.own)
def test_the_last_layer_of_every_network_is_the_one_that_knows_the_classes(name: str) -> None:
    _need_torchvision(name)
    with torch.device("meta" if name in LARGE else "cpu"):
        one, other = (build_model(name, FITTING[name], classes).eval() for classes in (4, 5))
        last = last_layer(one, torch.rand(2, *FITTING[name]))
    differing = [key for key, value in one.state_dict().items() if value.shape != other.state_dict()[key].shape]
    assert {key.rpartition(".")[0] for key in differing} == {last}


@pytest.mark.parametrize("name", MODELS.own)
def test_every_network_can_be_built_with_its_own_options(name: str) -> None:
    _need_torchvision(name)
    with torch.device("meta" if name in LARGE else "cpu"):
        build_model(name, FITTING[name], 4, {option.name: option.default for option in MODELS.options(name)})


def test_the_ecg_network_is_the_papers_trunk_under_one_head() -> None:
    module = ECGCNN(4)
    convolutions = [part for part in module.modules() if isinstance(part, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [16, 16, 32, 32, 128, 128]
    assert [c.stride for c in convolutions] == [(1, 1), (1, 2)] * 3
    assert module.head.in_features == 128 * 35
    assert module(torch.rand(2, 1, 280)).shape == (2, 4)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("acharya", [(5, 278), (5, 139), (10, 136), (10, 68), (20, 65), (20, 32), (30,), (20,), (4,)]),
        ("kachuee", [(32, 280), (32, 138), (32, 67), (32, 32), (32, 14), (32, 5), (32,), (32,), (4,)]),
        ("shaker", [(32, 140), (64, 70), (128, 35), (256, 17), (128,), (4,)]),
    ],
)
def test_a_beat_of_280_samples_takes_the_shapes_worked_out_by_hand(name: str, shapes: list[tuple[int, ...]]) -> None:
    module = build_model(name, (1, 280), 4).eval()
    steps = [*module.trunk, *(part for part in module.hidden if isinstance(part, nn.Linear)), module.head]  # type: ignore[misc, union-attr]
    steps = [part for part in steps if not isinstance(part, nn.LeakyReLU)]
    x, seen = torch.rand(2, 1, 280), []
    for part in steps:
        x = part(x.flatten(1) if isinstance(part, nn.Linear) else x)
        seen.append(tuple(x.shape[1:]))
    assert seen == shapes


@pytest.mark.parametrize(
    ("name", "length", "classes", "parameters"),
    [
        # convolutions 20 + 210 + 820, linear layers from 20 * 30 and 20 * 32 values
        ("acharya", 260, 5, 20 + 210 + 820 + (600 * 30 + 30) + (30 * 20 + 20) + (20 * 5 + 5)),
        ("acharya", 280, 4, 20 + 210 + 820 + (640 * 30 + 30) + (30 * 20 + 20) + (20 * 4 + 4)),
        # eleven convolutions, the first of one lead; 187 samples leave 2, 280 leave 5
        ("kachuee", 187, 5, 192 + 10 * 5152 + (64 * 32 + 32) + (32 * 32 + 32) + (32 * 5 + 5)),
        ("kachuee", 280, 4, 192 + 10 * 5152 + (160 * 32 + 32) + (32 * 32 + 32) + (32 * 4 + 4)),
        # convolutions without bias, two values a channel of batch normalisation
        ("shaker", 280, 4, 160 + 10240 + 40960 + 163840 + 2 * 480 + (4352 * 128 + 128) + (128 * 4 + 4)),
    ],
)
def test_the_baselines_have_as_many_parameters_as_their_layers_come_to(
    name: str, length: int, classes: int, parameters: int
) -> None:
    module = build_model(name, (1, length), classes)
    assert sum(parameter.numel() for parameter in module.parameters()) == parameters


@pytest.mark.parametrize("name", SHORTEST)
@pytest.mark.parametrize(("channels", "length", "classes"), [(1, 280, 2), (2, 281, 15), (12, 333, 5)])
def test_the_baselines_take_odd_lengths_several_leads_and_any_number_of_classes(
    name: str, channels: int, length: int, classes: int
) -> None:
    module = build_model(name, (channels, length), classes).eval()
    assert module(torch.rand(2, channels, length)).shape == (2, classes)


@pytest.mark.parametrize(("name", "shortest"), SHORTEST.items())
def test_a_beat_too_short_for_a_baseline_is_refused_with_the_shortest_that_will_do(name: str, shortest: int) -> None:
    module = build_model(name, (1, shortest), 3).eval()
    assert module(torch.rand(2, 1, shortest)).shape == (2, 3)
    with pytest.raises(ModelError, match=f"'{name}'.* takes signals of {shortest} samples or more, not {shortest - 1}"):
        build_model(name, (1, shortest - 1), 3)


@pytest.mark.parametrize("name", SHORTEST)
def test_the_baselines_return_logits_and_learn_where_a_bump_is(name: str) -> None:
    with seeded(0, 0):
        y = torch.arange(48) % 3
        places = torch.tensor([30.0, 64.0, 98.0])[y] + 2 * torch.randn(48)
        x = torch.exp(-((torch.arange(128) - places[:, None]) ** 2) / 50)[:, None]  # [N, 1, L]
        module = build_model(name, (1, 128), 3)
        optimiser = torch.optim.Adam(module.parameters(), 3e-3)
        for _ in range(60):
            optimiser.zero_grad()
            nn.functional.cross_entropy(module(x[:24]), y[:24]).backward()
            optimiser.step()
    logits = module.eval()(x[24:])
    assert float((logits.argmax(1) == y[24:]).float().mean()) > 0.9
    assert not torch.allclose(logits.sum(1), torch.ones(24), atol=0.1)  # no softmax


def test_a_network_without_options_says_so() -> None:
    with pytest.raises(ModelError, match="'acharya' takes no options; leave 'widths' out"):
        build_model("acharya", (1, 280), 4, {"widths": [8]})


def test_a_misspelt_network_names_the_nearest() -> None:
    with pytest.raises(ModelError, match="did you mean 'ecg-cnn'"):
        build_model("egc-cnn", (1, 280), 4)


@pytest.mark.parametrize(
    ("name", "shape", "remedy"),
    [("mlp", (3, 8, 8), "small-cnn"), ("ecg-cnn", (7,), "mlp"), ("small-cnn", (1, 280), "ecg-cnn")],
)
def test_a_network_for_other_data_names_the_right_one(name: str, shape: tuple[int, ...], remedy: str) -> None:
    with pytest.raises(ModelError, match=f"use '{remedy}'"):
        build_model(name, shape, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widht": [8]}, "has no option 'widht'"),
        ({"widths": [8, 0]}, r"Model 'ecg-cnn': widths must be whole numbers from 1 up, joined by \+, not \[8, 0\]\."),
        ({"widths": "wide"}, r"Model 'ecg-cnn': widths must be whole numbers from 1 up, joined by \+, not 'wide'\."),
        ({"widths": []}, r"widths must be whole numbers from 1 up, joined by \+, not \[\]\."),
        ({"dropout": 1.5}, r"Model 'ecg-cnn': dropout must be a number from 0 to below 1, not 1\.5\."),
    ],
)
def test_an_option_that_will_not_do_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build_model("ecg-cnn", (1, 40), 3, options)


def test_options_are_read_from_text_as_from_python() -> None:
    with seeded(0, 0):
        one = build_model("ecg-cnn", (1, 40), 3, {"widths": "4+8", "dropout": "1/4"})
    with seeded(0, 0):
        other = ECGCNN(3, 1, 40, widths=(4, 8), dropout=0.25)
    assert weights_digest(one) == weights_digest(other)
    text, plain = {"widths": "4+8", "kernels": 3}, {"widths": [4, 8], "kernels": 3}
    assert architecture("ecg-cnn", text) == architecture("ecg-cnn", plain) == {"name": "ecg-cnn", "options": plain}
    with pytest.raises(OptionError, match="ECGCNN: dropout must be a number from 0 to below 1, not 2"):
        ECGCNN(3, dropout=2)


def test_every_option_of_every_network_has_a_line_of_help() -> None:
    for name, network in MODELS.own.items():
        assert all(option.help and option.words for option in MODELS.options(name)) and network.summary.endswith(".")


PACKAGE = """
from typing import Annotated

from pydantic import Field
from torch import nn

from salus.models import Architecture
from salus.options import checked

class Ridge(nn.Module):
    'One wide layer.'

    @checked
    def __init__(self, features: int, classes: int, *, width: Annotated[int, Field(ge=1, description="its width")] = 4):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(features, width), nn.Linear(width, classes))

    def forward(self, x):
        return self.layers(x)

RIDGE = Architecture(Ridge, "table", ("features",))
"""


def test_another_package_brings_a_network_that_is_built_refused_and_loaded_as_ours_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "our_ridge.py").write_text(PACKAGE)
    place = tmp_path / "our_ridge-1.0.dist-info"
    place.mkdir()
    (place / "METADATA").write_text("Name: our-ridge\nVersion: 1.0\n")
    (place / "entry_points.txt").write_text("[salus.models]\nridge = our_ridge:RIDGE\nwrong = our_ridge:Ridge\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(vars(MODELS), "_loaded", raising=False)
    with pytest.warns(PluginWarning, match="'wrong' of our-ridge 1.0 is left out: our_ridge:Ridge is no salus.models"):
        assert MODELS.origin("ridge") == "our-ridge 1.0"
    try:
        module = build_model("ridge", (5,), 2, {"width": "3"})
        assert MODELS["ridge"].summary == "One wide layer." and module(torch.rand(4, 5)).shape == (4, 2)
        with pytest.raises(ModelError, match="Model 'ridge': width must be a whole number from 1 up, not 0"):
            build_model("ridge", (5,), 2, {"width": 0})
        with pytest.raises(ModelError, match="Model 'ridge' takes tables"):
            build_model("ridge", (1, 280), 2)
        Classifier(module, ["a", "b"], shape=(5,), architecture=architecture("ridge", {"width": 3})).save(
            tmp_path / "m"
        )
        assert Classifier.load(tmp_path / "m").architecture == {"name": "ridge", "options": {"width": 3}}
    finally:
        del vars(MODELS)["_loaded"]


def test_images_below_8x8_are_refused() -> None:
    with pytest.raises(ModelError, match="from 8x8 up, not 7x9"):
        build_model("small-cnn", (1, 7, 9), 3)


def test_each_kind_of_data_has_a_default_network() -> None:
    assert [default_model(kind) for kind in ("table", "signal", "image")] == ["mlp", "ecg-cnn", "small-cnn"]


def test_torchvision_loads_whatever_its_build() -> None:
    if find_spec("torchvision") is None:
        with pytest.raises(ModelError, match=r"salus\[images\]"):
            load_torchvision()
    else:
        torchvision = load_torchvision()
        module = torchvision.models.mobilenet_v3_small(num_classes=3).eval()
        assert module(torch.rand(2, 3, 32, 32)).shape == (2, 3)


def test_a_missing_torchvision_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ModelError, match=r"pip install 'salus\[images\]'"):
        load_torchvision()
