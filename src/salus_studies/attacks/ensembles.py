"""AutoAttack, the reference, beside what reaches as much in fewer passes: each run as it is, to its end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from salus.attacks import ATTACKS
from salus.engines import Needs
from salus_studies.attacks.counting import Counted
from salus_studies.attacks.peers.own import LIBRARY as OWN
from salus_studies.attacks.peers.pyautoattack import LIBRARY as REFERENCE
from salus_studies.attacks.peers.pyautoattack import standard
from salus_studies.attacks.running import describe, judged, limited, quiet
from salus_studies.attacks.subjects import Subject
from salus_studies.frame.step import Step
from salus_studies.frame.steps import Steps

#: Which attacks of ours stand here, where this version has them.
NAMES = ("auto-attack", "auto-attack-plus")
#: In which norms, at which places of the model's grid.
NORMS, PLACES = ("linf", "l2"), (2,)
#: Processor seconds after which one is stopped.
_LIMIT = 600


def run(steps: Steps, subject: Subject, libraries: tuple[str, ...]) -> None:
    """Run each on a model at a size of its grid where most fall, but not all."""
    shared, todo = steps.share(subject), []
    for norm in NORMS:
        for place in PLACES:
            eps = subject.grid[norm][place]
            for library, name, attack in _attacks(norm, subject.classes, libraries):
                told = repr(attack(eps)) if library == OWN else ""
                todo.append(
                    Step(
                        name=f"{subject.name}-ensemble-{norm}-{place}-{library[:8]}-{name}",
                        kind=f"{subject.name} ensemble",
                        key=[subject.key, norm, eps, library, name, told],
                        function=_work,
                        arguments=(shared, norm, eps, library, name, attack(eps)),
                        needs=Needs(cores=1),
                    )
                )
    steps.do_all(todo)


def _attacks(
    norm: str, classes: int, libraries: tuple[str, ...]
) -> list[tuple[str, str, Callable[[float], Callable[[nn.Module, Tensor, Tensor], Tensor]]]]:
    found: list[tuple[str, str, Any]] = []
    if OWN in libraries:
        for name in NAMES:
            if name in ATTACKS.own:
                found.append((OWN, name, partial(_own, name, norm)))
    if REFERENCE in libraries and classes > 3:
        found.append((REFERENCE, "AutoAttack", partial(standard, norm)))
    return found


def _own(name: str, norm: str, eps: float) -> Any:
    cls: Any = ATTACKS.own[name]
    return cls(eps=eps, norm=norm)


def _work(
    subject: Subject, norm: str, eps: float, library: str, name: str, attack: Callable[..., Tensor]
) -> dict[str, Any]:
    with torch.no_grad():
        rows = (subject.model(subject.x).argmax(1) == subject.y).nonzero()[:, 0]
    x, y = subject.x[rows], subject.y[rows]
    counted = Counted(subject.model, x, y, norm, eps=eps).eval()
    torch.manual_seed(0)
    error, left = "", None
    try:
        with quiet(), limited(_LIMIT):
            x_adv = attack(counted, x.clone(), y.clone())
        fallen = judged(subject, x_adv, rows, norm, eps, exact=library == OWN).isfinite()
        left = float((~fallen).sum()) / len(subject.x)
    except Exception as failure:  # whatever a library fails with is printed
        error = describe(failure)
    return {
        "part": "ensemble",
        "model": subject.name,
        "norm": norm,
        "eps": eps,
        "library": library,
        "attack": name,
        "left": left,
        "forward": counted.forward_passes / len(rows),
        "backward": counted.backward_passes / len(rows),
        "error": error,
    }
