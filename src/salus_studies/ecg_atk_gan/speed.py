"""How fast one full step of the GAN is, and how much of it the passes of its networks take alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor

from salus.data import Dataset, Provenance
from salus.hardening.ecg_atk_gan import gan_step
from salus.hardening.gan_options import GANOptions
from salus.models.ecg_atk_gan import smooth_noise


def measure(
    options: GANOptions, *, classes: int = 4, length: int = 280, repeats: int = 5, steps: int = 4
) -> dict[str, Any]:
    """Time whole steps and bare passes in turn, in one run; medians over the repeats.

    Bare are: the generator forward, the discriminator forward and back on recorded and on generated beats, and
    back through the discriminator to the generator; no loss, no optimizer, no drawing of beats or noise.
    """
    rng = torch.Generator().manual_seed(0)
    n = options.batch_size
    x, y = torch.rand(n * steps, 1, length, generator=rng), torch.randint(0, classes, (n * steps,), generator=rng)
    data = Dataset(x, y, tuple(map(str, range(classes))), Provenance("speed", "random numbers"))
    fold = gan_step(data, options)
    batch = fold.learn.batch(torch.arange(n), "cpu")
    z = smooth_noise(n, length, rng)

    def whole() -> None:
        for rows in torch.randperm(len(fold.learn)).split(n):
            fold.step(fold.learn.batch(rows, "cpu"), smooth_noise(len(rows), length, rng))

    def bare() -> None:
        for _ in range(steps):
            with fold.mixed():
                fake = fold.generator(batch.x, batch.y, z)
            for shown in (batch.x, fake.detach()):
                with fold.mixed():
                    judged = fold.discriminator.judge(shown)
                _back(judged)
            fold.discriminator.requires_grad_(False)
            with fold.mixed():
                judged = fold.discriminator.judge(fake)
            _back(judged)
            fold.discriminator.requires_grad_(True)

    whole()
    bare()
    times: dict[str, list[float]] = {"whole": [], "bare": []}
    for _ in range(repeats):
        for name, run in (("whole", whole), ("bare", bare)):
            times[name].append(_seconds(run))
    return {
        "gan_beats_per_second": n * steps / median(times["whole"]),
        "share_bare": median(times["bare"]) / median(times["whole"]),
        "settings": (
            f"batch {n}, widths {'+'.join(map(str, options.widths))}, {options.precision}, "
            f"{torch.get_num_threads()} thread(s), medians of {repeats} repeats in one run"
        ),
    }


def _back(judged: tuple[Tensor, ...]) -> None:
    torch.autograd.backward(list(judged), [torch.ones_like(part) for part in judged])


def _seconds(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
