"""Runs every attack on every model within every budget, a stored step each, and keeps what the page shows."""

from __future__ import annotations

from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import torch

import salus
from salus.engines import Needs
from salus.progress import console
from salus.storage import slug
from salus_studies.attacks import ensembles, floor, queries
from salus_studies.attacks.peers import LIBRARIES
from salus_studies.attacks.peers.own import LIBRARY as OWN
from salus_studies.attacks.plan import EFFORTS, Absent, Cell, absent, cells
from salus_studies.attacks.running import bare
from salus_studies.attacks.running import run as run_attack
from salus_studies.attacks.subjects import RECIPES, Subject, open_subject
from salus_studies.attacks.summary import summary
from salus_studies.frame.folder import Folder
from salus_studies.frame.results import Results
from salus_studies.frame.step import Step
from salus_studies.frame.steps import Steps

if TYPE_CHECKING:
    from salus_studies.attacks.study import AttacksOptions


def run(options: AttacksOptions, folder: Folder) -> Results:
    """Do what was asked for of the plan, and sum up all that lies in the folder."""
    torch.set_num_threads(1)
    identity = {"version": folder.version, "samples": options.samples}
    steps = folder.claim(identity, {"only": list(options.only)}, options.time)
    libraries: tuple[str, ...] = options.library or tuple(LIBRARIES)
    missing = absent(libraries)
    for none in missing:
        console.print(f"{none.library} cannot be used here: {none.error}.")
    usable = tuple(name for name in libraries if name not in {none.library for none in missing})
    names: tuple[str, ...] = options.only or tuple(RECIPES)
    for name in names:
        subject = open_subject(name, folder.path, options.data_dir, options.samples)
        _judge(steps, subject)
        if "attacks" in options.part:
            _attack(steps, subject, options, usable)
        if "ensembles" in options.part:
            ensembles.run(steps, subject, usable)
        if "queries" in options.part and name == queries.SUBJECT:
            queries.run(steps, subject, usable)
            floor.run(steps, subject, queries.attacked(subject))
    return Results(summary(steps.contents(), _meta(steps, missing)))


def _judge(steps: Steps, subject: Subject) -> None:
    """Keep what is told of a model."""
    recipe = RECIPES[subject.name]

    def work() -> dict[str, Any]:
        with torch.no_grad():
            accuracy = float((subject.model(subject.x).argmax(1) == subject.y).double().mean())
        return {
            "part": "model",
            "model": subject.name,
            "title": recipe.title,
            "data": recipe.data,
            "shape": list(subject.x.shape[1:]),
            "classes": subject.classes,
            "samples": len(subject.x),
            "accuracy": accuracy,
            "constant": float(subject.y.bincount().max()) / len(subject.y),  # right, always answering the commonest
            "parameters": sum(parameter.numel() for parameter in subject.model.parameters()),
            "hardened": recipe.eps,
            "grid": {norm: list(sizes) for norm, sizes in subject.grid.items()},
            "bare": bare(subject),
        }

    steps.do(f"{subject.name}-model", "model", [subject.name, subject.key, "constant"], work)


def _attack(steps: Steps, subject: Subject, options: AttacksOptions, libraries: tuple[str, ...]) -> None:
    budgets = tuple(int(budget) for budget in options.budget) or tuple(EFFORTS)
    planned = cells(subject, budgets, options.norm, libraries, options.seeds)
    if options.again:
        for cell in planned:
            if cell.contender.attack in options.again:
                steps.forget(_name(cell))
    todo = [cell for cell in planned if steps.read(_name(cell), _key(cell, subject)) is None]
    console.print(
        f"{subject.name}: {len(planned)} runs, {len(planned) - len(todo)} of them stored; about "
        f"{sum(_estimate(cell, subject) for cell in todo) / 60:.0f} minutes."
    )
    shared = steps.share(subject)
    steps.do_all(
        [
            Step(
                name=_name(cell),
                kind=f"{subject.name} {cell.task.budget}",
                key=_key(cell, subject),
                function=_work,
                arguments=(cell, shared),
                needs=Needs(cores=1),
            )
            for cell in planned
        ]
    )


def _work(cell: Cell, subject: Subject) -> dict[str, Any]:
    found = run_attack(cell.contender, subject, cell.task)
    return {"part": "attack", **cell.facts, **found.record()}


def _name(cell: Cell) -> str:
    facts = cell.facts
    told = slug(f"{facts['library'][:8]}-{facts['attack']}-{facts['settings']}")  # type: ignore[index]
    return f"{facts['model']}-{facts['norm']}-{facts['budget']}-{facts['seed']}-{told}"


def _key(cell: Cell, subject: Subject) -> list[Any]:
    """All that decides what a run leaves, but for the code: run it again with ``--again`` where that has changed."""
    told = cell.contender
    number = "" if told.library == OWN else version(told.library)
    return [cell.facts, told.described, number, subject.key, list(subject.grid.get(cell.task.norm, ()))]


def _estimate(cell: Cell, subject: Subject) -> float:
    """Guess processor seconds, from what runs took on a busy machine: a pass of all samples, at each size of change."""
    sizes = 1 if cell.contender.goal == "nearest" else 0.6 * len(subject.grid[cell.task.norm])
    return cell.task.budget * sizes * (1e-3 + 1e-8 * subject.x.numel())


def _meta(steps: Steps, missing: list[Absent]) -> dict[str, Any]:
    versions = {OWN: salus.__version__}
    for library in LIBRARIES:
        try:
            versions.setdefault(library, version(library))
        except PackageNotFoundError:
            continue
    meta = steps.meta(scale="", seed=0, device="cpu")
    kept = {name: meta[name] for name in ("command", "created", "machine", "threads", "seconds")}
    absent_ = [{field.name: getattr(none, field.name) for field in fields(none)} for none in missing]
    return {**kept, "versions": {**meta["versions"], **versions}, "absent": absent_}
