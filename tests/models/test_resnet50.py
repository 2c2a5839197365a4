"""ResNet50: torchvision's network and weights, in images from 0 to 1, at any width and size."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from torch import nn

from salus.classifier import Classifier
from salus.detectors import Mahalanobis
from salus.errors import ModelError
from salus.models import build_model, load_torchvision
from salus.models.factories import call_factory
from salus.models.imagenet import MEAN, STD
from salus.training import seeded

pytestmark = pytest.mark.skipif(find_spec("torchvision") is None, reason="torchvision is not installed")

TINY = {"width": 0.125}


def tiny(shape: tuple[int, ...] = (3, 64, 64), classes: int = 7, **options: object) -> nn.Module:
    with seeded(0, 0):
        return build_model("resnet50", shape, classes, {**TINY, **options}).eval()


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    """Torchvision's own network, with statistics that are not the first ones."""
    with seeded(1, 0):
        module: nn.Module = load_torchvision().models.resnet50(weights=None, num_classes=5)
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean = 0.1 * torch.randn(part.num_features)
                part.running_var = 0.5 + torch.rand(part.num_features)
        return module.eval()


@pytest.mark.parametrize("size", [(64, 64), (75, 75), (97, 130)])
def test_the_weights_and_answers_are_torchvisions(theirs: nn.Module, size: tuple[int, int]) -> None:
    own = build_model("resnet50", (3, *size), 5).eval()
    own.load_state_dict(theirs.state_dict())
    with seeded(2, 0):
        x = torch.rand(2, 3, *size)
    scaled = (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    with torch.no_grad():
        expected, answers = theirs(scaled), own(x)
    assert float(expected.std()) > 0.05
    torch.testing.assert_close(answers, expected, rtol=1e-3, atol=1e-4)


def test_the_factory_for_imagenet_has_the_published_number_of_weights_by_torchvisions_names() -> None:
    with torch.device("meta"):
        module = call_factory("salus.models.resnet50:imagenet")
        theirs = load_torchvision().models.resnet50()
    shapes = {name: value.shape for name, value in module.state_dict().items()}
    assert shapes == {name: value.shape for name, value in theirs.state_dict().items()}
    assert sum(weight.numel() for weight in module.parameters()) == 25_557_032


@pytest.mark.parametrize("width", [0.25, 0.5, 2])
def test_the_width_multiplies_every_number_of_channels(width: float) -> None:
    with torch.device("meta"):
        full, other = (build_model("resnet50", (3, 64, 64), 7, {"width": w}) for w in (1, width))
    for one, two in zip(full.modules(), other.modules(), strict=True):
        if isinstance(one, nn.Conv2d) and isinstance(two, nn.Conv2d):
            assert two.out_channels == width * one.out_channels
            assert two.in_channels == (3 if one.in_channels == 3 else width * one.in_channels)
            assert (one.kernel_size, one.stride, one.padding) == (two.kernel_size, two.stride, two.padding)


def test_stem_stride_1_keeps_twice_the_rows_and_columns_and_the_same_weights() -> None:
    usual, fine = tiny(), tiny(stem_stride=1)
    fine.load_state_dict(usual.state_dict())
    seen: list[tuple[int, ...]] = []
    for module in (usual, fine):
        module.layer4.register_forward_hook(lambda *given: seen.append(tuple(given[2].shape[1:])))  # type: ignore[union-attr]
        module(torch.rand(1, 3, 64, 64))
    assert seen == [(256, 2, 2), (256, 4, 4)]


def test_a_grey_image_is_shown_as_three_equal_channels() -> None:
    x = torch.rand(2, 1, 40, 40)
    torch.testing.assert_close(tiny((1, 40, 40))(x), tiny((3, 40, 40))(x.repeat(1, 3, 1, 1)))


def test_every_stage_and_the_pooled_values_can_be_looked_at() -> None:
    classifier = Classifier(tiny((3, 32, 32)), tuple("abcdefg"), shape=(3, 32, 32))
    layers = ("maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool", "penultimate")
    assert set(layers) < set(classifier.layer_names)
    hidden = classifier.states(torch.rand(2, 3, 32, 32), layers).hidden
    assert [hidden[layer].shape[1] for layer in layers] == [8, 32, 64, 128, 256, 256, 256]
    torch.testing.assert_close(hidden["avgpool"], hidden["penultimate"])
    torch.testing.assert_close(hidden["avgpool"], hidden["layer4"])


def test_a_detector_on_stages_sees_images_unlike_those_it_was_fitted_to() -> None:
    classifier = Classifier(tiny((3, 32, 32), 2), ("a", "b"), shape=(3, 32, 32))
    with seeded(3, 0):
        dark, y = 0.3 * torch.rand(60, 3, 32, 32), torch.arange(60) % 2
    detector = Mahalanobis(layers=("layer2", "layer4", "avgpool")).fit(classifier, dark[:40], y[:40])
    with torch.no_grad():
        assert float(detector.score(1 - dark[40:]).min()) > float(detector.score(dark[40:]).max())


def test_an_answer_does_not_depend_on_the_batch() -> None:
    x = torch.rand(3, 3, 40, 40)
    torch.testing.assert_close(tiny((3, 40, 40))(x)[1:2], tiny((3, 40, 40))(x[1:2]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((3, 64, 31), {}, "takes grey or colour images of 32x32 or more, not 3 channels of 64x31"),
        ((2, 64, 64), {}, "not 2 channels of 64x64"),
        ((3, 64, 64), {"width": 0.3}, "width=0.3 will not do: 64 channels times it are no whole number; 0.5"),
        ((3, 64, 64), {"width": 0.001}, "width=0.001 will not do"),
        ((3, 64, 64), {"width": 0}, "width must be a number above 0, not 0."),
        ((3, 64, 64), {"width": "wide"}, "width must be a number above 0, not 'wide'."),
        ((3, 64, 64), {"stem_stride": 3}, "stem_stride must be 1 or 2, not 3."),
        ((3, 64, 64), {"dropout": 0.5}, "has no option 'dropout'"),
    ],
)
def test_what_will_not_do_is_refused_in_one_sentence(
    shape: tuple[int, ...], options: dict[str, object], words: str
) -> None:
    with pytest.raises(ModelError) as error, torch.device("meta"):
        build_model("resnet50", shape, 7, options)
    assert words in str(error.value)
