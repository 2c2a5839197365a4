from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from salus.errors import ModelError, OptionError
from salus.generative import RepositoryOptions
from salus.models.autoencoders import IMAGES, SIGNALS, SPECS, TABLES, AutoencoderSpec, build_autoencoder

SHAPES: dict[str, list[tuple[int, ...]]] = {
    "image": [(1, 28, 28), (3, 33, 7), (2, 1, 1)],
    "signal": [(1, 280), (3, 187), (2, 1)],
    "table": [(30,), (1,)],
}
CASES = [(shape, spec) for kind, shapes in SHAPES.items() for shape in shapes for spec in SPECS[kind]]


@pytest.mark.parametrize(("shape", "spec"), CASES, ids=lambda case: getattr(case, "name", str(case)))
def test_every_shape_comes_back_inside_the_range_and_differentiable(
    shape: tuple[int, ...], spec: AutoencoderSpec
) -> None:
    torch.manual_seed(0)
    module = build_autoencoder(shape, spec).eval()
    x = torch.rand(3, *shape, requires_grad=True)
    made = module(x)
    assert made.shape == x.shape and made.is_contiguous()
    assert bool(((made >= 0) & (made <= 1)).all())
    (gradient,) = torch.autograd.grad(made[0].sum(), x)
    assert bool(gradient.isfinite().all())
    assert float(gradient[1:].abs().max()) == 0.0, "a sample's reconstruction depends on no other"
    assert torch.allclose(module(x[:1]), made[:1], atol=1e-6)


@pytest.mark.parametrize("kind", SPECS)
def test_the_ten_of_a_kind_all_differ(kind: str) -> None:
    specs = SPECS[kind]
    assert len(specs) == len({spec.name for spec in specs}) == 10
    forms = {dataclasses.replace(spec, name="") for spec in specs}
    assert len(forms) == 10
    for trait in ("structure", "activation", "noise", "loss"):
        assert len({getattr(spec, trait) for spec in specs}) > 1, trait


def test_magnets_own_autoencoders_have_the_papers_layers() -> None:
    modules: list[Any] = [build_autoencoder((1, 28, 28), spec) for spec in IMAGES[:2]]
    channels = [[(layer.in_channels, layer.out_channels) for layer in module.layers] for module in modules]
    assert channels == [[(1, 3), (3, 3), (3, 3), (3, 3), (3, 1)], [(1, 3), (3, 3), (3, 1)]]
    assert all(layer.kernel_size == (3, 3) for module in modules for layer in module.layers)
    assert [spec.noise for spec in IMAGES[:2]] == [0.1, 0.1]


def test_the_forward_pass_is_the_paper_s_computed_by_hand() -> None:
    torch.manual_seed(1)
    module: Any = build_autoencoder((1, 6, 6), IMAGES[0]).double()
    x = torch.rand(2, 1, 6, 6, dtype=torch.float64)
    layers = list(module.layers)
    states = torch.sigmoid(layers[0](x))
    pooled = torch.sigmoid(layers[1](states.unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))))
    doubled = torch.sigmoid(layers[2](pooled)).repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = torch.sigmoid(layers[4](torch.sigmoid(layers[3](doubled))))
    assert torch.allclose(module(x), expected)


@pytest.mark.parametrize("how", ["average", "max"])
@pytest.mark.parametrize("shape", [(2, 6, 8), (1, 7, 5), (3, 1, 4), (2, 12), (1, 9), (1, 1)])
def test_halving_and_doubling_are_pytorchs_pooling_and_interpolation(shape: tuple[int, ...], how: str) -> None:
    module: Any = build_autoencoder(shape, AutoencoderSpec(name="any", structure=(3, how, 3)))
    window = (1, 2) if len(shape) == 2 else (2, 2)
    x = torch.rand(4, 5, *([1] if len(shape) == 2 else []), *shape[1:]).contiguous(memory_format=torch.channels_last)
    pool = nn.functional.avg_pool2d if how == "average" else nn.functional.max_pool2d
    pooled = pool(x, window, ceil_mode=True)
    torch.testing.assert_close(module._pool(x, how), pooled)
    doubled = nn.functional.interpolate(pooled, scale_factor=tuple(map(float, window)))
    assert torch.equal(module._unpool(pooled, x.shape[2:]), doubled[..., : x.shape[2], : x.shape[3]])


@pytest.mark.parametrize(
    ("kind", "shape"), [("image", (1, 12, 12)), ("signal", (1, 40)), ("table", (12,))], ids=lambda case: str(case)
)
def test_it_starts_nearer_to_the_identity_than_a_constant_is(kind: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = torch.rand(64, *shape).round()
    near = 0
    for spec in SPECS[kind]:
        made = build_autoencoder(shape, spec).requires_grad_(False)(x)
        correlation = torch.corrcoef(torch.stack([made.flatten(), x.flatten()]))[0, 1]
        near += float(correlation) > 0.2
    assert near >= 7, "those with a narrow middle cannot"


@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ((1, 8, 8), AutoencoderSpec(name="odd", structure=("average",))),
        ((1, 8, 8), AutoencoderSpec(name="odd", structure=(3, "median", 3))),
        ((1, 8, 8), AutoencoderSpec(name="odd", structure=(1.5,))),
        ((1, 40), AutoencoderSpec(name="odd", structure=(0,))),
        ((1, 40), AutoencoderSpec(name="odd", structure=(4,), kernel=4)),
        ((8,), AutoencoderSpec(name="odd", structure=(2, "average"))),
        ((8,), AutoencoderSpec(name="odd", structure=(2,), activation="swish")),  # type: ignore[arg-type]
        ((8,), AutoencoderSpec(name="odd", structure=(2,), noise=-0.1)),
    ],
)
def test_a_spec_that_cannot_be_built_is_refused_by_name(shape: tuple[int, ...], spec: AutoencoderSpec) -> None:
    with pytest.raises(ModelError, match="odd"):
        build_autoencoder(shape, spec)


def test_samples_of_no_known_kind_are_refused() -> None:
    for shape in ((1, 2, 3, 4), (1, 2, 3, 4, 5)):
        with pytest.raises(ModelError, match=r"no autoencoders for samples of shape \[1, 2, 3, 4.*signals or images"):
            build_autoencoder(shape, IMAGES[0])


def test_volumes_have_no_ten_to_choose_from() -> None:
    with pytest.raises(OptionError, match="There are no autoencoders for volumes: give tables, signals or images"):
        RepositoryOptions().ten("volume")


def test_a_wide_signal_member_costs_a_fraction_of_the_classifier() -> None:
    # Multiplications on a 280-sample beat; benchmarks/multimagnet.py measures the time.
    from salus.models import build_model

    def multiplications(module: torch.nn.Module) -> int:
        total = 0

        def count(layer: torch.nn.Conv2d, _: object, output: torch.Tensor) -> None:
            nonlocal total
            total += layer.weight.numel() * output.shape[2] * output.shape[3]

        for part in module.modules():
            if isinstance(part, torch.nn.Conv2d):
                part.register_forward_hook(count)
        module.eval()(torch.rand(1, 1, 280))
        return total

    classifier = multiplications(build_model("ecg-cnn", (1, 280), 4, {}))
    costs = sorted(multiplications(build_autoencoder((1, 280), spec)) / classifier for spec in SIGNALS)
    assert sum(costs[-5:]) < 3


def test_a_table_s_layers_follow_the_number_of_features() -> None:
    module: Any = build_autoencoder((30,), TABLES[4])
    assert [tuple(part.weight.shape) for part in module.layers[::2]] == [
        (60, 30), (15, 60), (60, 15), (30, 60),
    ]  # fmt: skip
