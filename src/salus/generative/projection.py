"""Projection onto a generator's range: the sample that a generator can make which is nearest to an input.

Defense-GAN (Samangouei et al., ICLR 2018, Section 3): R latents descend the squared distance ``||G(z) - x||^2`` for L
steps each, and the nearest of the R is kept.
"""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from salus.attacks.draws import normal
from salus.classifier import Classifier
from salus.errors import CalibrationError
from salus.generative.generator import SampleGenerator
from salus.generative.wgan import WGANOptions, train_generator
from salus.options import Words, checked
from salus.training.precision import Precision, mixed

#: Latents that descend together: enough to keep the processor busy, few enough for its memory.
ROWS = {"cpu": 512, "cuda": 4096}

MOMENTUM = 0.7

#: What the rate is multiplied by in the last fifth of a descent.
LATE = 0.1


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
    late: float = LATE,
    precision: Precision = "float32",
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
        late: what it is multiplied by in the last fifth; 1 as the released code runs.
        precision: ``bfloat16`` descends in mixed precision; the distances are computed in float32 all the same.

    Returns:
        Latents ``[N, R, latent]`` and squared L2 distances ``[N, R]``.
    """
    inputs, restarts = len(x), len(starts)
    target = x.repeat_interleave(restarts, 0)  # [N R, ...]
    path = _path(make, target, starts.repeat(inputs, 1), _rates(iterations, learning_rate, late), precision)
    (z,) = deque(path, maxlen=1)  # [N R, latent]
    with torch.no_grad():
        distances = (make(z) - target).square().flatten(1).sum(1)
    return z.view(inputs, restarts, -1), distances.view(inputs, restarts)


def pulled_back(
    make: Callable[[Tensor], Tensor],
    x: Tensor,
    starts: Tensor,
    slope: Tensor,
    *,
    iterations: int,
    learning_rate: float,
    precision: Precision = "float32",
) -> Tensor:
    """Carry a gradient at what a descent ends in back to its inputs, through every step.

    The steps are a computation like any other, so that nothing hides its gradient. Only the latents on the way are
    kept, and each step is made again on the way back: memory does not grow with the generator times the steps.

    Args:
        make: see :func:`descend`.
        x: inputs ``[N, ...]``.
        starts: latents ``[N, latent]``, one for each input.
        slope: the gradient at ``make(z)``, z the end of each descent, ``[N, ...]``.
        iterations: see :func:`descend`.
        learning_rate: see :func:`descend`.
        precision: of the way forth; the way back is computed in float32.

    Returns:
        The gradient at x ``[N, ...]``; not finite where a descent diverged, which attacks count.
    """
    rates, size = _rates(iterations, learning_rate), x[0].numel()
    *path, end = _path(make, x, starts, rates, precision)
    with torch.enable_grad():
        point = end.requires_grad_()
        (to_z,) = torch.autograd.grad(make(point), point, slope)
    to_x, to_velocity = torch.zeros_like(x), torch.zeros_like(to_z)
    for z, rate in zip(reversed(path), reversed(rates), strict=True):
        to_velocity = MOMENTUM * to_velocity - rate * to_z
        with torch.enable_grad():
            point, target = z.requires_grad_(), x.detach().requires_grad_()
            loss = (make(point) - target).square().sum() / size
            (gradient,) = torch.autograd.grad(loss, point, create_graph=True)
        by_z, by_x = torch.autograd.grad(gradient, (point, target), to_velocity)
        to_z, to_x = to_z + by_z, to_x + by_x
    return to_x


def _rates(iterations: int, learning_rate: float, late: float = LATE) -> list[float]:
    begins = math.ceil(0.8 * iterations)
    return [learning_rate * (late if step >= begins else 1.0) for step in range(iterations)]


def _path(
    make: Callable[[Tensor], Tensor],
    target: Tensor,
    z: Tensor,
    rates: Sequence[float],
    precision: Precision,
) -> Iterator[Tensor]:
    """Yield the latents ``[M, latent]`` from the start to the end of the descents towards targets ``[M, ...]``."""
    velocity, size = torch.zeros_like(z), target[0].numel()
    for rate in rates:
        yield z
        with torch.enable_grad(), mixed(precision, z.device):
            point = z.detach().requires_grad_()
            loss = (make(point).float() - target).square().sum() / size
        (gradient,) = torch.autograd.grad(loss, point)
        velocity = MOMENTUM * velocity + gradient
        z = z.detach() - rate * velocity
    yield z


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

    title: ClassVar[str] = "Defense-GAN"

    @checked
    def __init__(
        self,
        *,
        generator: Annotated[
            SampleGenerator | Path | str | None,
            Words("a folder of `salus generator`"),
            Field(description="a trained generator; without it the defence trains one"),
        ] = None,
        restarts: Annotated[int, Field(ge=1, description="descents for each input")] = 10,
        iterations: Annotated[int, Field(ge=1, description="steps of each descent")] = 200,
        learning_rate: Annotated[
            int | float,  # a whole number stays one: a saved guard's fingerprint is made of it
            Words("a number above 0"),
            Field(gt=0, description="rate of the descents, for values from 0 to 1"),
        ] = 10.0,
        precision: Annotated[
            Precision, Field(description="bfloat16 descends in mixed precision; auto where the device suits it")
        ] = "float32",
        epochs: Annotated[int, Field(ge=1, description="passes over the samples in training a generator")] = 20,
        width: Annotated[int, Field(ge=1, description="width of the generator that is trained")] = 64,
        seed: Annotated[int, Field(ge=0, description="decides the descents' starts, and the training")] = 0,
    ) -> None:
        super().__init__()
        self.restarts, self.iterations = restarts, iterations
        self.learning_rate, self.precision = learning_rate, precision
        self.epochs, self.width, self.seed = epochs, width, seed
        self.generator_ = SampleGenerator.load(generator) if isinstance(generator, (str, Path)) else generator
        self.trainings: Path | None = None  # see Detector and Purifier

    @property
    def generator(self) -> SampleGenerator:
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
        generator, starts = self.generator.to(x.device), self._starts(x.device)
        low, high = generator.bounds
        latents, distances = [], []
        for part in ((x - low) / (high - low)).split(self._rows(x)):
            z, distance = descend(
                generator.module,
                part,
                starts,
                iterations=self.iterations,
                learning_rate=self.learning_rate,
                precision=self.precision,
            )
            latents.append(z[torch.arange(len(z), device=x.device), _winners(distance)])
            distances.append((high - low) ** 2 * distance)
        z = torch.cat(latents)
        return Projection(z, generator(z), torch.cat(distances))

    def nearest(self, x: Tensor) -> Tensor:
        """Find the nearest samples that the generator can make, ``[N, ...]``; differentiable, see :func:`pulled_back`.

        Only the descent that came nearest counts: which one that is changes with x, but not gradually.
        """
        points: Tensor = _Nearest.apply(x, self)  # type: ignore[no-untyped-call]
        return points

    def back_to(self, x: Tensor, distances: Tensor, slope: Tensor) -> Tensor:
        """Carry a gradient at what :meth:`project` finds for x back to x, both ``[N, ...]``."""
        generator, starts = self.generator.to(x.device), self._starts(x.device)[_winners(distances)]  # [N, latent]
        low, high = generator.bounds
        parts = zip(*(each.split(self._rows(x)) for each in ((x - low) / (high - low), starts, slope)), strict=True)
        gradients = [
            pulled_back(
                generator.module,
                *part,
                iterations=self.iterations,
                learning_rate=self.learning_rate,
                precision=self.precision,
            )
            for part in parts
        ]
        return torch.cat(gradients)

    def _starts(self, device: torch.device) -> Tensor:
        latent = self.generator.latent
        return normal(self.seed, torch.arange(self.restarts, device=device), (latent,), stream=0) / math.sqrt(latent)

    def _rows(self, x: Tensor) -> int:
        """Tell how many inputs descend together."""
        return max(1, ROWS.get(x.device.type, 512) // self.restarts)

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
        tensors = {name.partition("|")[2]: value for name, value in weights.items() if name.startswith("generator|")}
        return {**made_with, "generator": SampleGenerator.restore(made_with["generator"], tensors)}


def _winners(distances: Tensor) -> Tensor:
    """Choose a descent for each input, ``[N]`` of ``[N, R]``: the first of equals, none that diverged."""
    return distances.nan_to_num(nan=torch.inf).argmin(1)


class _Nearest(torch.autograd.Function):
    """The projection, and on the way back the descent that came nearest, step by step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, onto: OntoRange) -> Tensor:
        projection = onto.project(x)
        ctx.onto = onto
        ctx.save_for_backward(x, projection.distances)
        return projection.x

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        return ctx.onto.back_to(*ctx.saved_tensors, *slopes), None
