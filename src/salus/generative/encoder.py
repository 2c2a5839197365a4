"""An encoder for a generator: one pass for what a projection onto the generator's range takes thousands of.

An attacker trains it, on samples that the generator makes itself; nothing of the defence's data is needed. Where
Defense-GAN descends from fixed starts to the nearest G(z), ``G(E(x))`` comes near it at once, and has a gradient that
no descent's end, no step between two of them and no unrolled curvature troubles.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from salus.atomic import write_tensors
from salus.attacks.draws import normal, uniform
from salus.generative.generator import SampleGenerator
from salus.models.weights import misfit
from salus.models.wgan import WGANCritic
from salus.training.checkpoint import weights_digest
from salus.training.loop import seeded

#: Steps of the training, samples in each, and the highest rate of Adam.
STEPS, BATCH, RATE = 1500, 64, 1e-3
#: The most noise that a sample carries in training, in standard deviations: attacked inputs lie beside the range.
NOISE = 0.1
_WIDTH = 16


class Encoder(nn.Module):
    """Maps samples ``[N, ...]`` to latents ``[N, latent]``: the critic's network with as many outputs.

    Args:
        generator: whose samples they are.
    """

    def __init__(self, generator: SampleGenerator) -> None:
        super().__init__()
        self.latent, self.bounds = generator.latent, generator.bounds
        self.network = WGANCritic(generator.shape, max(generator.width, _WIDTH))
        self.network.head = nn.Linear(self.network.head.in_features, generator.latent)

    def forward(self, x: Tensor) -> Tensor:
        """Guess the latents of x; differentiable."""
        low, high = self.bounds
        z: Tensor = self.network((x - low) / (high - low)).reshape(len(x), self.latent)
        return z


_TRAINED: WeakKeyDictionary[SampleGenerator, Encoder] = WeakKeyDictionary()


def encoder_of(generator: SampleGenerator) -> Encoder:
    """Return the generator's encoder: the one it has, the one that lies beside it, or one that is trained now.

    It is trained once for each generator, and kept beside it where it lies in a folder.
    """
    if generator not in _TRAINED:
        with seeded(0, 0):
            encoder = Encoder(generator)
        form = (weights_digest(generator.module), weights_digest(encoder), STEPS, BATCH, RATE, NOISE)
        name = f"encoder-{hashlib.sha256(repr(form).encode()).hexdigest()[:8]}.safetensors"
        place = None if generator.folder is None else generator.folder / name
        if place is None or not _read(encoder, place):
            _train(encoder, generator)
            if place is not None:
                write_tensors(place, encoder.state_dict())
        _TRAINED[generator] = encoder.eval().requires_grad_(False)
    return _TRAINED[generator]


def _read(encoder: Encoder, place: Path) -> bool:
    """Load the weights that lie there; tell whether there are any that fit."""
    try:
        tensors = load_file(place)
    except (OSError, SafetensorError):
        return False
    if misfit(encoder, tensors):
        return False
    encoder.load_state_dict(tensors)
    return True


def _train(encoder: Encoder, generator: SampleGenerator) -> None:
    """Lower the squared distance of ``G(E(x))`` from ``x = G(z)``, of which E sees a noisy copy.

    Latents have lengths from 0 to those of N(0, 1): descents start near 0, and end nearer to it than draws would.
    """
    device = next(generator.parameters()).device
    encoder.to(device)
    adam = torch.optim.Adam(encoder.parameters(), RATE)
    low, high = generator.bounds
    for step in range(STEPS):
        for group in adam.param_groups:
            group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        rows = torch.arange(step * BATCH, (step + 1) * BATCH, device=device)
        length, noise = uniform(0, rows, (2,), stream=1).split(1, 1)  # [B, 1] each
        with torch.no_grad():
            x = generator(normal(0, rows, (generator.latent,), stream=2) * length)
            shake = normal(0, rows, generator.shape, stream=3) * NOISE * (high - low)
            seen = (x + noise.reshape(-1, *[1] * (x.ndim - 1)) * shake).clamp(low, high)
        with torch.enable_grad():
            loss = (generator(encoder(seen)) - x).square().mean() / (high - low) ** 2
            adam.zero_grad()
            loss.backward()
        adam.step()
