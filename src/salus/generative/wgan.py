"""Training of a generator as a Wasserstein GAN with gradient penalty (Gulrajani et al., NeurIPS 2017, Algorithm 1)."""

from __future__ import annotations

import copy
import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from salus import atomic
from salus.errors import DataError, ModelError
from salus.generative.generator import SampleGenerator
from salus.models.wgan import WGANCritic, WGANGenerator
from salus.options import check_fields
from salus.progress import Advance, progress
from salus.training import Log, seeded
from salus.training.checkpoint import Checkpoint, optimizer_tensors, restore_optimizer, weights, weights_digest
from salus.training.precision import PrecisionOption, mixed

_Decay = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, kw_only=True)
class WGANOptions:
    """How the generator and its critic are built and trained; as Gulrajani et al. and Defense-GAN's released code.

    Attributes:
        epochs: passes over the samples; Defense-GAN's 200,000 generator steps are 1,000 passes over MNIST's 50,000.
        batch_size: samples a step; the released code's 50.
        critic_steps: steps of the critic to one of the generator.
        penalty: weight of the gradient penalty, lambda.
        learning_rate: of Adam, for both networks.
        betas: of Adam; Algorithm 1's (the released code has 0.5 and 0.9).
        latent: size of a latent.
        width: see :class:`salus.models.wgan.WGANGenerator`.
        precision: see :class:`salus.training.TrainingOptions`.
        seed: of every draw.
    """

    epochs: Annotated[int, Field(ge=1, description="passes over the samples")] = 100
    batch_size: Annotated[int, Field(ge=1, description="samples a step")] = 50
    critic_steps: Annotated[int, Field(ge=1, description="steps of the critic to one of the generator")] = 5
    penalty: Annotated[float, Field(ge=0, description="weight of the gradient penalty")] = 10.0
    learning_rate: Annotated[float, Field(gt=0, description="Adam's, for both networks")] = 1e-4
    betas: Annotated[tuple[_Decay, _Decay], Field(description="Adam's decay of both averages")] = (0.0, 0.9)
    latent: Annotated[int, Field(ge=1, description="size of a latent")] = 128
    width: Annotated[int, Field(ge=1, description="width of both networks")] = 64
    precision: PrecisionOption = "float32"
    seed: Annotated[int, Field(ge=0, description="decides every random draw")] = 0

    def __post_init__(self) -> None:
        check_fields(self, "WGAN")


@dataclass(frozen=True)
class WGANEpoch:
    """What one pass over the samples came to, in means."""

    epoch: int  # from 1
    distance: float  # the critic's estimate of Wasserstein's distance, D(x) - D(G(z)); it falls as samples improve
    penalty: float  # (|gradient| - 1)^2, before its weight
    seconds: float


@dataclass
class WGANHistory:
    """All epochs, and what was said along the way."""

    epochs: list[WGANEpoch] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def train_generator(
    x: Tensor,
    options: WGANOptions | None = None,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    facts: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    device: torch.device | str = "cpu",
    log: Log | None = None,
    on_epoch: Callable[[WGANEpoch], None] | None = None,
) -> tuple[SampleGenerator, WGANHistory]:
    """Train a generator on samples; labels are not used.

    Killed at any moment and started again with the same arguments, it ends with the weights it would have had.
    Global random state is neither read nor changed.

    Args:
        x: clean samples ``[N, ...]`` inside the bounds.
        options: how to train.
        bounds: lowest and highest value of x.
        facts: about the samples, to be kept with the generator.
        folder: where checkpoint and generator are kept, and samples drawn, after every epoch.
        device: where to train; the generator comes back on the CPU.
        log: receives remarks, and one line an epoch.
        on_epoch: called after every epoch, once its checkpoint is written.

    Raises:
        DataError: there are no samples, or they are no tables, signals or images.
        ModelError: a loss became NaN.
    """
    options = options or WGANOptions()
    if not (len(x) and 2 <= x.ndim <= 4):
        raise DataError(f"A generator is trained on [N, F], [N, C, L] or [N, C, H, W], N above 0, not {list(x.shape)}.")
    say = log or (lambda line: None)
    game = _Game(x, options, bounds, device)
    history = WGANHistory()
    store = None
    if folder is not None:
        store = Checkpoint(Path(folder) / "wgan.checkpoint", game.key())
        history = _resume(store, game)
    for remark in history.remarks:
        say(remark)
    with progress("WGAN", options.epochs, done=len(history.epochs)) as advance:
        for epoch in range(len(history.epochs) + 1, options.epochs + 1):
            began = time.monotonic()
            distance, penalty = game.play(epoch, advance)
            if not math.isfinite(distance + penalty):
                raise ModelError(
                    f"The WGAN failed in epoch {epoch}: its loss is not a number. Lower the learning rate "
                    f"({options.learning_rate:g})."
                )
            result = WGANEpoch(epoch, distance, penalty, time.monotonic() - began)
            history.epochs.append(result)
            if store is not None and folder is not None:
                store.save(game.parts(), [asdict(one) for one in history.epochs])
                game.result(bounds, history.epochs, facts).save(folder)
                game.show(Path(folder))
            advance(0, note=f"distance {distance:.3f}")
            means = f"distance {distance:.3f}, penalty {penalty:.4f}"
            say(f"epoch {epoch}/{options.epochs}: {means}, {result.seconds:.0f} s")
            if on_epoch is not None:
                on_epoch(result)
    generator = game.result(bounds, history.epochs, facts)
    generator.folder = None if folder is None else Path(folder)
    return generator, history


def _resume(store: Checkpoint, game: _Game) -> WGANHistory:
    """Continue from the file, if it is whole and of this training."""
    snapshot = store.load()
    if snapshot is None or isinstance(snapshot, str):
        return WGANHistory(remarks=[] if snapshot is None else [snapshot])
    game.both.load_state_dict(snapshot.parts["weights"])
    for name, optimizer in game.optimizers.items():
        restore_optimizer(optimizer, snapshot.parts.get(name, {}))
    epochs = [WGANEpoch(**epoch) for epoch in snapshot.facts]
    return WGANHistory(epochs, [f"Training continues after epoch {len(epochs)}, from {store.path}."])


class _Game:
    """Both networks, their optimizers, and the samples they see."""

    def __init__(
        self, x: Tensor, options: WGANOptions, bounds: tuple[float, float], device: torch.device | str
    ) -> None:
        self.options, self.device = options, device
        low, high = bounds
        self.x = x if bounds == (0.0, 1.0) else (x - low) / (high - low)
        with seeded(options.seed, 0):
            self.generator = WGANGenerator(x.shape[1:], options.latent, options.width).to(device)
            self.critic = WGANCritic(x.shape[1:], options.width).to(device)
        self.both = nn.ModuleDict({"generator": self.generator, "critic": self.critic})
        self.optimizers = {
            name: torch.optim.Adam(network.parameters(), options.learning_rate, options.betas)
            for name, network in self.both.items()
        }

    def play(self, epoch: int, advance: Advance) -> tuple[float, float]:
        """Let the critic see every sample once; return the mean distance and penalty."""
        options, total = self.options, torch.zeros(2, device=self.device)
        steps = -(-len(self.x) // options.batch_size)
        with seeded(options.seed, epoch, device=self.device):
            for number, rows in enumerate(torch.randperm(len(self.x)).split(options.batch_size)):
                real = self.x[rows.to(self.x.device)].to(self.device)
                total += len(rows) * self.teach_critic(real)
                if ((epoch - 1) * steps + number + 1) % options.critic_steps == 0:
                    self.teach_generator(len(rows))
                advance(1 / steps)
        distance, penalty = (total / len(self.x)).tolist()
        return distance, penalty

    def teach_critic(self, real: Tensor) -> Tensor:
        """Take a step of the critic; return the distance and the penalty before it, ``[2]``."""
        with torch.no_grad(), self._precision():
            fake = self.generator(self._latents(len(real))).float()
        share = torch.rand(len(real), *(1,) * (real.ndim - 1), device=real.device)
        between = (share * real + (1 - share) * fake).requires_grad_()  # x-hat of Algorithm 1
        with self._precision():
            on_real, on_fake = self.critic(torch.cat([real, fake])).float().chunk(2)
            on_between = self.critic(between).float()
        (slopes,) = torch.autograd.grad(on_between.sum(), between, create_graph=True)
        penalty = (slopes.flatten(1).norm(dim=1) - 1).square().mean()
        distance = (on_real - on_fake).mean()
        self._step("critic", self.options.penalty * penalty - distance)
        return torch.stack([distance, penalty]).detach()

    def teach_generator(self, count: int) -> None:
        """Take a step of the generator, through the critic, whose weights are held."""
        self.critic.requires_grad_(False)
        with self._precision():
            scores = self.critic(self.generator(self._latents(count))).float()
        self._step("generator", -scores.mean())
        self.critic.requires_grad_(True)

    def _step(self, name: str, loss: Tensor) -> None:
        optimizer = self.optimizers[name]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def _latents(self, count: int) -> Tensor:
        return torch.randn(count, self.options.latent, device=self.device)

    def _precision(self) -> torch.autocast:
        return mixed(self.options.precision, self.device)

    def result(
        self, bounds: tuple[float, float], epochs: Sequence[WGANEpoch], facts: Mapping[str, Any] | None
    ) -> SampleGenerator:
        """Copy the generator as it is now, on the CPU."""
        options = {**asdict(self.options), "epochs": len(epochs), "betas": list(self.options.betas)}
        details = {"options": options, "samples": len(self.x), "distance": epochs[-1].distance, **(facts or {})}
        return SampleGenerator(
            copy.deepcopy(self.generator).cpu(), width=self.options.width, bounds=bounds, facts=details
        )

    def parts(self) -> dict[str, dict[str, Tensor]]:
        """Name all that the next epoch depends on."""
        optimizers = {name: optimizer_tensors(optimizer) for name, optimizer in self.optimizers.items()}
        return {"weights": weights(self.both), **optimizers}

    def key(self) -> str:
        """Hash all that decides the training but its length: a longer one goes on where a shorter one ended."""
        decides = {name: value for name, value in asdict(self.options).items() if name != "epochs"}
        samples = hashlib.sha256(self.x.cpu().contiguous().numpy().tobytes()).hexdigest()
        parts = (decides, tuple(self.x.shape), samples, weights_digest(self.both))
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    @torch.no_grad()
    def show(self, folder: Path) -> None:
        """Draw what the generator makes of the same latents as ever; tables have no picture."""
        from salus.figures.training import grid_picture

        if self.x.ndim > 2:
            z = torch.randn(64, self.options.latent, generator=torch.Generator().manual_seed(0)).to(self.device)
            atomic.write_bytes(folder / "samples.png", grid_picture(self.generator(z).cpu().numpy()))
