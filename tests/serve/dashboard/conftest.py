"""A service with guards of each kind, behind the dashboard."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fastapi import FastAPI
from fastapi.testclient import TestClient
from torch import Tensor, nn

from salus.classifier import Classifier
from salus.data import Dataset, Provenance
from salus.detectors import IDefender
from salus.guard import Guard
from salus.preprocessing.tables import Column, TablePreprocessor
from salus.serve.dashboard import pages
from salus.serve.database import Database
from salus.serve.guards import LoadedGuard
from salus.serve.keys import Keys
from salus.serve.log.entry import EventEntry, VerdictEntry
from salus.serve.log.submission import KeptInput, Submission
from salus.serve.log.writer import LogWriter
from salus.serve.monitoring import Recorder, Watch
from salus.serve.settings import Settings
from salus.serve.tokens import Tokens
from salus.serve.watching.watchers import Watchers

#: What a name may hold that would be a script where it was not escaped.
SCRIPT = "<script>alert('x')</script>"

SHAPES: dict[str, tuple[int, ...]] = {"heartbeats": (1, 60), "lesions": (3, 8, 8), "patients": (4,)}
CLASSES = {"heartbeats": ("N", "S", "V", "F"), "lesions": ("benign", "malignant"), "patients": ("well", SCRIPT)}


def clean(name: str, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Inputs that the guard of this name knows, with their labels."""
    generator = torch.Generator().manual_seed(seed)
    shape, classes = SHAPES[name], len(CLASSES[name])
    y = torch.arange(n) % classes
    wave = torch.linspace(0, 3 * math.pi, math.prod(shape)).sin().reshape(shape)
    level = (0.3 + 0.4 * y / max(1, classes - 1)).reshape(-1, *[1] * len(shape))
    x = level + 0.15 * wave + 0.02 * torch.randn(n, *shape, generator=generator)
    return x.clamp(0, 1), y


def _guard(name: str) -> Guard:
    shape, classes = SHAPES[name], CLASSES[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 12), nn.ReLU(), nn.Linear(12, len(classes)))
    optimiser = torch.optim.Adam(network.parameters(), 0.02)
    x, y = clean(name, 200)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimiser.step()
    preprocessor = None
    if name == "patients":
        columns = (Column("age [years]"), Column("sex", ("f", "m")), Column("glucose [mg/dl]"))
        preprocessor = TablePreprocessor(columns=columns, classes=classes, shape=shape)
    classifier = Classifier(network, classes, shape=shape, name=name, preprocessor=preprocessor)
    train, held_out = (
        Dataset(*clean(name, n, seed), classes, Provenance(name, "made here")) for n, seed in ((400, 1), (400, 2))
    )
    return Guard(classifier, [IDefender(layers=("logits",))], name=name).fit(train, held_out, 0.02)


@dataclass
class Running:
    """A service as the dashboard sees it, and who asks it."""

    service: Any
    app: FastAPI
    watch: Watch
    clock: Callable[[], float]

    @staticmethod
    def clean(name: str, n: int, seed: int = 0) -> Tensor:
        """Inputs that the guard of this name knows."""
        return clean(name, n, seed)[0]

    def client(self, **options: Any) -> TestClient:
        return TestClient(self.app, base_url="http://localhost:8000", follow_redirects=False, **options)

    def signed_in(self) -> TestClient:
        client = self.client()
        assert client.get("/dashboard/login?code=the-code").status_code == 303
        return client

    def with_token(self, *scopes: str) -> TestClient:
        client = self.client()
        secret = self.service.tokens.add("nurse", scopes)
        assert self.send(client, "/dashboard/login", page="/dashboard/login", token=secret).status_code == 303
        return client

    def ask(self, name: str, x: Tensor, *, kept: str = "") -> int:
        """Judge inputs as the service does; return the number of the first entry."""
        served = self.service.guards[name]
        verdict = served.guard(x)
        self.service.recorder.add(name, served.fingerprint, verdict, x)
        classes = served.guard.classifier.classes
        entries = [
            VerdictEntry(
                guard=name, bundle=served.fingerprint, request=f"request-{name}", token="local", row=row,
                input=self.service.keys.input_digest(x[row].numpy().tobytes()),
                outcome="accepted" if verdict.accepted[row] else "rejected",
                label=classes[int(verdict.labels[row])],
                probabilities=dict(zip(classes, verdict.probabilities[row].tolist(), strict=True)),
                scores={key: float(scores[row]) for key, scores in verdict.scores.items()},
                thresholds=verdict.thresholds,
                rejected_by=tuple(key for key, flags in verdict.rejected_by.items() if flags[row]),
            )
            for row in range(len(x))
        ]  # fmt: skip
        inputs = [KeptInput(row, kept, x[row].numpy().tobytes()) for row in range(len(x))] if kept else []
        receipt = self.service.writer.append(Submission(entries, kept=inputs)).result(20)
        return int(receipt.first_seq)

    @staticmethod
    def send(
        client: TestClient, address: str, *, page: str = "", origin: str = "http://localhost:8000", **fields: str
    ) -> Any:
        """Send a form as a browser does from one of the dashboard's pages."""
        if page:
            form = client.get(page).text.split('action="' + address, 1)[1]
            fields = {"forgery_token": form.split('name="forgery_token" value="', 1)[1].split('"', 1)[0], **fields}
        return client.post(address, data=fields, headers={"origin": origin})

    def event(self, what: str, **detail: Any) -> int:
        return int(self.service.writer.append(Submission([EventEntry(what, detail)])).result(20).first_seq)

    def look(self) -> None:
        """Write what was counted, and look at it."""
        self.service.recorder.write()
        self.watch.evaluate()
        assert self.watch.fault is None


@pytest.fixture(scope="session")
def guards() -> dict[str, Guard]:
    return {name: _guard(name) for name in SHAPES}


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a database with all tables and no rows; to make one takes longer than to copy it."""
    path = tmp_path_factory.mktemp("empty") / "service.sqlite"
    Database.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def start(guards: dict[str, Guard], empty_database: Path, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start services that end with the test."""
    running: list[Running] = []

    def begin(**options: Any) -> Running:
        place = tmp_path / f"service-{len(running)}"
        settings = Settings(data_folder=place / "data", key_file=place / "keys" / "key.pem", baseline=50, **options)
        (place / "data").mkdir(parents=True)
        shutil.copy(empty_database, place / "data" / "service.sqlite")
        database = Database.open(f"sqlite:///{place / 'data' / 'service.sqlite'}")
        keys = Keys.open(place / "keys" / "key.pem", data_folder=place / "data")
        writer = LogWriter(database, keys, wait=0.0, checkpoint_entries=5, checkpoint_seconds=3600.0, keep_days=None)
        writer.start()
        served = {
            name: LoadedGuard(name, place / name, guard, f"{number}" * 64, 1.7e9)
            for number, (name, guard) in enumerate(guards.items())
        }
        times = [0.0]

        def clock() -> float:
            return time.time() + times[0]

        recorder = Recorder(database, "w", settings, served, clock=clock)
        service = SimpleNamespace(
            settings=settings, guards=served, database=database, keys=keys, writer=writer, tokens=Tokens(database),
            recorder=recorder, login_code="the-code", times=times, watchers=Watchers(database, settings),
        )  # fmt: skip
        app = FastAPI()
        pages.mount(app, service)  # type: ignore[arg-type]
        running.append(Running(service, app, Watch(database, settings, lambda: served, clock=clock), clock))
        return running[-1]

    yield begin
    for each in running:
        each.service.watchers.close()
        each.service.writer.close(20)
        each.service.database.close()


@pytest.fixture
def running(start: Callable[..., Running]) -> Running:
    """A service that keeps inputs and has judged a few."""
    return start(keep_inputs=True)


@pytest.fixture
def busy(running: Running) -> Running:
    """A service with an hour of work behind it, alarms among it."""
    times = running.service.times
    for minute in range(-40, 1, 8):
        times[0] = 60.0 * minute
        for name in SHAPES:
            x, _ = clean(name, 60, seed=minute)
            if name == "heartbeats" and minute > -17:
                x[::3] = torch.rand(x[::3].shape, generator=torch.Generator().manual_seed(minute + 99))
            served = running.service.guards[name]
            running.service.recorder.add(name, served.fingerprint, served.guard(x), x)
        running.look()
    for number, name in enumerate(SHAPES):
        x = torch.cat([clean(name, 3)[0], torch.rand(2, *SHAPES[name])])
        running.ask(name, x, kept=f"{name} {number} {SCRIPT}")
    running.look()
    return running
