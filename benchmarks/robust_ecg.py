"""Judge a hardened heartbeat classifier by the attackers who know it: the numbers of docs/ecg.md.

    python benchmarks/robust_ecg.py runs/robust-beats --out runs/robust-beats-judged

Each chunk of beats is stored as it is done, so a run that was stopped goes on; ``--shard 0/2`` and ``--shard 1/2``
share the work between two processes. Attacks are computed on a copy of the network whose batch normalisation is
folded into its convolutions (the same function, half as many passes over memory), and where no gradient is asked for
compiled for pieces that fit the cache; they are judged on the network itself.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from salus.atomic import write_bytes, write_json
from salus.attacks import PGD, Attack, AutoAttack
from salus.classifier import Classifier
from salus.data import Dataset, load
from salus.metrics import ec57_under_attack, macro_f1, per_class, proportion

EPS = 0.01
CURVE = (0.005, 0.01, 0.02, 0.03, 0.05)
NATURAL = 2000  # beats drawn at natural prevalence for the curve and for AutoAttack
PEER = 256  # of which somebody else's AutoAttack gets so many
CHUNK = 512
PIECE = 64  # beats whose activations fit the cache of one core


def folded(module: nn.Module) -> nn.Module:
    """Copy a network with every batch normalisation folded into the convolution before it."""
    made = copy.deepcopy(module).eval().requires_grad_(False)
    for part in made.modules():
        if isinstance(part, nn.Sequential):
            for place in range(len(part) - 1):
                conv, norm = part[place], part[place + 1]
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    part[place], part[place + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return made


class Pieces(nn.Module):
    """A network that answers piece by piece where no gradient is asked for, compiled: 1.6 times as fast on a CPU."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.compiled: Any = torch.compile(network, dynamic=False, options={"freezing": True})

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() or len(x) < PIECE:
            made: Tensor = self.network(x)
            return made
        pieces = x.split(PIECE)
        return torch.cat([self.compiled(piece) if len(piece) == PIECE else self.network(piece) for piece in pieces])


def peer(network: nn.Module, x: Tensor, y: Tensor, seed: int) -> Tensor:
    """Run pyautoattack's APGD-CE, targeted APGD and Square, on beats shown to it as images one pixel high.

    It knows images and ten classes alone, so classes that never win are added; its FAB breaks on those.
    """
    from pyautoattack import AutoAttack as Theirs

    class Seen(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            logits = network(images.squeeze(2))
            return torch.cat([logits, torch.full((len(logits), 10 - logits.shape[1]), -100.0)], 1)

    theirs = Theirs(
        Seen().eval(), norm="Linf", eps=EPS, attacks=["apgd-ce", "apgd-t", "square"], version="custom", seed=seed
    )
    theirs.apgd.n_restarts = 1
    made: Tensor = theirs.run_standard_evaluation(x.unsqueeze(2), y)[0]
    return made.squeeze(2)


def main() -> None:
    """Do the parts that are asked for, then gather what is stored."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", default="pgd,curve,autoattack,peer,autoattack-rest")
    parser.add_argument("--shard", default="0/1")
    parser.add_argument("--pgd-beats", type=int, help="Beats for PGD, at natural prevalence.  [default: all]")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    facts = json.loads((options.model / "hardening.json").read_text(encoding="utf-8"))
    classifier = Classifier.load(options.model)
    test = load(facts["data"]["name"], **_data_options(facts)).test
    natural, rest = _drawn(test, options.seed)
    network = Pieces(folded(classifier.module))
    few = test.x[natural[:256]]
    apart = float((network(few) - classifier.predict(few)).abs().max())
    print(f"{len(test)} test beats; folding moves logits by at most {apart:.1e}", flush=True)
    everything = torch.arange(len(test))
    shard = tuple(int(part) for part in options.shard.split("/"))
    work = _Work(options.out, classifier, network, test, (shard[0], shard[1]))
    wanted = options.parts.split(",")
    strong = PGD(eps=EPS, steps=40, restarts=5, seed=options.seed)
    if "pgd" in wanted:
        work.run("pgd", strong, _some(everything, options.pgd_beats, options.seed))
    if "curve" in wanted:
        for eps in CURVE:
            if eps != EPS:
                work.run(f"curve-{eps:g}", replace(strong, eps=eps), natural)
    standard = AutoAttack(eps=EPS, seed=options.seed)
    if "autoattack" in wanted:
        work.run("autoattack", standard, natural)
    if "peer" in wanted:
        work.run("peer", lambda x, y: peer(network, x, y, options.seed), natural[:PEER])
    if "autoattack-rest" in wanted:
        work.run("autoattack-rest", standard, rest)
    write_json(options.out / "results.json", gather(work, facts, apart))


def _data_options(facts: dict[str, Any]) -> dict[str, Any]:
    """Read how the data were loaded."""
    asked = facts["data"]["options"]
    return {key: tuple(value) if isinstance(value, list) else value for key, value in asked.items()}


def _drawn(test: Dataset, seed: int) -> tuple[Tensor, Tensor]:
    """Draw beats at natural prevalence; and list every S, V and F beat that is not among them."""
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
    natural = order[:NATURAL]  # in random order, so that the first chunks are a fair sample too
    rare = (test.y > 0).nonzero()[:, 0]
    return natural, rare[~torch.isin(rare, natural)]


def _some(rows: Tensor, most: int | None, seed: int) -> Tensor:
    """Draw so many of the beats."""
    if most is None or most >= len(rows):
        return rows
    drawn: Tensor = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:most].sort().values]
    return drawn


class _Work:
    """Attacks on chunks of beats, each stored as it is done."""

    def __init__(
        self, out: Path, classifier: Classifier, network: nn.Module, test: Dataset, shard: tuple[int, int]
    ) -> None:
        self.out, self.classifier, self.network, self.test, self.shard = out, classifier, network, test, shard
        self.clean = classifier.predict(test.x).argmax(1)

    def run(self, name: str, attack: Attack | Callable[[Tensor, Tensor], Tensor], rows: Tensor) -> None:
        """Attack these beats; store the answers to them, and how long it took."""
        for number, chunk in enumerate(rows.split(CHUNK)):
            path = self.out / name / f"{number:04d}.json"
            if number % self.shard[1] != self.shard[0] or path.exists():
                continue
            x, y, began = self.test.x[chunk], self.test.y[chunk], time.monotonic()
            if isinstance(attack, Attack):
                x_adv = attack(self.network, x, y)
                assert float((x_adv.double() - x.double()).abs().max()) <= (attack.eps or 0.0)
            else:
                x_adv = attack(x, y)
            assert float(x_adv.min()) >= 0
            assert float(x_adv.max()) <= 1
            answers = self.classifier.predict(x_adv).argmax(1)
            record = {"rows": chunk.tolist(), "answers": answers.tolist(), "seconds": time.monotonic() - began}
            write_bytes(path, json.dumps(record).encode())
            fell = float((answers != y).double().mean())
            print(f"{name} {number}: {fell:.1%} wrong, {record['seconds']:.0f} s", flush=True)

    def answers(self, name: str) -> tuple[Tensor, Tensor, float]:
        """Read the rows and answers of a part, as far as they are stored."""
        held = [json.loads(path.read_bytes()) for path in sorted((self.out / name).glob("*.json"))]
        rows = [row for one in held for row in one["rows"]]
        answers = [answer for one in held for answer in one["answers"]]
        return torch.tensor(rows), torch.tensor(answers), sum(one["seconds"] for one in held)


def gather(work: _Work, facts: dict[str, Any], apart: float) -> dict[str, Any]:
    """Count what is stored."""
    test, found = work.test, {}
    for path in sorted(path for path in work.out.iterdir() if path.is_dir()):
        rows, answers, seconds = work.answers(path.name)
        if len(rows):
            found[path.name] = {**_count(test, rows, answers, work.clean), "seconds": round(seconds)}
    every = torch.arange(len(test))
    rows, answers, _ = work.answers("pgd")
    tables = []
    if len(rows) == len(test) and test.groups is not None:
        under = torch.empty_like(answers).scatter(0, rows, answers)
        tables = ec57_under_attack(test.y, work.clean, under, test.groups, test.classes)
    both = {}
    ours, theirs = work.answers("autoattack"), work.answers("peer")
    if len(theirs[0]) and len(ours[0]):
        mine = dict(zip(ours[0].tolist(), ours[1].tolist(), strict=True))
        shared = [row for row in theirs[0].tolist() if row in mine]
        place = torch.tensor(shared)
        given = dict(zip(theirs[0].tolist(), theirs[1].tolist(), strict=True))
        both = {
            "n": len(shared),
            "ours": float((torch.tensor([mine[row] for row in shared]) == test.y[place]).double().mean()),
            "pyautoattack": float((torch.tensor([given[row] for row in shared]) == test.y[place]).double().mean()),
        }
    return {
        "hardening": facts,
        "fold_error": apart,
        "test": test.counts,
        "eps": EPS,
        "clean": _count(test, every, work.clean, work.clean),
        "attacked": found,
        "ec57": tables,
        "agreement": both,
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def _count(test: Dataset, rows: Tensor, answers: Tensor, clean: Tensor) -> dict[str, Any]:
    """Count as everywhere in Salus: robust are beats answered rightly clean and attacked."""
    y, groups = test.y[rows], None if test.groups is None else test.groups[rows]
    robust = (answers == y) & (clean[rows] == y)
    # A beat that was wrong before the attack stays wrong, whatever the attack made of it.
    final = torch.where(clean[rows] == y, answers, clean[rows])
    return {
        "n": len(rows),
        **proportion(robust, groups=groups).named("accuracy"),
        "macro_f1": macro_f1(y, final),
        "per_class": per_class(y, final, test.classes, groups),
    }


if __name__ == "__main__":
    main()
