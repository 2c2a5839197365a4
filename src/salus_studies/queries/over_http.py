"""An outsider at the door: ART's HopSkipJump, which knows nothing of Salus, through HTTP against a watched service."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from salus.client.client import Client, ProblemError
from salus.detectors.queries import Monitor, save_monitor
from salus.errors import StoreError

if TYPE_CHECKING:
    from salus.serve.service import Service

#: The name under which the study serves its guard.
_NAME = "ecg"
#: Seconds within which the service must answer.
_PATIENCE = 60.0


@dataclass
class Visit:
    """What came of one outsider's attack on one sample.

    Attributes:
        asked: queries that were answered, and those of the request that was not.
        won: queries after which an accepted wrong answer within the radii had come; None: never.
        refusal: the sentence with which the service refused; None: it never did.
    """

    asked: int = 0
    won: int | None = None
    refusal: str | None = None


class _Enough(Exception):  # noqa: N818 - no error: the queries are spent
    """The outsider's own queries are spent."""


def visit(
    client: Client,
    guard: str,
    x: Tensor,
    y: int,
    start: Tensor,
    *,
    queries: int,
    radii: tuple[float, float],
    seed: int = 0,
) -> Visit:
    """Attack one sample as somebody does who has ART and a token, until the queries are spent or the service refuses.

    What the guard rejects is told to ART as the right answer, so that it looks for what is accepted.

    Args:
        client: of the service, with the token of an account.
        guard: its name.
        x: the sample ``[1, ...]``, prepared.
        y: its label.
        start: an input of another class ``[1, ...]`` from which ART walks; random ones a guard mostly rejects.
        queries: at most.
        radii: how near a win must be, in L-infinity and in L2; either will do.
        seed: of ART's draws, which are NumPy's global ones; put back afterwards.
    """
    from art.attacks.evasion import HopSkipJump
    from art.estimators.classification import BlackBoxClassifier

    came = Visit()
    classes = list(client.guard(guard).classes)
    clean = x.double().flatten(1)

    def answered(points: NDArray[np.float32]) -> NDArray[np.float32]:
        points = np.asarray(points, np.float32).reshape(-1, *x.shape[1:])
        if came.asked + len(points) > queries:
            raise _Enough
        before, came.asked = came.asked, came.asked + len(points)
        verdicts = client.judge(points, guard=guard).verdicts
        labels = [y if each.label is None else classes.index(each.label) for each in verdicts]
        change = torch.from_numpy(points).double().flatten(1) - clean
        near = (change.abs().amax(1) <= radii[0]) | (change.norm(dim=1) <= radii[1])
        wins = [row for row, label in enumerate(labels) if label != y and bool(near[row])]
        if wins and came.won is None:
            came.won = before + wins[0] + 1
        return np.eye(len(classes), dtype=np.float32)[labels]

    black_box = BlackBoxClassifier(answered, tuple(x.shape[1:]), len(classes), clip_values=(0.0, 1.0))
    attack = HopSkipJump(black_box, norm=2, max_iter=1000, max_eval=1000, init_eval=50, init_size=100, verbose=False)
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        attack.generate(x.numpy(), y=np.eye(len(classes), dtype=np.float32)[[y]], x_adv_init=start.numpy())
    except _Enough:
        pass
    except ProblemError as error:
        if error.status != 403:
            raise
        came.refusal = str(error)
    finally:
        np.random.set_state(state)
    return came


def visits(
    bundle: Path,
    monitor: Monitor,
    x: Tensor,
    y: Tensor,
    starts: Tensor,
    *,
    queries: int,
    radii: tuple[float, float],
    policies: tuple[str, ...] = ("off", "refuse"),
) -> dict[str, Any]:
    """Serve a guard, watched and not, and let an outsider with an account of its own attack each sample.

    Args:
        bundle: of the guard.
        monitor: fitted; the served copy of the bundle carries it.
        x: samples that the guard gets right ``[N, ...]``.
        y: their labels ``[N]``.
        starts: an accepted input of another class for each ``[N, ...]``.
        queries: for each sample, at most.
        radii: how near a win must be.
        policies: what follows from an alarm, each a service of its own; ``off`` watches nobody.
    """
    found: dict[str, Any] = {"beats": len(x), "queries": queries}
    with tempfile.TemporaryDirectory(prefix="salus-over-http-") as place:
        served = Path(place) / "bundle"
        shutil.copytree(bundle, served)
        save_monitor(monitor, served / "monitor")
        for policy in policies:
            with serving(served, policy, Path(place) / policy) as (url, service):
                came = []
                for row in range(len(x)):
                    token = service.tokens.add(f"outsider {row}", ["judge"], None)
                    with Client(url, token=token) as client:
                        at, start, own = x[row : row + 1], starts[row : row + 1], int(y[row])
                        came.append(visit(client, _NAME, at, own, start, queries=queries, radii=radii, seed=row))
            refused = [each for each in came if each.refusal is not None]
            found[policy] = {
                "won": sum(each.won is not None for each in came),
                "refused": len(refused),
                "asked": median(each.asked for each in came),
                "sentence": refused[0].refusal if refused else None,
            }
    return found


@contextmanager
def serving(bundle: Path, policy: str, place: Path) -> Iterator[tuple[str, Service]]:
    """Serve a bundle on a free port of this machine, in a thread; give where, and the service.

    Raises:
        StoreError: it does not come up within a minute.
    """
    import uvicorn

    from salus.serve.app import create_app
    from salus.serve.guards import sources_of
    from salus.serve.service import Service
    from salus.serve.settings import Settings
    from salus.serve.starting import bound, quiet_logs

    quiet_logs()
    settings = Settings(
        port=0,
        data_folder=place / "data",
        key_file=place / "key" / "key.pem",
        monitor=policy,
        log="queued",
        batch_wait=0.0,
    )
    with bound(settings) as listening:
        service = Service.open(settings, sources_of([f"{_NAME}={bundle}"]), "unused")
        server = uvicorn.Server(uvicorn.Config(create_app(service), lifespan="on", log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        until = time.monotonic() + _PATIENCE
        while not server.started:
            if time.monotonic() > until or not thread.is_alive():
                raise StoreError(f"The service of {bundle} did not come up.")
            time.sleep(0.05)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", service
        finally:
            server.should_exit = True
            thread.join(_PATIENCE)
