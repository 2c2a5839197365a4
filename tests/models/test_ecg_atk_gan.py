"""The two networks of ECG-ATK-GAN and its noise, and the classifier that sees the rhythm beside the beat."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from salus.errors import ModelError
from salus.models import build_model
from salus.models.ecg_atk_gan import RELEASED_DROPOUTS, Discriminator, Generator, SkipBlock, smooth_noise
from salus.models.ecg_context import ECGContext
from salus.training import seeded_module


def generator(skip: SkipBlock = "sda", channels: int = 1) -> Generator:
    return seeded_module(lambda: Generator(3, channels, widths=(4, 8), skip=skip), 0).eval()  # type: ignore[return-value]


def given(length: int, n: int = 3, channels: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    return torch.rand(n, channels, length, generator=rng), torch.arange(n) % 3, smooth_noise(n, length, rng)


@pytest.mark.parametrize("skip", ["sda", "gated"])
@pytest.mark.parametrize(("length", "channels"), [(40, 1), (41, 1), (42, 2), (43, 1), (7, 1)])
def test_generated_beats_are_as_long_as_the_given_ones_and_lie_between_0_and_1(
    skip: SkipBlock, length: int, channels: int
) -> None:
    made = generator(skip, channels)(*given(length, channels=channels))
    assert made.shape == (3, channels, length)
    assert 0 < made.min() < made.max() < 1


def test_signal_label_and_noise_all_decide_what_is_generated() -> None:
    network = generator()
    x, y, z = given(40)
    made = network(x, y, z)
    assert torch.equal(network(x, y, z), made)
    for changed in (network(1 - x, y, z), network(x, (y + 1) % 3, z), network(x, y, 1 - z)):
        assert ((changed - made).abs().flatten(1).amax(1) > 1e-4).all()


def test_both_papers_skip_blocks_are_one_and_ours_weights_it_by_less_than_one() -> None:
    sdc, sda, gated = generator("sdc"), generator("sda"), generator("gated")
    x, y, z = given(40)
    assert torch.equal(sda(x, y, z), sdc(x, y, z)), "the released attention block is the convolution"
    assert sum(p.numel() for p in gated.parameters()) == sum(p.numel() for p in sda.parameters()) + (4 * 4 + 4) + (
        8 * 8 + 8
    )
    shared = gated.load_state_dict(sda.state_dict(), strict=False)
    assert not shared.unexpected_keys and {key.split(".")[2] for key in shared.missing_keys} == {"gate"}
    assert not torch.equal(gated(x, y, z), sda(x, y, z))
    states = torch.randn(2, 4, 1, 20)
    plain, weighted = sda.skip[0](states), gated.skip[0](states)
    assert (weighted.sign() == plain.sign()).all() and (weighted.abs() <= plain.abs()).all()


def test_the_released_code_has_the_noise_go_through_a_dense_layer_of_32_channels() -> None:
    network = seeded_module(lambda: Generator(3, widths=(4, 8), noise="dense", length=40), 0).eval()
    x, y, z = given(40)
    made = network(x, y, z)
    assert made.shape == x.shape and not torch.equal(network(x, y, 1 - z), made)
    layer = network.noise[0]  # type: ignore[index]
    assert isinstance(layer, nn.Linear) and (layer.in_features, layer.out_features) == (40, 40 * 32)
    assert network.residual[0].conv.in_channels == 1 + 3 + 32  # type: ignore[index,union-attr]


def test_the_released_discriminator_drops_values_at_three_places_and_answers_as_one_without() -> None:
    plain = seeded_module(lambda: Discriminator(4, length=40, widths=(4, 8, 8, 8)), 0)
    released = seeded_module(
        lambda: Discriminator(4, length=40, widths=(4, 8, 8, 8), dropout_after=RELEASED_DROPOUTS), 0
    )
    places = [part for part in released.modules() if isinstance(part, nn.Dropout)]
    assert len(places) == 3 and {place.p for place in places} == {0.2}
    x = torch.rand(3, 1, 40)
    assert torch.equal(released.eval()(x), plain.eval()(x)) and list(released.state_dict()) == list(plain.state_dict())
    built = build_model("ecg-atk-gan", (1, 40), 4, {"widths": [4, 8, 8, 8], "dropout_after": [1, 3]})
    assert sum(isinstance(part, nn.Dropout) for part in built.modules()) == 3
    with pytest.raises(ModelError, match="2 stages; dropout_after names stage 2"):
        Discriminator(4, length=40, widths=(4, 8), dropout_after=(2,))


def test_noise_stays_in_0_to_1_and_its_generator_decides_it() -> None:
    def draw(seed: int, length: int = 50) -> Tensor:
        return smooth_noise(20, length, torch.Generator().manual_seed(seed))

    noise = draw(3)
    assert noise.shape == (20, 1, 50)
    assert 0 <= noise.min() < noise.max() <= 1
    assert torch.equal(draw(3), noise)
    assert not torch.equal(draw(4), noise)


def test_noise_is_smooth_over_a_distance_that_sigma_sets() -> None:
    def correlation(sigma: float, lag: int) -> float:
        noise = smooth_noise(200, 120, torch.Generator().manual_seed(0), sigma)[:, 0] - 0.5
        return float((noise[:, lag:] * noise[:, :-lag]).mean() / noise.square().mean())

    for sigma, lag in ((3.0, 1), (3.0, 6), (1.5, 3), (6.0, 6)):
        theory = torch.exp(torch.tensor(-(lag**2) / (4 * sigma**2)))  # white noise under a Gaussian filter
        assert correlation(sigma, lag) == pytest.approx(float(theory), abs=0.05)
    white = torch.rand(200, 120, generator=torch.Generator().manual_seed(0)) - 0.5
    assert abs(float((white[:, 1:] * white[:, :-1]).mean() / white.square().mean())) < 0.05 < correlation(1.0, 1)


def test_the_discriminator_judges_by_three_heads_and_classifies_by_one() -> None:
    network = Discriminator(4, 2, 41, widths=(4, 8)).eval()
    x = torch.rand(5, 2, 41)
    judged = network.judge(x)
    assert [tuple(part.shape) for part in judged] == [(5,), (5, 2), (5, 4)]
    assert torch.equal(network(x), judged.classes)


def test_a_forward_pass_runs_every_head_so_that_detectors_can_read_them() -> None:
    network = build_model("ecg-atk-gan", (1, 40), 4, {"widths": [4, 8]}).eval()
    read: list[Tensor] = []
    assert isinstance(network.attacked, nn.Module)
    handle = network.attacked.register_forward_hook(lambda module, given, out: read.append(out))
    x = torch.rand(3, 1, 40)
    network(x)
    handle.remove()
    assert torch.equal(read[0], network.judge(x).attacked)  # type: ignore[operator]


def test_a_beat_without_its_rhythm_is_refused() -> None:
    with pytest.raises(ModelError, match=r"'ecg-context' takes waves .* beat\+rhythm.* have 1 channel"):
        build_model("ecg-context", (1, 280), 4)


def test_a_perturbation_of_one_figure_moves_its_mean_alone() -> None:
    network = seeded_module(lambda: ECGContext(4, 2, 280, widths=(4, 8), hidden=8), 0).eval()
    read: list[Tensor] = []
    network.rhythm.register_forward_pre_hook(lambda module, given: read.append(given[0]))  # type: ignore[union-attr]
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(1, 2, 280, generator=rng)
    share = slice(5 * 20, 6 * 20)  # figure 5 of 14
    delta = 0.02 * (torch.rand(20, generator=rng) - 0.3)
    moved, shuffled = x.clone(), x.clone()
    moved[0, 1, share] += delta
    shuffled[0, 1, share] = x[0, 1, share].flip(0)
    logits, after, same = network(x), network(moved), network(shuffled)
    change = (read[1] - read[0])[0]
    assert change[5].item() == pytest.approx(delta.mean().item(), abs=1e-6)
    assert torch.equal(change.nonzero().flatten(), torch.tensor([5]))
    assert not torch.equal(after, logits), "the rhythm counts"
    assert torch.allclose(same, logits, atol=1e-5), "samples of one figure are a mean and no more"
