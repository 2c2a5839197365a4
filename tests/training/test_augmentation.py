from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import nn

from salus.data import Dataset, Provenance
from salus.errors import OptionError
from salus.hardening import madry
from salus.models import build_model
from salus.training import FlipsAndShifts, GrowingImages, RandomGains, TrainingOptions, seeded, seeded_module, train


def _all_moves(image: torch.Tensor, shift: int) -> list[torch.Tensor]:
    """Every shift of an image ``[C, H, W]``, made by slicing."""
    height, width = image.shape[1:]
    wide = torch.zeros(image.shape[0], height + 2 * shift, width + 2 * shift)
    wide[:, shift : shift + height, shift : shift + width] = image
    steps = range(2 * shift + 1)
    return [wide[:, i : i + height, j : j + width] for i in steps for j in steps]


def test_every_image_is_a_shift_of_itself_or_of_its_mirror_image_and_each_is_drawn() -> None:
    x = torch.rand(1, 3, 6, 5) + 0.1
    with seeded(0, 0):
        drawn = FlipsAndShifts(shift=1).augment(x.expand(600, -1, -1, -1))
    possible = _all_moves(x[0], 1) + _all_moves(x[0].flip(2), 1)
    found = [next(k for k, move in enumerate(possible) if torch.equal(move, image)) for image in drawn]
    counts = torch.bincount(torch.tensor(found), minlength=18)
    assert len(counts) == 18
    assert int(counts.min()) > 10  # 33 are expected


def test_images_of_one_batch_are_not_mixed() -> None:
    x = torch.arange(1, 9.0)[:, None, None, None].expand(8, 2, 9, 9)
    with seeded(0, 0):
        drawn = FlipsAndShifts(shift=2).augment(x)
    for i, image in enumerate(drawn):
        assert set(image.unique().tolist()) <= {0.0, i + 1.0}


def test_without_flips_and_shifts_nothing_changes() -> None:
    x = torch.rand(4, 1, 8, 8)
    assert torch.equal(FlipsAndShifts(flips=False, shift=0).augment(x), x)
    with pytest.raises(OptionError, match="Augmentation: shift must be a whole number from 0 up, not -1"):
        FlipsAndShifts(shift=-1)


def test_images_grow_to_their_own_size_and_keep_their_mean() -> None:
    recipe, x = GrowingImages(smallest=0.5, grown=0.6), torch.rand(4, 3, 32, 24)
    sizes = [tuple(recipe.shrink(x, done).shape[2:]) for done in (0.0, 0.15, 0.3, 0.45, 0.59, 0.6, 1.0)]
    assert sizes[0] == (16, 12)
    assert sizes == sorted(sizes)
    assert sizes[-2:] == [(32, 24), (32, 24)]
    assert torch.equal(recipe.shrink(x, 0.6), x)
    small = recipe.shrink(x, 0.0)
    assert torch.allclose(small.mean((2, 3)), x.mean((2, 3)), atol=0.03)
    assert float(small.min()) >= 0 and float(small.max()) <= 1
    assert torch.equal(GrowingImages(grown=0.0).shrink(x, 0.0), x)
    white = torch.ones(4, 3, 33, 47)
    assert all(float(recipe.shrink(white, step / 20).max()) <= 1 for step in range(20)), "attacks insist on bounds"


def test_adversarial_training_attacks_images_of_the_size_they_have_grown_to() -> None:
    sizes: list[tuple[int, ...]] = []

    class Means(nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            sizes.append(tuple(batch.shape[2:]))
            return batch.mean((2, 3)) * 5

    module = Means()
    recipe = madry(0.03, steps=2, augmentation=GrowingImages(smallest=0.5, grown=0.6))
    x, y = torch.rand(4, 3, 32, 24), torch.tensor([0, 1, 2, 0])
    for done in (0.0, 0.9):
        recipe.step_loss(module, x, y, nn.functional.cross_entropy, done, 0)
    assert set(sizes[: len(sizes) // 2]) == {(16, 12)} and set(sizes[len(sizes) // 2 :]) == {(32, 24)}


def test_early_steps_are_made_on_small_images_and_validation_on_whole_ones() -> None:
    with seeded(0, 0):
        data = Dataset(torch.rand(32, 1, 16, 16), torch.arange(32) % 2, ("a", "b"), Provenance("noise", "made here"))
    module = seeded_module(lambda: build_model("small-cnn", (1, 16, 16), 2, {"widths": [4]}), 0)
    seen: dict[bool, list[int]] = {True: [], False: []}
    module.register_forward_pre_hook(lambda part, inputs: seen[part.training].append(inputs[0].shape[2]))
    train(module, data, data, TrainingOptions(epochs=4, batch_size=16), recipe=GrowingImages(grown=0.5))
    assert seen[True][0] == 8
    assert seen[True][-1] == 16
    assert set(seen[False]) == {16}


def test_waves_are_stretched_turned_over_and_left_out_and_figures_stay() -> None:
    x = torch.full((4000, 3, 10), 0.6)
    with seeded(0, 0):
        drawn = RandomGains().augment(x)
    assert torch.equal(drawn[:, 2], x[:, 2])
    gains = (drawn[:, :2, 0] - 0.5) / 0.1
    assert float(gains.abs().max()) <= 1.5 + 1e-5
    assert float(gains[gains != 0].abs().min()) >= 0.5 - 1e-5
    assert bool((gains[:, 0] >= 0).all())  # the first lead stands as it is known to
    turned, left_out = (gains < 0).double().mean(0), (gains == 0).double().mean(0)
    assert float(turned[1]) == pytest.approx(0.3 * 0.85, abs=0.04)
    assert left_out.tolist() == pytest.approx([0.05, 0.15], abs=0.03)


def test_waves_of_one_step_are_moved_together() -> None:
    x = torch.full((3, 3, 40), 0.5)
    x[:, :2, 20] = 0.9
    with seeded(1, 0):
        drawn = RandomGains(left_out=0.0, turned=0.0, stretch=1.0).augment(x)
    assert len({int(wave.argmax()) for beat in drawn for wave in beat[:2]}) == 1
    assert torch.equal(RandomGains(left_out=0.0, turned=0.0, shift=0).augment(x)[:, 2], x[:, 2])


def test_training_goes_on_to_the_same_weights_after_a_kill(tmp_path: Path) -> None:
    with seeded(0, 0):
        data = Dataset(torch.rand(64, 1, 8, 8), torch.arange(64) % 2, ("a", "b"), Provenance("noise", "made here"))

    def weights(epochs: int, checkpoint: Path | None, recipe: FlipsAndShifts) -> torch.Tensor:
        module = seeded_module(lambda: build_model("small-cnn", (1, 8, 8), 2, {"widths": [4]}), 0)

        def stop(epoch: object) -> None:
            if epochs == 1:
                raise KeyboardInterrupt

        options = TrainingOptions(epochs=3, batch_size=16, keep="last")
        with suppress(KeyboardInterrupt):
            train(module, data, data, options, recipe=recipe, checkpoint=checkpoint, on_epoch=stop)
        return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])

    recipe = FlipsAndShifts(shift=1)
    whole = weights(3, None, recipe)
    weights(1, tmp_path / "training", recipe)
    assert torch.equal(weights(3, tmp_path / "training", recipe), whole)
    assert not torch.equal(weights(3, None, FlipsAndShifts(shift=2)), whole)
