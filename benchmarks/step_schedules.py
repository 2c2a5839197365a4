"""Which lengths of steps make PGD strongest at its number of steps, in each norm: how its default was chosen.

Run: python benchmarks/step_schedules.py [--steps 10 40] [--samples 48] [--seeds 0 1 2] [--norms linf l2 l1] [--out F]

The models are small, trained here, plain and hardened, on data that docs/attacks.md is not about: 4,000 MNIST images,
scikit-learn's digits as a table, and made-up curves of three classes as signals. Samples and starts are the same for
every schedule; what differs is the length of each step. The measure is the share of the samples fooled, over three
radii together.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from salus.attacks import FGSM, LogitObjective, NormName
from salus.attacks.ball import ball
from salus.attacks.objective import frozen
from salus.attacks.search import Search
from salus.data import load

#: The length of a step in units of eps, given how much of the way is behind it, in [0, 1), and the number of steps.
SCHEDULES: dict[str, Callable[[float, int], float]] = {
    "madry, 2.5 / steps": lambda done, steps: 2.5 / steps,
    "eps / 4": lambda done, steps: 0.25,
    "eps / 10": lambda done, steps: 0.1,
    "cosine from 1": lambda done, steps: 0.5 * (1 + math.cos(math.pi * done)),
    "cosine from 2": lambda done, steps: 1 + math.cos(math.pi * done),
    "linear from 2": lambda done, steps: 2 * (1 - done),
    "geometric, 2 to 0.02": lambda done, steps: 2 * 0.01 ** (done * steps / max(steps - 1, 1)),
    "geometric, 1 to 0.005": lambda done, steps: 0.005 ** (done * steps / max(steps - 1, 1)),
}
#: Four radii of each norm for each kind of data, where networks like these fall from a few samples to nearly all.
RADII: dict[tuple[str, NormName], tuple[float, ...]] = {
    ("curves", "linf"): (0.01, 0.02, 0.04),
    ("curves", "l2"): (0.05, 0.1, 0.2),
    ("curves", "l1"): (0.3, 0.6, 1.2),
    ("digits", "linf"): (0.05, 0.1, 0.2),
    ("digits", "l2"): (0.3, 0.6, 1.0),
    ("digits", "l1"): (1.0, 2.0, 4.0),
    ("mnist", "linf"): (0.05, 0.1, 0.2),
    ("mnist", "l2"): (0.5, 1.0, 2.0),
    ("mnist", "l1"): (3.0, 6.0, 12.0),
}


class Bench(NamedTuple):
    """A trained network and samples that it has not seen."""

    data: str
    hardened: bool
    model: nn.Module
    x: Tensor
    y: Tensor


def benches(seed: int, samples: int) -> Iterator[Bench]:
    """Train a plain and a hardened network on each kind of data."""
    torch.manual_seed(seed)
    for data, (x, y), hard in (("curves", curves(), 0.03), ("digits", digits(), 0.1), ("mnist", mnist(), 0.15)):
        order = torch.randperm(len(x))
        x, y = x[order], y[order]
        for hardened in (False, True):
            model = network(tuple(x.shape[1:]), int(y.max()) + 1)
            train(model, x[samples:], y[samples:], hard if hardened else 0.0)
            print(data, hardened, seed, "right:", float((model(x[:samples]).argmax(1) == y[:samples]).float().mean()))
            yield Bench(data, hardened, model, x[:samples], y[:samples])


def mnist() -> tuple[Tensor, Tensor]:
    """Read 4,000 training images of MNIST ``[N, 1, 28, 28]``."""
    train = load("mnist").train
    return train.x[:4000].clone(), train.y[:4000].clone()


def digits() -> tuple[Tensor, Tensor]:
    """Return the digits as rows of a table ``[N, 64]``."""
    raw = load_digits()
    return torch.tensor(raw.data / 16, dtype=torch.float32), torch.tensor(raw.target)


def curves() -> tuple[Tensor, Tensor]:
    """Make noisy waves of three frequencies ``[N, 1, 64]``."""
    y = torch.arange(1200) % 3
    time = torch.linspace(0, 2 * math.pi, 64)
    clean = 0.5 + 0.15 * torch.sin(time * (2 + y[:, None]) + 6.3 * torch.rand(1200, 1))
    return (clean + 0.08 * torch.randn(1200, 64)).clamp(0, 1)[:, None], y


def network(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Make a small network for samples of this shape."""
    if len(shape) == 1:
        return nn.Sequential(nn.Linear(*shape, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, classes))
    conv: Any = nn.Conv1d if len(shape) == 2 else nn.Conv2d
    norm: Any = nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d
    body: list[nn.Module] = []
    for before, after in ((1, 8), (8, 16), (16, 32)):
        body += [conv(before, after, 5, stride=2, padding=2), norm(after), nn.ReLU()]
    width = 32 * math.prod(-(-side // 8) for side in shape[1:])
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(width, classes))


def train(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> None:
    """Train for six epochs, against single steps from random points where eps is not 0."""
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for epoch in range(6):
        for rows in torch.randperm(len(x)).split(64):
            inputs = x[rows]
            if eps:
                start = (inputs + eps * (2 * torch.rand_like(inputs) - 1)).clamp(0, 1)
                inputs = FGSM(eps=min(1.25 * eps, 1.0), seed=epoch).run(model, inputs, y[rows], start=start).x_adv
            model.train()
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(inputs), y[rows]).backward()
            optimiser.step()
    model.eval()


def fooled(bench: Bench, norm: NormName, eps: float, steps: int, seed: int) -> Tensor:
    """Climb by every schedule side by side; return the share of the samples that each has fooled ``[S]``."""
    many, n = len(SCHEDULES), len(bench.x)
    region = ball(norm, bench.x.repeat(many, *[1] * (bench.x.ndim - 1)), eps, (0.0, 1.0))
    samples = torch.arange(n).repeat(many)
    with frozen(bench.model):
        search = Search(LogitObjective(bench.model), region, bench.y.repeat(many), samples, early_stop=True)
        search.record(region.x)
        point = search.ball.random(seed, search.samples, 0)
        for step in range(steps):
            look = search.look(point)
            if len(search) == 0:
                break
            lengths = torch.tensor([eps * schedule(step / steps, steps) for schedule in SCHEDULES.values()])
            length = lengths[search.rows // n].reshape(-1, *[1] * (point.ndim - 1))
            point = search.ball.project(search.ball.ascend(look.of(point), look.gradient, length))
        search.record(point)
    return search.success.view(many, n).double().mean(1)


def main() -> None:
    """Measure, print the table, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 40])
    parser.add_argument("--samples", type=int, default=48)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--norms", nargs="+", default=["linf", "l2", "l1"])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    records = []
    for seed in given.seeds:
        for bench in benches(seed, given.samples):
            for norm in given.norms:
                for steps in given.steps:
                    shares = [fooled(bench, norm, eps, steps, seed) for eps in RADII[bench.data, norm]]
                    mean = dict(zip(SCHEDULES, torch.stack(shares).mean(0).tolist(), strict=True))
                    facts = {"data": bench.data, "hardened": bench.hardened, "seed": seed, "norm": norm, "steps": steps}
                    records.append({**facts, "fooled": mean})
                    print(*facts.values(), *(f"{100 * share:.1f}" for share in mean.values()), flush=True)
    for norm in given.norms:
        print(f"\n{norm:<24}" + "".join(f"{steps:>16} steps" for steps in given.steps))
        for schedule in SCHEDULES:
            cells = []
            for steps in given.steps:
                rows = [row["fooled"] for row in records if (row["norm"], row["steps"]) == (norm, steps)]
                short = torch.tensor([row[schedule] - max(row.values()) for row in rows]) * 100
                cells.append(f"{100 * sum(row[schedule] for row in rows) / len(rows):11.1f} ({short.mean():5.1f})   ")
            print(f"{schedule:<24}" + "".join(f"{cell:>22}" for cell in cells))
    print("\nper cent fooled (points behind the best schedule of each model and seed, on average)")
    if given.out is not None:
        text = json.dumps({"command": given.__dict__ | {"out": str(given.out)}, "records": records}, indent=1)
        given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
