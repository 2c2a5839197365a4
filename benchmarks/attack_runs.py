"""Running one contender: time, passes and queries, and what it reached."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import random
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any

import numpy as np
import torch
from attack_bars import Result
from attack_peers import PEERS, Contender, Counted, Task, own
from attack_rows import Row
from torch import Tensor, nn

import salus

#: What a peer may step out of its ball by; Salus may not.
TOLERANCE = 1e-6
#: A contender whose first run takes longer, in seconds, runs once; one that takes longer than the limit is stopped.
SLOW, LIMIT = 20, 300
Repeat = dict[str, float]


def list_contenders(task: Task) -> Iterator[tuple[Contender, str]]:
    """List what each library has for the row, or why it cannot be used."""
    for library in (own, *PEERS):
        try:
            with quiet():
                found = library.contenders(task)
        except Exception as error:  # whatever a library fails with is printed
            nothing = Contender(library=library.LIBRARY, settings="", attack=lambda model, x, y: x)
            yield nothing, describe(error)
            continue
        yield from ((contender, "") for contender in found)


def run(contender: Contender, task: Task, row: Row, result: Result, bare: Repeat) -> None:
    """Attack once, and add what it took to the result; the first time also what it reached."""
    count = contender.samples or len(task.x)
    x, y = task.x[:count].clone(), task.y[:count].clone()
    counted = Counted(copy.deepcopy(task.model)).eval()  # some peers leave it in training mode
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    try:
        with quiet(), limited(LIMIT):
            seconds, cpu = time.perf_counter(), time.process_time()
            x_adv = contender.attack(counted, x, y)
            seconds, cpu = time.perf_counter() - seconds, time.process_time() - cpu
        clean, labels = (x, y) if row.goal != "universal" else task.held_out
        reached = judged(task.model, x_adv, clean, labels, task, exact=contender.library == own.LIBRARY)
    except Exception as error:  # whatever a library fails with is printed
        result["error"] = describe(error)
        return
    queries, backward = counted.queries / count, counted.backward_passes / count
    passes = queries * bare["forward"] + backward * bare["backward"]  # seconds a sample that cannot be avoided
    result["repeats"].append({"seconds": seconds, "cpu": cpu, "of_bare": seconds / count / passes})
    if len(result["repeats"]) == 1:
        result |= {"attacked": count, "queries": queries, "backward": backward, **reached}


def judged(model: nn.Module, x_adv: Tensor, x: Tensor, y: Tensor, task: Task, *, exact: bool) -> Result:
    """Find out on the bare model which samples fell, and how far they went."""
    if x_adv.shape != x.shape:
        raise ValueError(f"returned {list(x_adv.shape)} for {list(x.shape)}")
    slack = 0.0 if exact else TOLERANCE
    x_adv = x_adv.detach()
    change = (x_adv.double() - x.double()).flatten(1)
    distance = change.abs().amax(1) if task.norm == "linf" else change.norm(dim=1)
    flat = x_adv.flatten(1)
    allowed = ((flat >= -slack) & (flat <= 1 + slack)).all(1)  # False for NaN too
    if task.eps is not None:
        allowed &= distance <= task.eps + slack
    with torch.no_grad():
        fallen = (model(x_adv.float()).argmax(1) != y) & allowed
    return {
        "samples": len(x),
        "success": "".join("1" if won else "0" for won in fallen.tolist()),
        "distance": [float(f"{value:.5g}") for value in distance.nan_to_num(1e9).tolist()],
    }


def bare_passes(model: nn.Module, x: Tensor, rounds: int = 20) -> Repeat:
    """Time what no attack can avoid, in seconds a sample: a forward pass, and the backward pass that may follow."""
    asked = [parameter.requires_grad for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model(x)
    started = time.perf_counter()
    for _ in range(rounds):
        point = x.clone().requires_grad_()
        torch.autograd.grad(model(point).sum(), point)
    both = (time.perf_counter() - started) / rounds / len(x)
    started = time.perf_counter()
    with torch.no_grad():
        for _ in range(rounds):
            model(x)
    forward = (time.perf_counter() - started) / rounds / len(x)
    for parameter, grad in zip(model.parameters(), asked, strict=True):
        parameter.requires_grad_(grad)
    return {"forward": forward, "backward": max(both - forward, 0.0)}


def new_result(library: str, settings: str, row: Row, error: str) -> Result:
    """Make an empty result."""
    try:
        number = salus.__version__ if library == own.LIBRARY else version(library)
    except PackageNotFoundError:
        number = ""
    head = {"library": library, "version": number, "settings": settings}
    return {**head, "goal": row.goal, "error": error, "repeats": []}


def summarise(result: Result) -> None:
    """Put medians in the place of the repeats."""
    repeats = result.pop("repeats")
    if repeats and not result["error"]:
        result |= {name: float(f"{median(repeat[name] for repeat in repeats):.5g}") for name in repeats[0]}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep progress bars, remarks and warnings off the table."""
    logging.disable(logging.CRITICAL)
    nowhere = io.StringIO()
    try:
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


@contextlib.contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Stop what takes longer."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"stopped after {seconds} s")

    before: Callable[..., Any] | int | None = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def describe(error: Exception) -> str:
    """Put an error on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]
