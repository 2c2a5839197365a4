"""Inception V3: torchvision's network and weights without the auxiliary head, at any width and size."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn

from salus.classifier import Classifier
from salus.detectors import IDefender
from salus.errors import ModelError
from salus.models import build_model, load_torchvision
from salus.models.factories import call_factory
from salus.models.imagenet import MEAN, STD
from salus.models.weights import load_weights
from salus.training import seeded

pytestmark = pytest.mark.skipif(find_spec("torchvision") is None, reason="torchvision is not installed")


def tiny(shape: tuple[int, ...] = (3, 64, 64), classes: int = 7, **options: object) -> nn.Module:
    with seeded(0, 0):
        return build_model("inception-v3", shape, classes, {"width": 0.0625, **options}).eval()


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    """Torchvision's own network with its auxiliary head, as its published weights want it, with odd statistics."""
    with seeded(1, 0):
        module: nn.Module = load_torchvision().models.Inception3(5, transform_input=True, init_weights=True)
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean = 0.1 * torch.randn(part.num_features)
                part.running_var = 0.5 + torch.rand(part.num_features)
        return module.eval()


@pytest.mark.parametrize("size", [(75, 75), (97, 130)])
def test_a_file_of_torchvisions_weights_gives_torchvisions_answers(
    theirs: nn.Module, size: tuple[int, int], tmp_path: Path
) -> None:
    assert any(name.startswith("AuxLogits.") for name in theirs.state_dict())
    torch.save(theirs.state_dict(), tmp_path / "inception.pth")
    own = build_model("inception-v3", (3, *size), 5).eval()
    load_weights(own, tmp_path / "inception.pth")
    with seeded(2, 0):
        x = torch.rand(2, 3, *size)
    scaled = (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    with torch.no_grad():
        expected, answers = theirs(scaled), own(x)
    assert float(expected.std()) > 0.05
    torch.testing.assert_close(answers, expected, rtol=1e-3, atol=1e-3 * float(expected.std()))


def test_the_factory_for_imagenet_has_the_published_number_of_weights_by_torchvisions_names() -> None:
    with torch.device("meta"):
        module = call_factory("salus.models.inception_v3:imagenet")
        theirs = load_torchvision().models.Inception3(init_weights=False)
    shapes = {name: value.shape for name, value in theirs.state_dict().items() if not name.startswith("AuxLogits.")}
    assert shapes == {name: value.shape for name, value in module.state_dict().items()}
    assert sum(weight.numel() for weight in theirs.parameters()) == 27_161_264  # with the auxiliary head
    assert sum(weight.numel() for weight in module.parameters()) == 23_834_568


def test_the_width_multiplies_every_number_of_channels() -> None:
    with torch.device("meta"):
        full, other = (build_model("inception-v3", (3, 75, 75), 7, {"width": w}) for w in (1, 0.25))
    for one, two in zip(full.modules(), other.modules(), strict=True):
        if isinstance(one, nn.Conv2d) and isinstance(two, nn.Conv2d):
            assert two.out_channels == one.out_channels / 4
            assert two.in_channels == (3 if one.in_channels == 3 else one.in_channels / 4)
            assert (one.kernel_size, one.stride, one.padding) == (two.kernel_size, two.stride, two.padding)


@pytest.mark.parametrize(
    ("size", "stem_stride", "left"), [(75, 2, 1), (299, 2, 8), (39, 1, 1), (64, 1, 2), (151, 1, 8)]
)
def test_as_many_rows_and_columns_are_left_as_worked_out_by_hand(size: int, stem_stride: int, left: int) -> None:
    with torch.device("meta"):
        module = build_model("inception-v3", (3, size, size), 7, {"stem_stride": stem_stride}).eval()
        seen: list[tuple[int, ...]] = []
        module.Mixed_7c.register_forward_hook(lambda *given: seen.append(tuple(given[2].shape[1:])))  # type: ignore[union-attr]
        assert module(torch.rand(1, 3, size, size)).shape == (1, 7)
    assert seen == [(2048, left, left)]


def test_only_training_drops_values() -> None:
    module, x = tiny((3, 64, 50), stem_stride=1), torch.rand(2, 3, 64, 50)
    assert torch.equal(module(x), module(x))
    module.dropout.train()  # type: ignore[union-attr]
    assert not torch.equal(module(x), module(x))


def test_a_grey_image_is_shown_as_three_equal_channels_from_minus_1_to_1() -> None:
    grey, coloured = tiny((1, 64, 64), stem_stride=1), tiny((3, 64, 64), stem_stride=1)
    x = torch.rand(2, 1, 64, 64)
    torch.testing.assert_close(grey(x), coloured(x.repeat(1, 3, 1, 1)))
    shown = grey.colours(torch.tensor([0.0, 0.5, 1.0]).reshape(1, 1, 1, 3))  # type: ignore[operator]
    assert torch.equal(shown, torch.tensor([-1.0, 0.0, 1.0]).expand(1, 3, 1, 3))


def test_every_stage_and_the_pooled_values_can_be_looked_at() -> None:
    classifier = Classifier(tiny((3, 39, 39), stem_stride=1), tuple("abcdefg"), shape=(3, 39, 39))
    layers = ("maxpool1", "maxpool2", "Mixed_5d", "Mixed_6e", "Mixed_7c", "avgpool", "penultimate")
    assert set(layers) < set(classifier.layer_names)
    hidden = classifier.states(torch.rand(2, 3, 39, 39), layers).hidden
    assert [hidden[layer].shape[1] for layer in layers] == [4, 12, 18, 48, 128, 128, 128]
    torch.testing.assert_close(hidden["avgpool"], hidden["penultimate"])
    torch.testing.assert_close(hidden["avgpool"], hidden["Mixed_7c"])


def test_a_detector_on_stages_sees_images_unlike_those_it_was_fitted_to() -> None:
    classifier = Classifier(tiny((3, 39, 39), 2, stem_stride=1), ("a", "b"), shape=(3, 39, 39))
    with seeded(3, 0):
        dark, y = 0.3 * torch.rand(60, 3, 39, 39), torch.arange(60) % 2
    detector = IDefender(layers=("Mixed_5d", "avgpool"), components=1).fit(classifier, dark[:40], y[:40])
    with torch.no_grad():
        assert float(detector.score(1 - dark[40:]).min()) > float(detector.score(dark[40:]).max())


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((3, 64, 64), {}, "of 75x75 or more (39x39 with stem_stride=1), not 3 channels of 64x64"),
        ((3, 64, 38), {"stem_stride": 1}, "of 39x39 or more, not 3 channels of 64x38"),
        ((3, 80, 80), {"width": 0.1}, "width=0.1 will not do: 32 channels times it are no whole number"),
        ((3, 80, 80), {"dropout": 1.0}, "dropout must be a number from 0 to below 1, not 1.0"),
    ],
)
def test_what_will_not_do_is_refused_in_one_sentence(
    shape: tuple[int, ...], options: dict[str, object], words: str
) -> None:
    with pytest.raises(ModelError) as error, torch.device("meta"):
        build_model("inception-v3", shape, 7, options)
    assert words in str(error.value)
