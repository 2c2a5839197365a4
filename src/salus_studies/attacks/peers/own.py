"""Salus itself: every attack of the registry that knows the norm, its steps scaled to the budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import Tensor, nn

from salus.attacks import ATTACKS, Attack
from salus.errors import OptionError
from salus_studies.attacks.contenders import DEFAULTS, Contender, Run, Task

LIBRARY = "salus"

#: Attacks that solve another problem than the nearest or the surest change of one sample.
OTHER_GOALS = {
    "uap": "one change for all samples",
    "patch": "a square of neighbours",
    "smooth-pgd": "changes that a cardiologist takes for a beat's own",
}

#: What is tried beside the defaults, by the attack's name; what an attack does not know is left out.
VARIANTS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "apgd": ({"loss": "dlr"}, {"loss": "dlr", "targets": 9}),
    "pgd": ({"steps": 40, "restarts": ...}, {"loss": "pma"}),
    "fab": ({"targets": 9},),
}

#: Passes beyond an attack's steps: looks at the sample itself and at the last point.
_LOOKS = 4


def contenders(task: Task) -> list[Contender]:
    """List Salus's attacks for a task; those that see answers alone have a table of their own."""
    found = []
    for name, cls in ATTACKS.own.items():
        if task.norm not in cls.norms or name in OTHER_GOALS or cls.knowledge not in ("gradients", "logits"):
            continue
        for options in ({}, *VARIANTS.get(name, ())):
            if task.classes < 3 and name != "pgd" and {"loss", "targets"} & set(options):
                continue  # with one other class they are the defaults
            try:
                attack = scaled(cls, task, 1.0 if task.norm == "l0" else 0.0, options)
            except OptionError:
                continue  # an option that this version does not know, or more starts than fit
            found.append(
                Contender(
                    library=LIBRARY,
                    attack=name,
                    family=_family(name, options),
                    settings=_words(options),
                    goal="nearest" if cls.closest else "within",
                    run=_run(cls, task, options),
                    described=repr(attack),
                )
            )
    return found


def scaled(cls: type[Attack], task: Task, eps: float, options: Mapping[str, Any]) -> Attack:
    """Make an attack that takes as many passes as are allowed, in the worst case of a sample that never falls.

    Steps are as many as fit; of an attack that asks for logits, queries. Where ``options`` say ``...``, so many starts
    fit. What cannot be scaled by its steps, or leaves off by itself (Carlini and Wagner's searches), is stopped when
    half of the passes have gone forward.

    Raises:
        OptionError: the attack does not know an option, or not one start more fits.
    """
    knob = next((name for name, value in options.items() if value is ...), "steps")
    told = {name: value for name, value in options.items() if value is not ...}
    fixed: dict[str, Any] = {**_told(cls, task, eps), **told}
    if cls.knowledge != "gradients":
        return _made(cls, {**fixed, "queries": task.budget})
    names = {field.name for field in fields(cls)}
    if knob in names and "searches" not in names:
        low, high = 0, task.budget
        while low < high:
            middle = (low + high + 1) // 2
            cost = _made(cls, {**fixed, knob: middle}).cost(task.classes)
            if cost is not None and sum(cost) + _LOOKS <= task.budget:
                low = middle
            else:
                high = middle - 1
        if low > (knob != "steps"):
            return _made(cls, {**fixed, knob: low})
        if knob != "steps":
            raise OptionError(f"{cls.__name__} has no {knob} to spare within {task.budget} passes.")
    return _made(cls, {**fixed, "queries": max(task.budget // 2, 1)})


def _told(cls: type[Attack], task: Task, eps: float) -> dict[str, Any]:
    told: dict[str, Any] = {"norm": task.norm, "seed": task.seed}
    return told if cls.closest else {**told, "eps": eps}


def _made(cls: type[Attack], options: Mapping[str, Any]) -> Attack:
    try:
        return cls(**options)
    except TypeError as error:  # an unknown keyword
        raise OptionError(f"{cls.__name__} cannot be made: {error}.") from error


def _run(cls: type[Attack], task: Task, options: Mapping[str, Any]) -> Run:
    def attack(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
        return scaled(cls, task, eps, options)(model, x, y)

    return attack


def _family(name: str, options: Mapping[str, Any]) -> str:
    loss = options.get("loss")
    if name == "apgd":
        return "apgd-t" if "targets" in options else f"apgd-{loss or 'ce'}"
    return {"bim": "pgd", "carlini-wagner-l2": "cw", "carlini-wagner-linf": "cw"}.get(name, name)


def _words(options: Mapping[str, Any]) -> str:
    if not options:
        return DEFAULTS
    return ", ".join("starts" if value is ... else f"{name}={value}" for name, value in options.items())
