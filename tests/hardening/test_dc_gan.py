"""Balancing heartbeats with one DC-GAN a class."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from salus.data import Dataset, Provenance
from salus.errors import DataError, OptionError
from salus.hardening import augment
from salus.models.dc_gan import DCDiscriminator, DCGenerator


def beats(counts: tuple[int, ...] = (20, 9, 4), length: int = 41, channels: int = 1, **fields: Any) -> Dataset:
    """One bump a beat, at a place that its class decides."""
    generator = torch.Generator().manual_seed(0)
    y = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    places = length * (y + 1) / (len(counts) + 1) + torch.randn(len(y), generator=generator)
    x = torch.exp(-((torch.arange(length) - places[:, None]) ** 2) / 20)[:, None].repeat(1, channels, 1)
    names = tuple("NSVF"[: len(counts)])
    return Dataset(x, y, names, Provenance("bumps", "made here", notes=("raw",)), **fields)


def made_of(balanced: Dataset) -> Tensor:
    assert balanced.groups is not None
    return balanced.groups == -1


def test_every_class_comes_to_the_number_asked_for_and_what_was_made_has_no_patient() -> None:
    train = beats(groups=torch.arange(33))
    balanced = augment(train, 12, epochs=2, seed=0)
    assert balanced.counts == {"N": 12, "S": 12, "V": 12}
    made = made_of(balanced)
    assert torch.bincount(balanced.y[made], minlength=3).tolist() == [0, 3, 8]
    real = {x.numpy().tobytes() for x in train.x}
    assert [x.numpy().tobytes() in real for x in balanced.x] == (~made).tolist()
    assert balanced.groups is not None
    assert torch.equal(train.x[balanced.groups[~made]], balanced.x[~made])  # each real beat keeps its patient


def test_the_note_says_how_many_were_left_out_and_made() -> None:
    balanced = augment(beats(), 12, epochs=1, seed=0)
    assert balanced.groups is None
    assert balanced.provenance.notes == (
        "raw",
        "training balanced to 12 samples per class: 8 left out at random, 11 made by DC-GAN (group -1)",
    )


@pytest.mark.parametrize(("bounds", "channels"), [((0.0, 1.0), 1), ((0.0, 1.0), 2), ((-3.0, 5.0), 1)])
def test_what_is_made_lies_in_the_bounds_and_has_the_shape(bounds: tuple[float, float], channels: int) -> None:
    balanced = augment(beats(channels=channels, bounds=bounds, groups=torch.arange(33)), 30, epochs=1, seed=0)
    made = balanced.x[made_of(balanced)]
    assert made.shape == (57, channels, 41)
    assert made.dtype == torch.float32
    assert bounds[0] <= float(made.min()) <= float(made.max()) <= bounds[1]
    assert made.flatten(1).unique(dim=0).shape[0] == 57  # no two alike


def test_the_seed_decides_everything() -> None:
    first, again, other = (augment(beats(), 12, epochs=2, seed=seed) for seed in (5, 5, 6))
    assert first.fingerprint() == again.fingerprint()
    assert first.fingerprint() != other.fingerprint()


def test_global_random_state_and_the_training_data_stay_as_they_are() -> None:
    train = beats()
    before, fingerprint = torch.get_rng_state(), train.fingerprint()
    augment(train, 12, epochs=1, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert train.fingerprint() == fingerprint
    assert train.provenance.notes == ("raw",)


def test_below_the_smallest_class_nothing_is_made() -> None:
    lines: list[str] = []
    balanced = augment(beats(), 4, epochs=1, seed=0, log=lines.append)
    assert balanced.counts == {"N": 4, "S": 4, "V": 4}
    assert "21 left out at random, 0 made" in balanced.provenance.notes[-1]
    assert lines == []


def test_the_log_has_a_line_for_every_class_that_was_filled() -> None:
    lines: list[str] = []
    augment(beats(), 12, epochs=1, seed=0, log=lines.append)
    assert [line.partition(" after")[0] for line in lines] == ["class 'S': 3 beats made", "class 'V': 8 beats made"]


def test_a_batch_of_one_is_passed_over() -> None:
    assert augment(beats((70, 65), length=16), 70, epochs=1, seed=0).counts == {"N": 70, "S": 70}


def test_what_is_made_comes_to_look_like_its_class() -> None:
    train = beats((200, 100), length=24, groups=torch.arange(300))
    balanced = augment(train, 200, epochs=120, seed=0)
    made = balanced.x[made_of(balanced)].mean(0)
    distances = [float((made - train.x[train.y == label].mean(0)).norm()) for label in (0, 1)]
    assert distances[1] < 0.5 * distances[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per_class": 0}, "per_class=0 will not do; it must be a whole number, 1 or more"),
        ({"per_class": 2.5}, "per_class=2.5 will not do"),
        ({"epochs": 0}, "epochs=0 will not do"),
        ({"epochs": True}, "epochs=True will not do"),
        ({"seed": -1}, "seed=-1 will not do; it must be a whole number, 0 or more"),
    ],
)
def test_a_number_that_will_not_do_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        augment(beats(), **{"per_class": 12, "epochs": 1, "seed": 0, **options})


def test_a_class_of_one_beat_teaches_a_gan_nothing() -> None:
    with pytest.raises(DataError, match=r"class 'S' has 1 training sample\(s\); a DC-GAN needs 2"):
        augment(beats((5, 1)), 5, epochs=1, seed=0)


def test_tables_and_images_are_refused() -> None:
    table = Dataset(torch.rand(4, 3), torch.arange(4) % 2, ("a", "b"), Provenance("clinic", "made here"))
    with pytest.raises(DataError, match="'clinic': a DC-GAN makes signals, not tables; balance these with SMOTE"):
        augment(table, 3, epochs=1, seed=0)


@pytest.mark.parametrize(("channels", "length"), [(1, 280), (2, 37), (1, 5), (3, 1)])
def test_generator_and_discriminator_take_any_length_and_leads(channels: int, length: int) -> None:
    generator, discriminator = DCGenerator(channels, length).eval(), DCDiscriminator(channels, length).eval()
    x = generator(torch.randn(3, generator.latent)).detach()
    assert x.shape == (3, channels, length)
    assert 0 <= float(x.min()) <= float(x.max()) <= 1
    assert discriminator(x).shape == (3,)


def test_at_280_samples_the_gan_has_the_layers_of_its_docstring() -> None:
    generator, discriminator = DCGenerator(), DCDiscriminator()
    normalised = 2 * (128 + 64 + 32)
    doublings = (128 * 64 * 4 + 64) + (64 * 32 * 4 + 32) + (32 * 1 * 4 + 1)
    assert sum(p.numel() for p in generator.parameters()) == (100 * 128 * 35 + 128 * 35) + normalised + doublings
    halvings = (1 * 32 * 5 + 32) + (32 * 64 * 5 + 64) + (64 * 128 * 5 + 128)
    assert sum(p.numel() for p in discriminator.parameters()) == halvings + 2 * (64 + 128) + (128 * 35 + 1)
