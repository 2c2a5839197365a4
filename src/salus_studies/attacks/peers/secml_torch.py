"""secml-torch: its own attacks; those that it wraps of Foolbox and adv-lib are theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from salus.models import load_torchvision
from salus_studies.attacks.contenders import DEFAULTS, Contender, Goal, Task
from salus_studies.attacks.peers.adv_lib import stand_in_for_visdom

LIBRARY = "secml-torch"


def contenders(task: Task) -> list[Contender]:
    """List secml-torch's attacks for a task."""
    load_torchvision()
    stand_in_for_visdom()
    return list(_listed(task))


def _listed(task: Task) -> Iterator[Contender]:
    from secmlt.adv.evasion.ddn import DDNNative
    from secmlt.adv.evasion.fmn import FMNNative
    from secmlt.adv.evasion.pgd import PGDNative

    norm, steps = task.norm, task.steps
    yield _one("FMN", "fmn", lambda eps: FMNNative(norm, steps, 1.0))
    if norm == "l2":
        yield _one("DDN", "ddn", lambda eps: DDNNative(steps))
        yield _one("DDN", "ddn", lambda eps: DDNNative(steps, eps_init=1.0), settings="eps_init=1")
    if norm != "l0":
        for share, words in ((10, "step eps/10"), (4, "step eps/4")):  # it has no default

            def pgd(eps: float, share: int = share) -> Any:
                return PGDNative(norm, eps, steps, eps / share, random_start=True)

            yield _one("PGD", "pgd", pgd, "within", words)


def _one(
    name: str, family: str, make: Callable[[float], Any], goal: Goal = "nearest", settings: str = DEFAULTS
) -> Contender:
    def run(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
        batches = DataLoader(TensorDataset(x, y), batch_size=len(x))
        return torch.cat([samples for samples, _ in make(eps)(model, batches)])

    return Contender(library=LIBRARY, attack=name, family=family, goal=goal, settings=settings, run=run)
