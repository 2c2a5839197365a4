"""A trained generator as an object: its bounds, its folder, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from salus.errors import BundleError, ModelError
from salus.generative.generator import SampleGenerator
from salus.models.wgan import WGANGenerator


@pytest.fixture
def made() -> SampleGenerator:
    return SampleGenerator(WGANGenerator((1, 12), latent=4, width=3), width=3, bounds=(-1.0, 3.0), facts={"samples": 7})


def test_it_makes_samples_inside_the_bounds_and_its_weights_are_held(made: SampleGenerator) -> None:
    z = torch.randn(50, 4, requires_grad=True)
    x = made(z)
    assert x.shape == (50, 1, 12)
    x.sum().backward()
    low, high = x.detach().aminmax()
    assert float(low) > -1 and 1 < float(high) < 3
    assert z.grad is not None and bool((z.grad != 0).any())
    assert not any(weight.requires_grad for weight in made.parameters())


def test_what_is_saved_makes_the_same_samples(made: SampleGenerator, tmp_path: Path) -> None:
    made.save(tmp_path)
    state = torch.get_rng_state()
    loaded = SampleGenerator.load(tmp_path)
    assert torch.equal(torch.get_rng_state(), state), "global random state is not touched"
    z = torch.randn(5, 4)
    assert torch.equal(loaded(z), made(z))
    assert loaded.settings() == made.settings()


def test_damage_is_told_in_a_sentence(made: SampleGenerator, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"There is no generator in .*salus generator"):
        SampleGenerator.load(tmp_path)
    made.save(tmp_path)
    card, weights = tmp_path / "generator.json", tmp_path / "generator.safetensors"
    whole, content = card.read_text(), weights.read_bytes()
    weights.write_bytes(content[:-4])
    with pytest.raises(BundleError, match="truncated or was changed"):
        SampleGenerator.load(tmp_path)
    weights.write_bytes(content)
    for change, word in (
        ({"format": "salus-generator-0"}, "no generator of this version"),
        ({"width": 4}, "do not fit it"),
        ({"shape": []}, "another version"),
        ({"latent": "many"}, "another version"),
    ):
        card.write_text(json.dumps({**json.loads(whole), **change}))
        with pytest.raises(BundleError, match=word):
            SampleGenerator.load(tmp_path)
    card.write_text(whole[:-9])
    with pytest.raises(BundleError, match="not JSON"):
        SampleGenerator.load(tmp_path)


def test_other_samples_are_refused(made: SampleGenerator) -> None:
    made.check_suits((1, 12), (-1.0, 3.0))
    with pytest.raises(ModelError, match=r"shape \[1, 12\] in \(-1.0, 3.0\), not of shape \[1, 13\]"):
        made.check_suits((1, 13), (-1.0, 3.0))
    with pytest.raises(ModelError, match=r"in \(0.0, 1.0\); train another by `salus generator`"):
        made.check_suits((1, 12), (0.0, 1.0))
