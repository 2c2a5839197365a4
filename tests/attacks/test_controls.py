"""Controls change inputs by as much as they say, keep to the bounds, and ask nothing of any model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from salus.attacks.controls import (
    CONTROLS,
    Blur,
    Contrast,
    Control,
    Gain,
    MainsHum,
    MuscleNoise,
    TimeShift,
    parse_control,
    signal_to_noise,
)  # fmt: skip
from salus.errors import OptionError

TABLES, SIGNALS, IMAGES = (7,), (2, 280), (3, 24, 20)
NOISE = ["uniform-noise", "gaussian-noise"]
AT_SNR = ["baseline-wander", "mains-hum", "muscle-noise", "electrode-motion", "gain"]


def made(name: str, **options: Any) -> Control:
    return parse_control(name, eps=0.05, **options)


def samples(shape: tuple[int, ...], n: int = 9, bounds: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    rng = torch.Generator().manual_seed(1)
    time = torch.linspace(0, 6.28, shape[-1])
    x = 0.5 + 0.2 * torch.sin(time * (1 + torch.arange(n).reshape(-1, *[1] * len(shape))))
    x = (x + 0.02 * torch.randn(n, *shape, generator=rng)).clamp(0.2, 0.8)
    return bounds[0] + (bounds[1] - bounds[0]) * x


def shape_of(control: type[Control]) -> tuple[int, ...]:
    return {3: SIGNALS, 4: IMAGES}[control.dimensions[0]] if control.dimensions else TABLES


def applied(control: Control, x: Tensor) -> Tensor:
    def untouchable(batch: Tensor) -> Tensor:
        raise AssertionError("a control asks no model")

    return control(untouchable, x, torch.zeros(len(x), dtype=torch.int64))


@pytest.mark.parametrize("name", sorted(CONTROLS))
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-2.0, 3.0)])
def test_a_control_changes_every_sample_and_keeps_the_bounds(name: str, bounds: tuple[float, float]) -> None:
    x = samples(shape_of(CONTROLS[name]), bounds=bounds)
    before = x.clone()
    changed = applied(made(name, bounds=bounds), x)
    assert torch.equal(x, before) and changed.shape == x.shape and changed.dtype == x.dtype
    assert bool((changed != x).flatten(1).any(1).all()) and bool(changed.isfinite().all())
    assert float(changed.min()) >= bounds[0] and float(changed.max()) <= bounds[1]
    loud = parse_control(f"{name}:snr=-40", bounds=bounds) if name in AT_SNR else made(name, bounds=bounds)
    wild = applied(loud, torch.where(x > x.mean(), x.new_tensor(bounds[1]), x.new_tensor(bounds[0])))
    assert float(wild.min()) >= bounds[0] and float(wild.max()) <= bounds[1]


@pytest.mark.parametrize("name", sorted(CONTROLS))
def test_a_sample_is_changed_the_same_whatever_its_neighbours(name: str) -> None:
    x = samples(shape_of(CONTROLS[name]))
    control = made(name)
    whole = applied(control, x)
    assert torch.equal(applied(replace(control, batch_size=2), x), whole)
    torch.testing.assert_close(applied(control, x[:4]), whole[:4])
    drawn = name not in ("blur", "jpeg")
    assert drawn != torch.equal(applied(replace(control, seed=1), x), whole)


@pytest.mark.parametrize("name", NOISE)
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("shape", [TABLES, SIGNALS, IMAGES])
def test_noise_is_exactly_as_long_as_an_attack_may_be(name: str, norm: Any, shape: tuple[int, ...]) -> None:
    x = samples(shape).double()
    change = (applied(made(name, norm=norm), x) - x).flatten(1)
    length = change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
    torch.testing.assert_close(length, torch.full_like(length, 0.05), rtol=1e-6, atol=0)
    assert float(length.max()) <= 0.05
    for rim in (torch.zeros_like(x), torch.ones_like(x), x.round()):  # half of all directions lead out
        change = (applied(made(name, norm=norm), rim) - rim).flatten(1)
        length = change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
        torch.testing.assert_close(length, torch.full_like(length, 0.05), rtol=1e-6, atol=0)
    mask = [True] + [False] * (shape[-1] - 1)
    masked = applied(made(name, norm=norm, mask=mask), x)
    assert torch.equal(masked[..., 1:], x[..., 1:]) and not torch.equal(masked, x)


@pytest.mark.parametrize("name", AT_SNR)
@pytest.mark.parametrize("snr", [12, 24])
def test_a_signal_has_the_stated_ratio_to_its_noise(name: str, snr: float) -> None:
    x = samples(SIGNALS)
    reached = signal_to_noise(x, applied(parse_control(f"{name}:snr={snr}"), x))
    torch.testing.assert_close(reached, torch.full_like(reached, snr), rtol=0, atol=0.3)
    flat = torch.full((2, 1, 100), 0.4)
    assert torch.equal(applied(parse_control(f"{name}:snr={snr}"), flat), flat)  # no signal, so no noise


def test_hum_and_muscle_noise_stand_where_they_belong_in_the_spectrum() -> None:
    x = samples((1, 720), n=3)
    for control, low, high in ((MainsHum(hz=60.0), 59, 61), (MuscleNoise(), 19, 151)):
        noise = (applied(control, x) - x).double()
        spectrum = torch.fft.rfft(noise).abs().square().sum((0, 1))
        rates = torch.fft.rfftfreq(720, 1 / 360)
        assert float(spectrum[(rates >= low) & (rates <= high)].sum() / spectrum.sum()) > 0.97


def test_a_shift_moves_a_signal_by_its_time() -> None:
    x = samples((1, 280))
    shifted = applied(TimeShift(ms=1000 * 3 / 360), x)
    left = (shifted[..., :-3] - x[..., 3:]).abs().amax((1, 2))
    right = (shifted[..., 3:] - x[..., :-3]).abs().amax((1, 2))
    assert bool((torch.minimum(left, right) < 1e-6).all()) and bool((left < 1e-6).any()) and bool((right < 1e-6).any())
    assert bool(signal_to_noise(x, shifted).isfinite().all())


def test_blur_keeps_the_mean_and_calms_edges_and_contrast_does_the_reverse() -> None:
    x = samples(IMAGES)
    blurred = applied(Blur(sigma=1.0), x)
    rough = [float(image.diff(dim=-1).abs().mean()) for image in (x, blurred)]
    assert rough[1] < 0.9 * rough[0] and float((blurred.mean() - x.mean()).abs()) < 0.01
    assert torch.equal(
        applied(Blur(sigma=1.0), torch.full((1, 1, 3, 2), 0.5)).round(decimals=5), torch.full((1, 1, 3, 2), 0.5)
    )
    ratio = applied(Contrast(amount=0.1), x).std((-2, -1)) / x.std((-2, -1))
    torch.testing.assert_close((ratio - 1).abs(), torch.full_like(ratio, 0.1), rtol=0, atol=1e-3)


def test_a_better_jpeg_is_nearer() -> None:
    for channels in (1, 3, 4):
        x = samples((channels, 24, 20))
        far, near = (float((applied(parse_control(f"jpeg:quality={q}"), x) - x).abs().mean()) for q in (10, 95))
        assert 0 < near < far < 0.1


@pytest.mark.parametrize("name", sorted(set(CONTROLS) - set(NOISE)))
def test_data_of_another_kind_are_refused(name: str) -> None:
    wrong = samples(IMAGES if CONTROLS[name].dimensions == (3,) else SIGNALS)
    with pytest.raises(OptionError, match=r"is for (signals|images), not for (signals|images)"):
        applied(made(name), wrong)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("basline-wander", "did you mean 'baseline-wander'"),
        ("gaussian-noise", "needs eps"),
        ("mains-hum:hz=200", "below half the sample rate"),
        ("muscle-noise:fs=30", "fs must be a number above 40, not 30"),
        ("baseline-wander:snr=nan", "Control 'baseline-wander': snr must be a number, not 'nan'"),
        ("baseline-wander:fs=0", "fs must be a number above 0, not 0"),
        ("time-shift:ms=0", "ms must be a number above 0, not 0"),
        ("blur:sigma=0", "sigma must be a number above 0, not 0"),
        ("jpeg:quality=100", "quality must be a whole number from 1 to 95, not 100"),
        ("brightness:amount=2", "amount must be a number above 0 and up to 1, not 2"),
        ("contrast:amount=0", "amount must be a number above 0 and up to 1, not 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(spec: str, sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        parse_control(spec)


def test_the_result_tells_the_distance_and_that_nothing_was_asked() -> None:
    x = samples(SIGNALS)
    labels = torch.zeros(len(x), dtype=torch.int64)
    result = Gain(snr=20.0).run(lambda batch: batch.flatten(1)[:, :2], x, labels)
    assert not bool(result.queries.any()) and bool((result.distance > 0).all())
