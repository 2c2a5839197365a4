"""Defense-GAN: all inputs and restarts in one batch, against one image at a time and against I-defender.

The network is the released code's for MNIST with weights at random, which take as long as trained ones. Steps are few
and counted up to the paper's 200: each costs the same. All is processor time of one thread, in which other programs on
the machine do not count.

"One image at a time" can be read in two ways: its restarts one after the other, or together. Beside both stands what
the processor allows: the multiplications that a descent cannot do without, at the speed of its fastest convolution.

Run: python benchmarks/defense_gan.py  (two minutes)
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d

from salus.classifier import Classifier
from salus.detectors import IDefender
from salus.generative.projection import MOMENTUM, descend
from salus.models import build_model
from salus.models.wgan import WGANGenerator

IMAGES, RESTARTS, STEPS, PAPER_STEPS, ROUNDS = 50, 10, 25, 200, 3
BAR = 20.0
Precision = Literal["float32", "bfloat16"]


class Plain(nn.Module):
    """The same network as it is usually written: layers one after another, weights with gradients."""

    def __init__(self, generator: WGANGenerator) -> None:
        super().__init__()
        self.seed, self.seed_shape = generator.seed, generator.seed_shape
        layers = [dict(layer.named_parameters()) for layer in generator.doublings]
        self.weights = nn.ParameterList(layer["weight"].detach().contiguous() for layer in layers)
        self.biases = nn.ParameterList(layer["bias"].detach() for layer in layers)

    def forward(self, z: Tensor) -> Tensor:
        """Make images ``[M, 1, 28, 28]``."""
        states: Tensor = self.seed(z).unflatten(1, self.seed_shape)
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            states = conv_transpose2d(states.relu(), weight, bias, stride=2, padding=2, output_padding=1)
            states = states[..., :7, :7] if number == 0 else states
        return states.sigmoid()


def one_at_a_time(network: nn.Module, x: Tensor, starts: Tensor, rows: int) -> Tensor:
    """Descend as it is usually written, from so many starts of one image at a time; distances ``[N, R]``."""
    found = []
    for image in x:
        for some in starts.split(rows):
            z = some.clone().requires_grad_()
            optimizer = torch.optim.SGD([z], lr=10.0, momentum=MOMENTUM)
            for step in range(STEPS):
                optimizer.param_groups[0]["lr"] = 1.0 if step >= 0.8 * STEPS else 10.0
                optimizer.zero_grad()
                (network(z) - image).square().mean((1, 2, 3)).sum().backward()
                optimizer.step()
            found.append((network(z) - image).square().sum((1, 2, 3)).detach())
    return torch.cat(found).view(len(x), len(starts))


def main() -> None:
    """Print the times of one image, their ratios, and how near they are to what can be."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    generator, x = WGANGenerator((1, 28, 28)), torch.rand(IMAGES, 1, 28, 28)
    starts = torch.randn(RESTARTS, generator.latent) / generator.latent**0.5
    network = Plain(generator)
    frozen = WGANGenerator((1, 28, 28)).requires_grad_(False).eval()
    frozen.load_state_dict(generator.state_dict())

    def salus(images: int, precision: Precision) -> Tensor:
        return descend(frozen, x[:images], starts, iterations=STEPS, learning_rate=10.0, precision=precision)[1]

    ways: dict[str, tuple[int, Callable[[], Tensor]]] = {
        "one image and one restart at a time": (1, lambda: one_at_a_time(network, x[:1], starts, 1)),
        "one image at a time, its restarts together": (1, lambda: one_at_a_time(network, x[:1], starts, RESTARTS)),
        "Salus, one image at a time": (1, lambda: salus(1, "float32")),
        "Salus": (IMAGES, lambda: salus(IMAGES, "float32")),
        "Salus, precision=bfloat16": (IMAGES, lambda: salus(IMAGES, "bfloat16")),
        "the fastest convolution": (1, convolution(torch.float32)),
        "the fastest convolution, bfloat16": (1, convolution(torch.bfloat16)),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    answers = {}
    for _ in range(ROUNDS + 1):  # in turn, so that a drift of the machine hits all; the first round warms up
        for name, (images, way) in ways.items():
            began = time.process_time()
            answers[name] = way()
            times[name].append((time.process_time() - began) / images)
    seconds = {name: statistics.median(values[1:]) for name, values in times.items()}
    single, restarts, own, batch, mixed, *peaks = seconds.values()
    names = list(ways)
    agree = max(float((answers[name][:1] / answers[names[0]] - 1).abs().max()) for name in names[1:4])

    print(f"torch {torch.__version__}, 1 thread, {platform.processor() or platform.machine()}")
    print(f"medians of {ROUNDS} rounds of {STEPS} steps, R = {RESTARTS}; distances agree to {agree:.0e}")
    for name in names[:5]:
        paper = seconds[name] * PAPER_STEPS / STEPS
        print(f"{name:45s} {paper:7.3f} s an image at L = {PAPER_STEPS}, 1 / {single / seconds[name]:.1f}")
    best = min(batch, mixed)
    print(f"ratio to one image and restart at a time {single / best:.1f} (bar {BAR:g}), to one image at a time "
          f"{restarts / best:.1f}, to one image at a time by the same code {own / best:.1f}")  # fmt: skip
    work = 2 * multiplications(frozen) * RESTARTS * (2 * STEPS + 1)  # forwards and backwards, and the last distance
    for name, spent, peak in zip(("float32", "bfloat16"), (batch, mixed), peaks, strict=True):
        floor = work * peak / CONVOLUTION
        print(f"{name}: {work / spent / 1e9:.0f} GFLOP/s, {floor / spent:.0%} of the fastest convolution's "
              f"{CONVOLUTION / peak / 1e9:.0f}; at all of it the ratios would be {single / floor:.1f} and "
              f"{restarts / floor:.1f}")  # fmt: skip
    score = idefender_seconds(x)
    print(
        f"I-defender's score: {1e6 * score:.1f} us an image, 1 / {best * PAPER_STEPS / STEPS / score:.0f} of the best"
    )
    sys.exit(single / best < BAR)


def multiplications(generator: WGANGenerator) -> int:
    """Count what a forward pass of one latent multiplies towards kept pixels; a backward pass multiplies as much."""
    total, side = generator.seed.weight.numel(), generator.seed_shape[1]
    for layer, kept in zip(generator.doublings, (7, 14, 28), strict=True):
        befores, afters, kernel, _ = layer.get_parameter("weight").shape
        pairs = sum(0 <= 2 * place - 2 + tap < kept for place in range(side) for tap in range(kernel))  # along an axis
        total += befores * afters * pairs**2
        side = kept
    return total


#: Floating-point operations of the convolution below.
CONVOLUTION = 2 * 32 * 16 * 16 * 256 * 256 * 9


def convolution(kind: torch.dtype) -> Callable[[], Tensor]:
    """Return a convolution of a form that suits the processor well: as fast as it ever computes."""
    layout = torch.channels_last
    states = torch.ones(32, 256, 18, 18, dtype=kind).contiguous(memory_format=layout)
    weight = torch.ones(256, 256, 3, 3, dtype=kind).contiguous(memory_format=layout)
    return lambda: conv2d(states, weight)


def idefender_seconds(x: Tensor) -> float:
    """Time I-defender's score of an image beside the classifier's forward pass."""
    classifier = Classifier(build_model("small-cnn", (1, 28, 28), 10, {}), list("0123456789"), shape=(1, 28, 28))
    train, y = torch.rand(500, 1, 28, 28), torch.arange(500) % 10
    detector = IDefender(components=1, layers=("logits",)).fit(classifier, train, y)
    with torch.no_grad():
        states = classifier.states(x, detector.layers)
        times = []
        for _ in range(50):
            began = time.process_time()
            detector.class_scores(states)
            times.append(time.process_time() - began)
    return statistics.median(times) / len(x)


if __name__ == "__main__":
    main()
