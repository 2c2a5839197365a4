"""Balancing heartbeats with one DC-GAN a class, after Shaker et al. (2020).

The ECG-ATK-GAN papers say that Shaker et al. make beats with a DC-GAN and train their classifier apart; the abstract
says that the beats balance the classes. Their recipe was not to be found: here it is that of Radford et al. (2016).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from salus.data.balance import fill, thin
from salus.data.base import Dataset
from salus.errors import DataError, ModelError, OptionError
from salus.models.dc_gan import DCDiscriminator, DCGenerator
from salus.progress import Advance, progress
from salus.training import Log, seeded

BATCH_SIZE = 64
LEARNING_RATE, BETAS = 2e-4, (0.5, 0.999)  # Radford et al., 2016, Section 4


def augment(
    train: Dataset,
    per_class: int,
    *,
    epochs: int,
    seed: int,
    device: torch.device | str = "cpu",
    log: Log | None = None,
) -> Dataset:
    """Bring every class to the same number of beats.

    Larger classes are thinned at random; each smaller one gets beats from a DC-GAN that was trained on its own
    beats alone. Such a beat belongs to no patient: its group is -1. Global random state is neither read nor changed.

    Args:
        train: the training part of heartbeats.
        per_class: beats that every class then has.
        epochs: passes of each GAN over the beats of its class.
        seed: decides which beats are left out, each GAN's training, and what it makes.
        device: where to train.
        log: receives one line a class.

    Raises:
        DataError: the data are no signals, or a class is to be filled from fewer than two beats.
        ModelError: a GAN's loss became NaN.
        OptionError: a number will not do.
    """
    for name, value, least in (("per_class", per_class, 1), ("epochs", epochs, 1), ("seed", seed, 0)):
        if type(value) is not int or value < least:
            raise OptionError(f"DC-GAN: {name}={value!r} will not do; it must be a whole number, {least} or more.")
    if train.kind != "signal":
        raise DataError(
            f"Data {train.provenance.name!r}: a DC-GAN makes signals, not {train.kind}s; balance these with SMOTE."
        )
    say = log or (lambda line: None)
    low, high = train.bounds
    thinned = thin(train, per_class, np.random.default_rng(seed), method="a DC-GAN")
    xs, ys = [train.x[:0]], [train.y[:0]]
    small = [index for index, count in enumerate(thinned.counts.values()) if count < per_class]
    with progress("DC-GAN", epochs * len(small)) as advance:
        for index in small:
            label, real = train.classes[index], thinned.x[thinned.y == index]
            with seeded(seed, index, device=device):
                beats = ((real - low) / (high - low)).to(device)
                generator, losses = _fit(beats, epochs, advance, label)
                synthetic = _make(generator, per_class - len(real), device).to(train.x.device)
            xs.append((low + (high - low) * synthetic).clamp(low, high))
            ys.append(train.y.new_full((len(synthetic),), index))
            say(
                f"class {label!r}: {len(synthetic)} beats made after {epochs} epochs on {len(real)}, "
                f"discriminator loss {losses[0]:.3f}, generator loss {losses[1]:.3f}"
            )
    return fill(train, thinned, torch.cat(xs), torch.cat(ys), per_class, method="DC-GAN")


def _fit(real: Tensor, epochs: int, advance: Advance, label: str) -> tuple[DCGenerator, tuple[float, float]]:
    """Train a GAN on beats ``[N, C, L]`` in [0, 1]; return the generator and both losses in the last epoch."""
    channels, length = real.shape[1:]
    generator = DCGenerator(channels, length).to(real.device)
    discriminator = DCDiscriminator(channels, length).to(real.device)
    optimizer_g = torch.optim.Adam(generator.parameters(), LEARNING_RATE, BETAS)
    optimizer_d = torch.optim.Adam(discriminator.parameters(), LEARNING_RATE, BETAS)
    mean_d = mean_g = math.nan
    for epoch in range(1, epochs + 1):
        losses_d, losses_g = [], []
        for rows in torch.randperm(len(real)).split(BATCH_SIZE):
            if len(rows) == 1:
                continue  # batch normalisation needs two
            x = real[rows.to(real.device)]
            fake = generator(torch.randn(len(x), generator.latent, device=x.device))
            ones, zeros = x.new_ones(len(x)), x.new_zeros(len(x))

            loss_d = cross_entropy(discriminator(x), ones) + cross_entropy(discriminator(fake.detach()), zeros)
            optimizer_d.zero_grad()
            loss_d.backward()
            optimizer_d.step()

            loss_g = cross_entropy(discriminator(fake), ones)
            optimizer_g.zero_grad()
            loss_g.backward()
            optimizer_g.step()
            losses_d.append(loss_d.item())
            losses_g.append(loss_g.item())
        mean_d, mean_g = sum(losses_d) / len(losses_d), sum(losses_g) / len(losses_g)
        if not math.isfinite(mean_d + mean_g):
            raise ModelError(
                f"The DC-GAN of class {label!r} failed in epoch {epoch}: its loss is not a number; train fewer epochs."
            )
        advance()
    return generator, (mean_d, mean_g)


@torch.no_grad()
def _make(generator: DCGenerator, count: int, device: torch.device | str) -> Tensor:
    """Make beats; each depends on its own noise alone."""
    generator.eval()
    z = torch.randn(count, generator.latent, device=device)
    return torch.cat([generator(part) for part in z.split(1024)])
