"""Attacks by queries beside ART's and torchattacks': distance or success at equal queries, and time over bare passes.

Run: PYTHONPATH=src:benchmarks python benchmarks/query_attacks.py [--data beats|fashion] [--samples N] [--out FILE]

The network and the samples are those of attacks.py. Of each decision-based attack the median L2 is told at 500, 1,000
and 2,500 queries, beside the distance that an attack with gradients finds: no attack by queries can come nearer, so
it says what a bar in distance can ask for. ART's attacks run as long as they do, and Salus's then get as many queries.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from attack_peers import Counted
from attack_peers.task import InFloat32, as_images
from attack_runs import quiet
from bench_data import bench, write
from torch import Tensor, nn

from salus.attacks import CGBA, NES, Attack, Boundary, CarliniWagnerL2, HopSkipJump, Square

STORED = Path(__file__).with_suffix(".json")
QUERIES = (500, 1000, 2500)
#: HopSkipJump as it was before its probes ran through bases.
BEFORE = {"directions": "chen-2020"}


def main() -> None:
    """Run all, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", choices=("beats", "fashion"), default="beats")
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--out", type=Path, default=STORED)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = bench(options.data)
    model, x, y = found.classifier, found.x[: options.samples].clone(), found.y[: options.samples].clone()
    bare = bare_pass(model, x)
    rows: list[dict[str, Any]] = [row("CarliniWagnerL2", CarliniWagnerL2(), model, x, y, bare)]
    for queries in QUERIES:
        for name, attack in {
            "CGBA": CGBA(queries=queries),
            "HopSkipJump": HopSkipJump(queries=queries),
            "HopSkipJump, chen-2020 probes": HopSkipJump(queries=queries, **BEFORE),
            "Boundary": Boundary(queries=queries),
        }.items():
            rows.append(row(name, attack, model, x, y, bare))
    eps = 0.005 if options.data == "beats" else 8 / 255
    rows += [row(type(a).__name__, a, model, x, y, bare) for a in (Square(eps=eps, queries=1000), NES(eps=eps))]
    few = max(options.samples // 4, 1)
    for name, theirs in peers(eps, found.classifier.classes).items():
        rows.append(row(name, theirs, model, x[:few], y[:few], bare))
        spent = int(rows[-1]["queries"])
        for ours in {"ART HopSkipJump": (HopSkipJump, CGBA), "ART Boundary": (Boundary, CGBA)}.get(name, ()):
            title = f"{ours.__name__} with the queries of {name}"
            rows.append(row(title, ours(queries=spent), model, x[:few], y[:few], bare))
    write(options.out, {"data": options.data, "samples": options.samples, "bare_us": bare * 1e6, "rows": rows})


def row(
    name: str, attack: Attack | Callable[..., Tensor], model: nn.Module, x: Tensor, y: Tensor, bare: float
) -> dict[str, Any]:
    """Attack once, in processor seconds; print and return what it reached."""
    counted = Counted(InFloat32(model)).eval()
    torch.manual_seed(0)
    with quiet():
        seconds = time.process_time()
        x_adv = attack(counted, x, y)
        seconds = time.process_time() - seconds
    distance = (x_adv.double() - x.double()).flatten(1).norm(dim=1)
    with torch.no_grad():
        won = model(x_adv.float()).argmax(1) != y
    distance = torch.where(won, distance, torch.inf)
    queries = counted.queries / len(x)
    result = {
        "attack": name,
        "samples": len(x),
        "success": float(f"{float(won.float().mean()):.4g}"),
        "median_l2": float(f"{float(distance.median()):.4g}"),
        "queries": round(queries),
        "ms": float(f"{seconds / len(x) * 1e3:.4g}"),
        "of_bare": float(f"{seconds / len(x) / (queries * bare):.3g}"),
    }
    print(result, flush=True)
    return result


def bare_pass(model: nn.Module, x: Tensor, rounds: int = 20) -> float:
    """Time a forward pass, processor seconds a sample: what no query can avoid."""
    with torch.no_grad():
        model(x)
        seconds = time.process_time()
        for _ in range(rounds):
            model(x)
    return (time.process_time() - seconds) / rounds / len(x)


def peers(eps: float, classes: Any) -> dict[str, Callable[..., Tensor]]:
    """Make the peers' attacks, as functions of model, x and y."""
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torchattacks
        from art.attacks.evasion import BoundaryAttack
        from art.attacks.evasion import HopSkipJump as Hop
        from art.estimators.classification import PyTorchClassifier

    def art(make: Callable[[Any], Any]) -> Callable[..., Tensor]:
        def attack(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
            wrapped = PyTorchClassifier(
                model, nn.CrossEntropyLoss(), tuple(x.shape[1:]), len(classes), clip_values=(0, 1)
            )
            return torch.from_numpy(make(wrapped).generate(x.numpy(), y.numpy())).float()

        return attack

    def squares(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        found: Tensor = torchattacks.Square(model, eps=eps, n_queries=1000)(x, y)
        return found

    def square(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return (as_images(squares) if x.ndim == 3 else squares)(model, x, y)

    return {
        "ART HopSkipJump": art(lambda wrapped: Hop(wrapped, max_iter=10, verbose=False)),
        "ART Boundary": art(lambda wrapped: BoundaryAttack(wrapped, targeted=False, max_iter=100, verbose=False)),
        "torchattacks Square": square,
    }


if __name__ == "__main__":
    main()
