"""The image classifiers of MagNet, MultiMagNet and I-defender."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import nn

from salus.errors import ModelError
from salus.models import build_model
from salus.models.factories import call_factory
from salus.models.imagenet import Colours
from salus.training import seeded

MNIST, CIFAR = (1, 28, 28), (3, 32, 32)

needs_torchvision = pytest.mark.skipif(find_spec("torchvision") is None, reason="torchvision is not installed")


@pytest.mark.parametrize(
    ("name", "shape", "options", "parameters"),
    [
        ("model-e", MNIST, {}, (784 * 200 + 200) + (200 * 200 + 200) + 2010),
        ("model-f", MNIST, {}, (64 * 64 + 64) + (64 * 128 * 36 + 128) + (128 * 25 * 10 + 10)),
        (
            "model-f",
            MNIST,
            {"widths": (64, 128, 128)},
            (64 * 64 + 64) + (64 * 128 * 36 + 128) + (128 * 128 * 25 + 128) + 1290,
        ),
        # as Keras counts Carlini and Wagner's network
        ("mnist-cnn", MNIST, {}, 312_202),
        # as Keras counts those of MultiMagNet's released code
        ("multimagnet-mnist", MNIST, {}, 240_906),
        ("multimagnet-surrogate", MNIST, {}, 889_834),
        # All-CNN-C, "about 1.3 million"
        ("all-cnn", CIFAR, {}, 1_369_738),
        # WRN-28-10, WRN-40-4 and WRN-16-8: 36.5, 8.9 and 11.0 million in the paper's Table 5
        ("wrn", CIFAR, {"depth": 28, "width": 10}, 36_479_194),
        ("wrn", CIFAR, {"depth": 40, "width": 4}, 8_949_210),
        ("wrn", CIFAR, {"depth": 16, "width": 8}, 10_961_370),
        pytest.param("vgg19", (3, 224, 224), {}, 139_611_210, marks=needs_torchvision),
    ],
)
def test_a_network_has_as_many_parameters_as_its_paper_says(
    name: str, shape: tuple[int, ...], options: dict[str, Any], parameters: int
) -> None:
    with torch.device("meta"):
        module = build_model(name, shape, 10, options)
    assert sum(parameter.numel() for parameter in module.parameters()) == parameters


def _sizes(module: nn.Module, parts: list[nn.Module], shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """What each part returns for one image."""
    seen: list[tuple[int, ...]] = []
    for part in parts:
        part.register_forward_hook(lambda _, __, output: seen.append(tuple(output.shape[1:])))
    with torch.device("meta"):
        module(torch.rand(1, *shape))
    return seen


@pytest.mark.parametrize(
    ("name", "shape", "options", "sizes"),
    [
        ("model-f", MNIST, {"widths": (64, 128, 128)}, [(64, 14, 14), (128, 5, 5), (128, 1, 1)]),
        ("mnist-cnn", MNIST, {}, [(32, 26, 26), (32, 24, 24), (64, 10, 10), (64, 8, 8)]),
        ("multimagnet-mnist", MNIST, {}, [(64, 24, 24), (128, 10, 10), (128, 3, 3)]),
        ("multimagnet-surrogate", CIFAR, {}, [(32, 32, 32), (32, 30, 30), (64, 15, 15), (64, 13, 13)]),
        (
            "all-cnn",
            CIFAR,
            {},
            [(96, 32, 32)] * 2 + [(96, 16, 16)] + [(192, 16, 16)] * 2 + [(192, 8, 8)] * 3 + [(10, 8, 8)],
        ),
    ],
)
def test_the_convolutions_have_the_papers_sizes(
    name: str, shape: tuple[int, ...], options: dict[str, Any], sizes: list[tuple[int, ...]]
) -> None:
    with torch.device("meta"):
        module = build_model(name, shape, 10, options)
    assert _sizes(module, [part for part in module.modules() if isinstance(part, nn.Conv2d)], shape) == sizes


def test_a_wide_network_halves_the_image_between_its_groups() -> None:
    with torch.device("meta"):
        module = build_model("wrn", CIFAR, 10)
    groups = list(module.groups)  # type: ignore[arg-type]
    assert _sizes(module, groups, CIFAR) == [(128, 32, 32), (256, 16, 16), (512, 8, 8)]
    assert sum(isinstance(part, nn.Conv2d) for part in module.modules()) == 34  # the shortcuts among them


@pytest.mark.parametrize("depth", [5, 9, 11, 33, 35])
def test_a_depth_that_no_wide_network_has_names_those_that_it_has(depth: int) -> None:
    with pytest.raises(ModelError, match=rf"'wrn': depth must be 6n \+ 4: 10, 16, .*, not {depth}\."):
        build_model("wrn", CIFAR, 10, {"depth": depth})


@pytest.mark.parametrize(
    ("name", "smallest", "options"),
    [
        ("model-f", 12, {}),
        ("model-f", 28, {"widths": [8, 8, 8]}),
        ("mnist-cnn", 16, {}),
        ("vgg19", 32, {}),
        ("multimagnet-mnist", 24, {}),
        ("multimagnet-surrogate", 10, {}),
    ],
)
def test_an_image_too_small_is_refused_with_the_smallest_that_will_do(
    name: str, smallest: int, options: dict[str, Any]
) -> None:
    if name != "vgg19":
        module = build_model(name, (1, smallest, smallest), 3, options).eval()
        assert module(torch.rand(2, 1, smallest, smallest)).shape == (2, 3)
    with pytest.raises(ModelError, match=f"images of {smallest}x{smallest} or more, not "):
        build_model(name, (1, smallest, smallest - 1), 3, options)


def test_options_that_will_not_do_are_named() -> None:
    with pytest.raises(
        ModelError, match=r"widths must be two or three whole numbers from 1 up, joined by \+, not \[8, 8, 8, 8\]"
    ):
        build_model("model-f", MNIST, 10, {"widths": [8, 8, 8, 8]})
    with pytest.raises(ModelError, match="widths must be two whole numbers from 1 up, not 8"):
        build_model("all-cnn", CIFAR, 10, {"widths": 8})
    with pytest.raises(ModelError, match="batch_norm must be true or false, not 1"):
        build_model("all-cnn", CIFAR, 10, {"batch_norm": 1})


@pytest.mark.parametrize(
    ("name", "shape", "options"),
    [
        ("model-e", MNIST, {}),
        ("model-f", MNIST, {"widths": [8, 16]}),
        ("mnist-cnn", MNIST, {}),
        ("all-cnn", (1, 16, 16), {"widths": [12, 24], "batch_norm": True, "dropout": 0.0}),
        ("all-cnn", (1, 16, 16), {"widths": [12, 24], "dropout": 0.0}),
        ("wrn", (1, 16, 16), {"depth": 10, "width": 1, "dropout": 0.1}),
    ],
)
def test_a_network_returns_logits_and_learns_where_a_spot_is(
    name: str, shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    side = shape[-1]
    with seeded(0, 0):
        y = torch.arange(96) % 3
        x = 0.2 * torch.rand(96, *shape)
        for i, label in enumerate(y.tolist()):
            place = int(torch.randint(2, side - 6, ()))
            if label == 0:  # a bar across, a bar down, or a square
                x[i, :, place : place + 2, 2:-2] += 0.7
            elif label == 1:
                x[i, :, 2:-2, place : place + 2] += 0.7
            else:
                x[i, :, place : place + 5, place : place + 5] += 0.7
        module = build_model(name, shape, 3, options)
        optimiser = torch.optim.Adam(module.parameters(), 2e-3)
        for _ in range(40):
            optimiser.zero_grad()
            nn.functional.cross_entropy(module(x[:64]), y[:64]).backward()
            optimiser.step()
    logits = module.eval()(x[64:])
    assert float((logits.argmax(1) == y[64:]).float().mean()) > 0.8
    assert not torch.allclose(logits.sum(1), torch.ones(32), atol=0.1)  # no softmax


@needs_torchvision
def test_vgg19_for_imagenet_takes_torchvisions_weights() -> None:
    from salus.models import load_torchvision

    with torch.device("meta"):
        module = call_factory("salus.models.vgg19:imagenet")
        theirs = load_torchvision().models.vgg19()
    own = {name: value.shape for name, value in module.state_dict().items()}
    assert own == {name: value.shape for name, value in theirs.state_dict().items()}


@needs_torchvision
def test_vgg19_subtracts_imagenets_mean_and_repeats_grey() -> None:
    with torch.device("meta"):
        module = build_model("vgg19", (1, 32, 32), 10)
    module.features = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1))
    module.avgpool, module.classifier = nn.Identity(), nn.Identity()
    module.colours = Colours()
    shown = module(torch.full((2, 1, 32, 32), 0.5))
    expected = torch.tensor([(0.5 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.5 - 0.406) / 0.225])
    torch.testing.assert_close(shown, expected.expand(2, 3))
