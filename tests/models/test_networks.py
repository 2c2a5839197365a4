"""Salus's own networks and their registry."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from salus.errors import ModelError
from salus.models import ECGCNN, MODELS, build_model, default_model, load_torchvision

FITTING = {"mlp": (5,), "ecg-cnn": (2, 37), "small-cnn": (3, 17, 8)}


@pytest.mark.parametrize("name", MODELS)
def test_every_network_returns_logits_for_its_kind_of_data(name: str) -> None:
    module = build_model(name, FITTING[name], 4).eval()
    assert module(torch.rand(3, *FITTING[name])).shape == (3, 4)


@pytest.mark.parametrize("name", MODELS)
def test_every_network_can_be_built_with_its_own_options(name: str) -> None:
    build_model(name, FITTING[name], 4, MODELS[name].options)


def test_the_ecg_network_is_the_papers_trunk_under_one_head() -> None:
    module = ECGCNN(4)
    convolutions = [part for part in module.modules() if isinstance(part, nn.Conv1d)]
    assert [c.out_channels for c in convolutions] == [16, 16, 32, 32, 128, 128]
    assert [c.stride for c in convolutions] == [(1,), (2,)] * 3
    assert module.head.in_features == 128 * 35
    assert module(torch.rand(2, 1, 280)).shape == (2, 4)


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
        ({"widths": [8, 0]}, "positive whole numbers"),
        ({"widths": "wide"}, "positive whole numbers"),
        ({"dropout": 1.5}, "from 0 to below 1"),
    ],
)
def test_an_option_that_will_not_do_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build_model("ecg-cnn", (1, 40), 3, options)


def test_images_below_8x8_are_refused() -> None:
    with pytest.raises(ModelError, match="from 8x8 up, not 7x9"):
        build_model("small-cnn", (1, 7, 9), 3)


def test_each_kind_of_data_has_a_default_network() -> None:
    assert [default_model(kind) for kind in ("table", "signal", "image")] == ["mlp", "ecg-cnn", "small-cnn"]


def test_torchvision_loads_whatever_its_build() -> None:
    from importlib.util import find_spec

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
