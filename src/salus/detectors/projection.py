"""Projection onto a generator's range: the sample that a generator can make which is nearest to an input.

Defense-GAN (Samangouei et al., ICLR 2018, Section 3): R latents descend the squared distance ``||G(z) - x||^2`` for L
steps each, and the nearest of the R is kept.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from salus.attacks.draws import normal
from salus.classifier import Classifier
from salus.errors import CalibrationError, OptionError
from salus.generator import Generator
from salus.wgan import WGANOptions, train_generator

#: Latents that descend together: enough to keep the processor busy, few enough for its memory.
ROWS = {"cpu": 512, "cuda": 4096}

MOMENTUM = 0.7


@dataclass(frozen=True, eq=False)
class Projection:
    """What N inputs look like in the generator's range.

    Attributes:
        z: ``[N, latent]``, the latent whose sample is nearest.
        x: ``[N, ...]``, that sample.
        distances: ``[N, R]``, the squared L2 distance that each of the R descents came to; those of the first r are
            what r descents would have come to.
    """

    z: Tensor
    x: Tensor
    distances: Tensor


def descend(
    make: Callable[[Tensor], Tensor],
    x: Tensor,
    starts: Tensor,
    *,
    iterations: int,
    learning_rate: float,
    precision: Literal["float32", "bfloat16"] = "float32",
) -> tuple[Tensor, Tensor]:
    """Let every start descend towards every input, all at once.

    Gradient descent with momentum 0.7 on the mean squared distance; in the last fifth the rate is a tenth. Both come
    from the released code, where the counter that lowers the rate never moves; the paper names neither.

    Args:
        make: maps latents ``[M, latent]`` to samples ``[M, ...]``; its weights need no gradients.
        x: inputs ``[N, ...]``.
        starts: latents ``[R, latent]``, the same for every input: a projection depends on its input alone.
        iterations: steps L.
        learning_rate: before the last fifth.
        precision: ``bfloat16`` descends in mixed precision; the distances are computed in float32 all the same.

    Returns:
        Latents ``[N, R, latent]`` and squared L2 distances ``[N, R]``.
    """
    inputs, restarts = len(x), len(starts)
    target = x.repeat_interleave(restarts, 0)  # [N R, ...]
    z = starts.repeat(inputs, 1)  # [N R, latent]
    velocity, size = torch.zeros_like(z), x[0].numel()
    late = math.ceil(0.8 * iterations)
    for step in range(iterations):
        with torch.enable_grad(), torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            point = z.requires_grad_()
            made = make(point)
            loss = (made.float() - target).square().sum() / size
        (gradient,) = torch.autograd.grad(loss, point)
        velocity = MOMENTUM * velocity + gradient
        z = z.detach() - learning_rate * (0.1 if step >= late else 1.0) * velocity
    with torch.no_grad():
        distances = (make(z) - target).square().flatten(1).sum(1)
    return z.view(inputs, restarts, -1), distances.view(inputs, restarts)


class OntoRange:
    """Projects inputs onto a generator's range: what Defense-GAN's detector and its purifier share.

    Args:
        generator: a folder that `salus generator` wrote, or a generator; None: ``fit`` trains one.
        restarts: descents R for each input.
        iterations: steps L of each descent.
        learning_rate: of the descents, for values scaled to [0, 1]; the released code's.
        precision: ``bfloat16`` descends in mixed precision, for processors that have instructions for it.
        epochs: passes over the training samples, where ``fit`` trains the generator. The paper's quality takes
            hundreds: train it apart, by `salus generator`.
        width: of that generator, see :class:`salus.models.wgan.WGANGenerator`.
        seed: of the R starts, which are the same for every input, and of that training.

    Raises:
        BundleError: the folder holds no whole generator.
        OptionError: an option makes no sense.
    """

    def __init__(
        self,
        *,
        generator: Generator | Path | str | None = None,
        restarts: int = 10,
        iterations: int = 200,
        learning_rate: float = 10.0,
        precision: Literal["float32", "bfloat16"] = "float32",
        epochs: int = 20,
        width: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.restarts, self.iterations = restarts, iterations
        self.learning_rate, self.precision = learning_rate, precision
        self.epochs, self.width, self.seed = epochs, width, seed
        whole = {"restarts": restarts, "iterations": iterations, "epochs": epochs, "width": width, "seed": seed}
        for option, number in whole.items():
            least = 0 if option == "seed" else 1
            if type(number) is not int or number < least:
                raise OptionError(f"Defense-GAN: {option} must be a whole number from {least} up, not {number!r}.")
        if type(learning_rate) not in (int, float) or not 0 < learning_rate < math.inf:
            raise OptionError(f"Defense-GAN: learning_rate must be a number above 0, not {learning_rate!r}.")
        if precision not in ("float32", "bfloat16"):
            raise OptionError(f"Defense-GAN: precision must be 'float32' or 'bfloat16', not {precision!r}.")
        if not isinstance(generator, (Generator, str, Path)) and generator is not None:
            raise OptionError(
                f"Defense-GAN: generator must be a folder that `salus generator` wrote, not {generator!r}."
            )
        self.generator_ = Generator.load(generator) if isinstance(generator, (str, Path)) else generator
        self.trainings: Path | None = None  # see Detector and Purifier

    @property
    def generator(self) -> Generator:
        """The generator whose range is projected onto.

        Raises:
            CalibrationError: none was given, and none trained yet.
        """
        if self.generator_ is None:
            raise CalibrationError("Defense-GAN has no generator yet: call fit(classifier, x, y) first.")
        return self.generator_

    def find_generator(self, classifier: Classifier, x: Tensor) -> None:
        """Check the generator that was given, or train one on clean samples x ``[N, ...]``.

        Raises:
            ModelError: the generator makes other samples than the classifier takes, or training failed.
        """
        if self.generator_ is None:
            options = WGANOptions(epochs=self.epochs, width=self.width, precision=self.precision, seed=self.seed)
            folder = self.trainings
            if folder is not None:
                folder = folder / f"generator-{hashlib.sha256(repr(options).encode()).hexdigest()[:8]}"
            self.generator_, _ = train_generator(x, options, bounds=classifier.bounds, folder=folder, device=x.device)
        self.generator_.check_suits(x.shape[1:], classifier.bounds)

    @torch.no_grad()
    def project(self, x: Tensor) -> Projection:
        """Find the nearest samples that the generator can make, for x ``[N, ...]``, in batches that bound memory.

        The answer carries no gradients.
        """
        generator = self.generator.to(x.device)
        low, high = generator.bounds
        rows = torch.arange(self.restarts, device=x.device)
        starts = normal(self.seed, rows, (generator.latent,), stream=0) / math.sqrt(generator.latent)
        latents, distances = [], []
        for part in ((x - low) / (high - low)).split(max(1, ROWS.get(x.device.type, 512) // self.restarts)):
            z, distance = descend(
                generator.module,
                part,
                starts,
                iterations=self.iterations,
                learning_rate=self.learning_rate,
                precision=self.precision,
            )
            nearest = distance.nan_to_num(nan=torch.inf).argmin(1)  # [n], the first of equals; none that diverged
            latents.append(z[torch.arange(len(z), device=x.device), nearest])
            distances.append((high - low) ** 2 * distance)
        z = torch.cat(latents)
        return Projection(z, generator(z), torch.cat(distances))

    def made_with(self) -> dict[str, Any]:
        """Return the options, the generator as what rebuilds it beside its weights."""
        return {
            "generator": self.generator.settings(),
            "restarts": self.restarts,
            "iterations": self.iterations,
            "learning_rate": self.learning_rate,
            "precision": self.precision,
            "epochs": self.epochs,
            "width": self.width,
            "seed": self.seed,
        }

    def weights(self) -> dict[str, Tensor]:
        """Return the generator's weights, as ``generator|weight``."""
        return {f"generator|{name}": value for name, value in self.generator.tensors().items()}

    @staticmethod
    def options_of(made_with: Mapping[str, Any], weights: Mapping[str, Tensor]) -> dict[str, Any]:
        """Turn :meth:`made_with` and :meth:`weights` back into the constructor's options.

        Raises:
            BundleError: the generator cannot be rebuilt from them.
        """
        own = {name.partition("|")[2]: value for name, value in weights.items() if name.startswith("generator|")}
        return {**made_with, "generator": Generator.restore(made_with["generator"], own)}
