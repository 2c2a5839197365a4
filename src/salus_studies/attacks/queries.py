"""Attacks that see answers alone: how near they come within so many queries, and in what time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from salus.attacks import ATTACKS
from salus.engines import Needs
from salus_studies.attacks.counting import BudgetSpent, Counted, measure
from salus_studies.attacks.peers import art, foolbox
from salus_studies.attacks.peers.own import LIBRARY as OWN
from salus_studies.attacks.peers.views import InFloat32
from salus_studies.attacks.running import bare, describe, limited, quiet
from salus_studies.attacks.subjects import Subject
from salus_studies.frame.step import Step
from salus_studies.frame.steps import Steps

#: The model that is asked, how often, and about how many samples.
SUBJECT, BUDGETS, SAMPLES = "beats", (500, 1000, 2500), 64
#: Seeds of the attacks.
SEEDS = (0, 1, 2)
#: Processor seconds after which one is stopped.
_LIMIT = 300

#: ``(model, x, y, others, queries, seed)`` to ``x_adv``.
Ask = Callable[[nn.Module, Tensor, Tensor, Tensor, int, int], Tensor]


@dataclass(frozen=True, eq=False)
class Asker:
    """One library's attack.

    Attributes:
        library: the distribution's name on the package index, or ``"salus"``.
        attack: its name there.
        settings: where it starts.
        ask: the attack.
        described: all its settings, where they are known.
        alone: it attacks one sample after the other, each within its own budget.
    """

    library: str
    attack: str
    settings: str
    ask: Ask
    described: str = ""
    alone: bool = False


def run(steps: Steps, subject: Subject, libraries: tuple[str, ...]) -> None:
    """Let each ask."""
    shared = steps.share(subject)
    steps.do_all(
        [
            Step(
                name=f"{subject.name}-queries-{budget}-{seed}-{asker.library[:8]}-{asker.attack}-{asker.settings[:5]}",
                kind=f"queries {budget} {asker.library}",
                key=[subject.key, budget, seed, asker.library, asker.attack, asker.settings, asker.described],
                function=_work,
                arguments=(shared, asker, budget, seed),
                needs=Needs(cores=1),
            )
            for asker in _askers()
            if asker.library in libraries
            for budget in BUDGETS
            for seed in (SEEDS if asker.library == OWN else SEEDS[:1])
        ]
    )


def attacked(subject: Subject) -> Tensor:
    """Return the places of the samples that are asked about: the first that the model gets right."""
    with torch.no_grad():
        right: Tensor = subject.model(subject.x).argmax(1) == subject.y
    return right.nonzero()[:SAMPLES, 0]


def _work(subject: Subject, asker: Asker, budget: int, seed: int) -> dict[str, Any]:
    rows = attacked(subject)
    groups = rows.split(1) if asker.alone else (rows,)
    seen, queries, cpu, error = [], 0, 0.0, ""
    for group in groups:
        x, y, others = subject.x[group], subject.y[group], subject.others[group]
        counted = Counted(subject.model, x, y, "l2", budget).eval()
        torch.manual_seed(seed)
        began = time.process_time()
        returned = torch.full((len(group),), torch.inf, dtype=torch.float64)
        try:
            with quiet(), limited(_LIMIT / len(groups)):
                x_adv = asker.ask(counted, x.clone(), y.clone(), others, budget, seed).detach().float()
            fallen = subject.model(x_adv).argmax(1) != y
            returned = torch.where(fallen, measure("l2", x_adv, x), torch.inf)
        except (BudgetSpent, TimeoutError):
            pass
        except Exception as failure:  # whatever a library fails with is printed
            error = describe(failure)
        cpu += time.process_time() - began - counted.overhead
        queries += counted.forward_passes
        seen.append(torch.minimum(returned, counted.seen))
    distance = torch.cat(seen)
    return {
        "part": "queries",
        "model": subject.name,
        "budget": budget,
        "seed": seed,
        "library": asker.library,
        "attack": asker.attack,
        "settings": asker.settings,
        "samples": len(rows),
        "median": _finite(float(distance.quantile(0.5, interpolation="nearest"))),
        "fallen": float(distance.isfinite().double().mean()),
        "queries": queries / len(rows),
        "cpu": 1e3 * cpu / len(rows),
        "bare": 1e3 * queries / len(rows) * bare(subject)["forward"],
        "error": error,
    }


def _finite(value: float) -> float | None:
    return None if value == float("inf") else value


def _askers() -> Iterator[Asker]:
    for name, known in ATTACKS.own.items():
        cls: Any = known
        if cls.knowledge == "answers" and "l2" in cls.norms:
            yield Asker(OWN, name, "defaults", partial(_own, cls), repr(cls(norm="l2", queries=BUDGETS[0])))
    yield Asker(art.LIBRARY, "HopSkipJump", "defaults", _art_hop_skip_jump, alone=True)
    yield Asker(art.LIBRARY, "BoundaryAttack", "defaults", _art_boundary, alone=True)
    for name in ("HopSkipJumpAttack", "BoundaryAttack"):
        yield Asker(foolbox.LIBRARY, name, "given starts", partial(_foolbox, name, True))
        yield Asker(foolbox.LIBRARY, name, "defaults", partial(_foolbox, name, False))


def _own(cls: Any, model: nn.Module, x: Tensor, y: Tensor, others: Tensor, queries: int, seed: int) -> Tensor:
    x_adv: Tensor = cls(norm="l2", queries=queries, seed=seed)(model, x, y)
    return x_adv


def _art_hop_skip_jump(model: nn.Module, x: Tensor, y: Tensor, others: Tensor, queries: int, seed: int) -> Tensor:
    from art.attacks.evasion import HopSkipJump

    estimator = art.estimator(InFloat32(model).eval(), x, int(model(x).shape[1]))
    return torch.from_numpy(HopSkipJump(estimator, max_iter=queries, verbose=False).generate(x.numpy(), y.numpy()))


def _art_boundary(model: nn.Module, x: Tensor, y: Tensor, others: Tensor, queries: int, seed: int) -> Tensor:
    from art.attacks.evasion import BoundaryAttack

    estimator = art.estimator(InFloat32(model).eval(), x, int(model(x).shape[1]))
    attack = BoundaryAttack(estimator, targeted=False, max_iter=queries, verbose=False)
    return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


def _foolbox(
    name: str, given: bool, model: nn.Module, x: Tensor, y: Tensor, others: Tensor, queries: int, seed: int
) -> Tensor:
    from foolbox.models.pytorch import PyTorchModel

    attack = getattr(import_module("foolbox.attacks"), name)(steps=queries)
    starts = {"starting_points": others} if given else {}
    x_adv: Tensor = attack(PyTorchModel(model, bounds=(0, 1)), x, y, epsilons=None, **starts)[1]
    return x_adv
