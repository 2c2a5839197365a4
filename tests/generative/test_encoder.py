"""The encoder that an attacker trains for a generator lies beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from salus.generative import encoder
from salus.generative.encoder import encoder_of
from salus.generative.generator import SampleGenerator
from salus.models.wgan import WGANGenerator


def test_an_encoder_is_kept_beside_its_generator_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "STEPS", 3)
    SampleGenerator(WGANGenerator((6,), 4, 2), width=2).save(tmp_path)
    first = encoder_of(SampleGenerator.load(tmp_path))
    monkeypatch.setattr(encoder, "_train", lambda *_: pytest.fail("trained again"))
    second = encoder_of(SampleGenerator.load(tmp_path))
    x = torch.rand(5, 6)
    assert torch.equal(first(x), second(x))
    assert first(x).shape == (5, 4)


def test_an_encoder_of_another_training_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "STEPS", 3)
    SampleGenerator(WGANGenerator((6,), 4, 2), width=2).save(tmp_path)
    encoder_of(SampleGenerator.load(tmp_path))
    monkeypatch.setattr(encoder, "STEPS", 4)
    encoder_of(SampleGenerator.load(tmp_path))
    assert len(list(tmp_path.glob("encoder-*.safetensors"))) == 2
