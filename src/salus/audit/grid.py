"""The grid of an audit: its cells laid out from what was set up and trained."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from salus.attacks import PGD
from salus.attacks.poisoning import Trigger
from salus.audit.cell import Attempt, Cell
from salus.audit.endpoint import EndpointGuard
from salus.audit.setup import Setup, Workbench
from salus.audit.suited import needs_gradients_here
from salus.data import Dataset
from salus.guard import Guard
from salus.progress import duration
from salus.storage import digest
from salus.threats import FIXED, Samples, ThreatModel, WhiteBox
from salus.threats.base import Turn

#: The check for masked gradients: with half the range of values to play with, no classifier stands.
HUGE_EPS = 0.5
_HUGE_SAMPLES = 200

#: Training samples that a universal perturbation is fitted to.
_UNIVERSAL_SAMPLES = 2000


@dataclass(frozen=True, eq=False)
class CellGrid:
    """All cells of an audit.

    Attributes:
        data: the samples under attack, on the device.
        indices: which of the test samples they are, int64 ``[N]``.
        cells: of the plan, in the order of reports.
        check: the bare classifier under an attack that leaves nothing standing, unless gradients are masked; None where
            nobody sees its gradients.
        left_out: which attacks are left out of which threat model, a sentence each.
    """

    data: Dataset
    indices: torch.Tensor
    cells: tuple[Cell, ...]
    check: Cell | None
    left_out: tuple[str, ...]


def lay_out(setup: Setup, bench: Workbench) -> CellGrid:
    """Lay out the cells: clean ones, then each attack under each threat model on each guard that it faces."""
    plan, test = setup.plan, bench.splits.test
    indices = _drawn(len(test), plan.samples, plan.seed)
    data = on_device(test.subset(indices), setup.device)
    probe = digest((bench.bare.classifier.predict(data.x[:16]).double() * 1e3).round().tolist())
    guards = tuple(dict.fromkeys((bench.bare, *bench.guards)))
    if isinstance(bench.bare, EndpointGuard):
        bench.bare.refuse_chance(data)
    threats = [*(threat.equip(bench) for threat in setup.threats), *bench.watched()]
    own = bench.splits.train
    fits = {threat: on_device(_few(threat.samples(own), plan.seed), setup.device) for threat in threats}
    cells = [Cell(data, guard, probe=probe) for guard in guards]
    unsuited: dict[tuple[ThreatModel, str], list[str]] = {}
    hidden = bench.bare.classifier.without_gradients
    for attack in setup.attacks:
        if attack.threat_model is not None:  # it goes with one alone
            goal = data.classes.index(attack.backdoor.target) if isinstance(attack, Trigger) else None
            attempt = Attempt(attack, FIXED[attack.threat_model](), goal)
            cells.extend(Cell(data, guard, attempt, probe) for guard in guards)
            continue
        for threat in threats:
            why = threat.unsuited if threat.refusal(attack) is not None else None
            if why is None and hidden is not None and needs_gradients_here(attack, type(threat)):
                why = "which ask for gradients, and the model shows none"
            if why is not None:
                unsuited.setdefault((threat, why), []).append(attack.title)
                continue
            attempt = Attempt(attack, threat, setup.target if attack.targeted else None, fits[threat])
            cells.extend(Cell(data, guard, attempt, probe) for guard in guards if threat.faces(guard))
    left_out = tuple(
        f"Left out of the threat model {threat.words}: {', '.join(dict.fromkeys(titles))}, {why}."
        for (threat, why), titles in unsuited.items()
    )
    check = _check(data, bench.bare, plan.seed, probe) if bench.bare.local and hidden is None else None
    return CellGrid(data, indices, tuple(cells), check, left_out)


def questions(setup: Setup, grid: CellGrid) -> str | None:
    """Say about how many inputs an endpoint is asked at most, and how long that takes at the rate that is allowed.

    None where the model is here, or an attack does not tell before it is run.
    """
    remote, plan = setup.subject.remote, setup.plan
    if remote is None:
        return None
    each = 0
    for cell in grid.cells:
        each += 1  # what is judged at its end
        asking = [] if cell.attempt is None else _asking(cell.attempt, cell)
        costs = [turn.engine.cost(len(grid.data.classes)) for turn in asking if turn.whole]
        if any(cost is None for cost in costs):
            return None
        each += sum(cost.forward for cost in costs if cost is not None)
    count = each * len(grid.data)
    took = "" if plan.rate is None else f", {duration(count / plan.rate)} at {plan.rate:g} a second"
    limit = "" if plan.endpoint_queries is None else f"; {plan.endpoint_queries:,} are allowed"
    return (
        f"{remote.name} is asked about up to {count:,} inputs{took}{limit}. Answers are kept, and not asked for twice."
    )


def _asking(attempt: Attempt, cell: Cell) -> list[Turn]:
    x, y = cell.data.x[:1], cell.data.y[:1]
    return attempt.threat.turns(attempt.attack, cell.guard, Samples(x, y, None, torch.zeros_like(y)))


def _check(data: Dataset, bare: Guard, seed: int, probe: str) -> Cell:
    few = torch.arange(min(len(data), _HUGE_SAMPLES), device=data.x.device)
    eps = HUGE_EPS * (data.bounds[1] - data.bounds[0])
    attack = PGD(eps=eps, steps=20, bounds=data.bounds, seed=seed)
    return Cell(data.subset(few), bare, Attempt(attack, WhiteBox()), probe)


def on_device(data: Dataset, device: torch.device) -> Dataset:
    """Move a data set."""
    groups = None if data.groups is None else data.groups.to(device)
    return replace(data, x=data.x.to(device), y=data.y.to(device), groups=groups)


def _few(data: Dataset, seed: int) -> Dataset:
    return data if len(data) <= _UNIVERSAL_SAMPLES else data.subset(_drawn(len(data), _UNIVERSAL_SAMPLES, seed))


def _drawn(among: int, count: int | None, seed: int) -> torch.Tensor:
    """Draw so many of the samples at natural prevalence; all where there are no more."""
    if count is None or count >= among:
        return torch.arange(among)
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(among, generator=generator)[:count].sort().values
