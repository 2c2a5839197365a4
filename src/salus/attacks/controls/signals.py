"""What happens to an ECG on its way to the recorder, at stated signal-to-noise ratios (after Moody et al., 1984)."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks import draws
from salus.attacks.controls.base import Control, power
from salus.attacks.settings import LargestEps, Norm
from salus.errors import OptionError

SampleRate = Annotated[float, Field(gt=0, description="sample rate in Hz")]


@dataclass(frozen=True, kw_only=True)
class _SignalNoise(Control):
    """Noise added to signals ``[N, C, L]``, the same in all channels.

    Attributes:
        snr: in dB: the power of the signal about its mean over that of the noise, before what the bounds cut off.
    """

    dimensions: ClassVar[tuple[int, ...]] = (3,)

    eps: LargestEps = None
    norm: Norm = "l2"
    snr: Annotated[float, Field(description="power of the signal over that of the noise, in dB")] = 18.0

    @abstractmethod
    def noise(self, x: Tensor, samples: Tensor) -> Tensor:
        """Draw noise of any power, ``[N, 1 or C, L]``."""

    def change(self, x: Tensor, samples: Tensor) -> Tensor:
        """Scale the noise to the ratio and add it."""
        noise = self.noise(x, samples).double().expand(x.shape)
        strength = noise.flatten(1).square().mean(1)
        scale = (power(x) / strength.clamp_min(1e-300) * 10 ** (-self.snr / 10)).sqrt()
        return x + scale[:, None, None] * torch.where(strength > 0, scale.new_ones(()), 0.0)[:, None, None] * noise


@dataclass(frozen=True, kw_only=True)
class _TimedNoise(_SignalNoise):
    """Noise that depends on time.

    Attributes:
        fs: sample rate in Hz.
    """

    fs: SampleRate = 360.0

    def time(self, x: Tensor) -> Tensor:
        """Return the seconds of each value, float64 ``[L]``."""
        return torch.arange(x.shape[-1], dtype=torch.float64, device=x.device) / self.fs


@dataclass(frozen=True, kw_only=True)
class BaselineWander(_TimedNoise):
    """Breathing and slow drift: five sinusoids between 0.05 and 0.5 Hz."""

    name: ClassVar[str] = "baseline-wander"

    def noise(self, x: Tensor, samples: Tensor) -> Tensor:
        """Add up the sinusoids."""
        rate, phase, size = draws.uniform(self.seed, samples, (3, 5), 0).double().unbind(1)  # [N, 5]
        angle = 2 * math.pi * ((0.05 + 0.45 * rate)[..., None] * self.time(x) + phase[..., None])
        return (size[..., None] * angle.sin()).sum(1, keepdim=True)


@dataclass(frozen=True, kw_only=True)
class MainsHum(_TimedNoise):
    """The mains, with a tenth of its third harmonic.

    Attributes:
        hz: 50 or 60; above half the sample rate it would be heard as something else, and is refused.
    """

    name: ClassVar[str] = "mains-hum"

    hz: Annotated[float, Field(gt=0, description="frequency of the mains, below half the sample rate")] = 50.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hz >= self.fs / 2:
            raise OptionError(
                f"Control {self.name!r}: hz must be below half the sample rate, {self.fs / 2:g}, not {self.hz:g}."
            )

    def noise(self, x: Tensor, samples: Tensor) -> Tensor:
        """Hum at a random phase."""
        phase = draws.uniform(self.seed, samples, (1,), 0).double()
        angle = 2 * math.pi * (self.hz * self.time(x) + phase)  # [N, L]
        hum = angle.sin()
        if 3 * self.hz < self.fs / 2:
            hum = hum + 0.1 * (3 * angle).sin()
        return hum[:, None]


@dataclass(frozen=True, kw_only=True)
class MuscleNoise(_TimedNoise):
    """Electromyographic noise: white noise between 20 and 150 Hz, in each channel its own."""

    name: ClassVar[str] = "muscle-noise"

    fs: Annotated[float, Field(gt=40, description="sample rate in Hz; at 40 nothing above 20 is recorded")] = 360.0

    def noise(self, x: Tensor, samples: Tensor) -> Tensor:
        """Filter white noise."""
        white = draws.normal(self.seed, samples, tuple(x.shape[1:]), 0).double()
        spectrum = torch.fft.rfft(white)
        rates = torch.fft.rfftfreq(x.shape[-1], 1 / self.fs, dtype=torch.float64, device=x.device)
        heard: Tensor = torch.fft.irfft(spectrum * ((rates >= 20) & (rates <= 150)), n=x.shape[-1])
        return heard


@dataclass(frozen=True, kw_only=True)
class ElectrodeMotion(_TimedNoise):
    """An electrode that moves: two jumps of the baseline at random times, each dying away in 0.1 to 0.4 s."""

    name: ClassVar[str] = "electrode-motion"

    def noise(self, x: Tensor, samples: Tensor) -> Tensor:
        """Add up the jumps; each rises in about 20 ms."""
        time = self.time(x)
        where, fade, size = draws.uniform(self.seed, samples, (3, 2), 0).double().unbind(1)  # [N, 2]
        since = time - (where * 0.9 * time[-1])[..., None]  # [N, 2, L]
        fall = torch.exp(-since.clamp_min(0) / (0.1 + 0.3 * fade)[..., None])
        rise = torch.sigmoid(since / 0.005)
        return ((2 * size - 1)[..., None] * rise * fall).sum(1, keepdim=True)


@dataclass(frozen=True, kw_only=True)
class Gain(_SignalNoise):
    """A recorder that amplifies more, or less: each channel is stretched about its mean."""

    name: ClassVar[str] = "gain"

    def noise(self, x: Tensor, samples: Tensor) -> Tensor:
        """Return what is added, of a sign drawn for each sample."""
        sign = torch.where(draws.uniform(self.seed, samples, (1, 1), 0) < 0.5, -1.0, 1.0)
        return sign * (x - x.mean(-1, keepdim=True))


@dataclass(frozen=True, kw_only=True)
class TimeShift(Control):
    """A beat cut out earlier or later; the ends repeat their last value.

    Attributes:
        ms: how much, in milliseconds; which way is drawn for each sample. The signal-to-noise ratio that it comes to
            depends on the signal (see ``signal_to_noise``).
        fs: sample rate in Hz.
    """

    name: ClassVar[str] = "time-shift"
    dimensions: ClassVar[tuple[int, ...]] = (3,)

    eps: LargestEps = None
    norm: Norm = "l2"
    ms: Annotated[float, Field(gt=0, description="how much, in milliseconds")] = 10.0
    fs: SampleRate = 360.0

    def change(self, x: Tensor, samples: Tensor) -> Tensor:
        """Shift by a part of a sample too, between neighbours in a straight line."""
        length = x.shape[-1]
        way = torch.where(draws.uniform(self.seed, samples, (1,), 0) < 0.5, -1.0, 1.0).double()
        at = torch.arange(length, device=x.device) + way * self.ms / 1000 * self.fs  # [N, L]
        at = at.clamp(0, length - 1)[:, None].expand(x.shape)
        left = at.floor().long()
        share = at - left
        right = (left + 1).clamp_max(length - 1)
        return x.gather(-1, left) * (1 - share) + x.gather(-1, right) * share
