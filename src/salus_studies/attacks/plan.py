"""What is run: which attacks, on which model, within how many passes, from which seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from salus_studies.attacks.contenders import DEFAULTS, Contender, Goal, Task
from salus_studies.attacks.peers import LIBRARIES
from salus_studies.attacks.peers.own import LIBRARY as OWN
from salus_studies.attacks.running import describe, quiet
from salus_studies.attacks.subjects import Subject

NORMS = ("l0", "l1", "l2", "linf")


@dataclass(frozen=True, kw_only=True)
class Effort:
    """What is run at one budget.

    Attributes:
        norms: in which.
        nearest: seeds of attacks that look for the smallest change; none where they are not run.
        within: seeds of attacks with a fixed eps, which get the budget at each eps.
        all_settings: also other settings of peers than their defaults, where eps is fixed.
    """

    norms: tuple[str, ...] = NORMS
    nearest: tuple[int, ...] = (0,)
    within: tuple[int, ...] = (0,)
    all_settings: bool = True


#: By passes a sample. 80 passes are 40 steps of a forward and a backward pass.
EFFORTS: Mapping[int, Effort] = {
    80: Effort(norms=("linf",), nearest=(0, 1, 2), within=(0, 1, 2)),
    200: Effort(nearest=(0, 1, 2), within=(0, 1, 2)),
    1000: Effort(all_settings=False),
    2000: Effort(within=()),
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One attack on one model.

    Attributes:
        subject: name of the model.
        task: norm, budget and seed.
        contender: the attack.
    """

    subject: str
    task: Task
    contender: Contender

    @property
    def facts(self) -> dict[str, str | int]:
        """What tells it from all others, as plain values."""
        told = self.contender
        return {
            "model": self.subject,
            "norm": self.task.norm,
            "budget": self.task.budget,
            "seed": self.task.seed,
            "library": told.library,
            "attack": told.attack,
            "family": told.family,
            "settings": told.settings,
            "goal": told.goal,
        }


@dataclass(frozen=True)
class Absent:
    """A library that cannot be used here, and why."""

    library: str
    error: str


def cells(
    subject: Subject, budgets: tuple[int, ...], norms: tuple[str, ...], libraries: tuple[str, ...], seeds: int = 3
) -> list[Cell]:
    """List what is run on a model, the quick first; of seeds so many at most."""
    return [
        cell
        for budget in sorted(budgets)
        for norm in EFFORTS[budget].norms
        if norm in norms
        for library in libraries
        for cell in _of_library(subject, budget, norm, library)
        if cell.task.seed < seeds
    ]


def absent(libraries: tuple[str, ...]) -> list[Absent]:
    """List the libraries that do not import here."""
    found = []
    for library in libraries:
        try:
            with quiet():
                LIBRARIES[library].contenders(Task(norm="l2", budget=100, classes=2))
        except Exception as error:  # whatever an import fails with is printed
            found.append(Absent(library, describe(error)))
    return found


def _of_library(subject: Subject, budget: int, norm: str, library: str) -> Iterator[Cell]:
    effort = EFFORTS[budget]
    seeds: dict[Goal, tuple[int, ...]] = {"nearest": effort.nearest, "within": effort.within}
    for seed in sorted({*effort.nearest, *effort.within}):
        task = Task(norm=norm, budget=budget, classes=subject.classes, seed=seed)
        with quiet():
            contenders = LIBRARIES[library].contenders(task)
        for contender in contenders:
            if seed not in seeds[contender.goal]:
                continue
            spare = contender.goal == "within" and library != OWN and contender.settings != DEFAULTS
            if spare and not effort.all_settings:
                continue
            yield Cell(subject=subject.name, task=task, contender=contender)
