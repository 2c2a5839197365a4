"""One attack on one model within one budget: run, counted, stopped in time, and judged on the bare network."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import random
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from salus_studies.attacks.contenders import Contender, Task
from salus_studies.attacks.counting import SLACK, TOLERANCE, BudgetSpent, Counted, measure, within_bounds
from salus_studies.attacks.peers.own import LIBRARY as OWN
from salus_studies.attacks.subjects import Subject

#: An attack that takes more processor seconds at one size of change is stopped.
LIMIT = 60


@dataclass
class Found:
    """What a run came to, for each sample of the subject.

    Attributes:
        returned: distance of what the attack returned: 0 where the model is wrong from the start, infinite where it is
            right still.
        seen: distance of the nearest adversarial point that the attack showed the network or returned.
        forward: forward passes, of all samples attacked.
        backward: backward passes.
        attacked: samples attacked, once for each size of change.
        most: the most passes a sample at one size of change, on average over the samples attacked there.
        cpu: processor seconds, watching left out.
        stopped: why it did not end by itself, where it did not.
        error: what it failed with.
    """

    returned: Tensor
    seen: Tensor
    forward: int = 0
    backward: int = 0
    attacked: int = 0
    most: float = 0.0
    cpu: float = 0.0
    stopped: str = ""
    error: str = ""

    def record(self) -> dict[str, Any]:
        """Give plain values; infinite distances as -1."""
        return {
            "returned": [_plain(value) for value in self.returned.tolist()],
            "seen": [_plain(value) for value in self.seen.tolist()],
            "forward": self.forward,
            "backward": self.backward,
            "attacked": self.attacked,
            "most": round(self.most, 1),
            "cpu": round(self.cpu, 3),
            "stopped": self.stopped,
            "error": self.error,
        }


def run(contender: Contender, subject: Subject, task: Task) -> Found:
    """Attack the samples that the model gets right; with a fixed eps those that still stand, at each size of the grid.

    What an attack that is stopped would have returned nobody knows: what was seen of it by then counts.
    """
    with torch.no_grad():
        right = subject.model(subject.x).argmax(1) == subject.y
    nothing = torch.where(right, torch.inf, 0.0).double()
    found = Found(nothing.clone(), nothing.clone())
    for eps in (0.0,) if contender.goal == "nearest" else subject.grid[task.norm]:
        rows = found.returned.isinf().nonzero()[:, 0]
        if len(rows) == 0 or found.error:
            break
        _once(contender, subject, task, eps, rows, found)
    return found


def _once(contender: Contender, subject: Subject, task: Task, eps: float, rows: Tensor, found: Found) -> None:
    x, y = subject.x[rows], subject.y[rows]
    radius = None if contender.goal == "nearest" else eps
    counted = Counted(subject.model, x, y, task.norm, task.budget, radius).eval()
    for seeded in (torch.manual_seed, np.random.seed, random.seed):
        seeded(task.seed)
    x_adv: Tensor | None = None
    began = time.process_time()
    try:
        with quiet(), limited(LIMIT):
            x_adv = contender.run(counted, x.clone(), y.clone(), eps)
    except BudgetSpent:
        found.stopped = "budget"
    except TimeoutError as error:
        found.stopped = str(error)
    except Exception as error:  # whatever a library fails with is printed
        found.error = describe(error)
    if counted.stopped:
        found.stopped = "budget"
    found.cpu += time.process_time() - began - counted.overhead
    found.forward += counted.forward_passes
    found.backward += counted.backward_passes
    found.attacked += len(rows)
    found.most = max(found.most, counted.passes / len(rows))
    returned = counted.seen
    if x_adv is not None and not found.error:
        returned = judged(subject, x_adv, rows, task.norm, radius, exact=contender.library == OWN)
    found.returned[rows] = returned
    found.seen[rows] = torch.minimum(found.seen[rows], torch.minimum(returned, counted.seen))


def judged(subject: Subject, x_adv: Tensor, rows: Tensor, norm: str, eps: float | None, *, exact: bool) -> Tensor:
    """Measure how far the samples went that fell, on the bare network; infinite for the others.

    Args:
        subject: the model and its samples.
        x_adv: what was returned for the samples at these rows.
        rows: places of the samples.
        norm: of the distance.
        eps: radius; None for any distance.
        exact: nothing outside the ball or the bounds counts, not even by rounding.
    """
    x, y = subject.x[rows], subject.y[rows]
    x_adv = x_adv.detach()
    if x_adv.shape != x.shape:
        raise ValueError(f"returned {list(x_adv.shape)} for {list(x.shape)}")
    distance = measure(norm, x_adv.to(x.dtype), x)
    allowed = within_bounds(x_adv, 0.0 if exact else TOLERANCE)
    if eps is not None:
        allowed &= distance <= eps * (1 if exact else 1 + SLACK)
        distance = distance.clamp_max(eps)
    with torch.no_grad():
        fallen = (subject.model(x_adv.float()).argmax(1) != y) & allowed
    return torch.where(fallen, distance, torch.inf)


def bare(subject: Subject, rounds: int = 15) -> dict[str, float]:
    """Time what no attack can avoid, in processor seconds a sample: a forward pass, and the backward pass after it."""
    point = subject.x.clone().requires_grad_()
    forward, both = [], []
    for _ in range(rounds):
        began = time.process_time()
        with torch.no_grad():
            subject.model(subject.x)
        forward.append(time.process_time() - began)
        began = time.process_time()
        torch.autograd.grad(subject.model(point).sum(), point)
        both.append(time.process_time() - began)
    there, there_and_back = (sorted(times)[rounds // 2] / len(subject.x) for times in (forward, both))
    return {"forward": there, "backward": max(there_and_back - there, 0.0)}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep progress bars, remarks and warnings of libraries off the screen."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    nowhere = io.StringIO()
    try:
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Stop what takes more processor seconds; in a thread that cannot be interrupted nothing is stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise TimeoutError(f"{seconds:g} processor seconds")

    before: Callable[..., Any] | int | None = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def describe(error: Exception) -> str:
    """Put an error on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]


def _plain(distance: float) -> float:
    """Round up to four digits, as a distance may be stored too large but not too small."""
    if math.isinf(distance):
        return -1.0
    rounded = float(f"{distance:.4g}")
    return rounded if rounded >= distance else float(f"{distance * (1 + 5e-4):.4g}")
